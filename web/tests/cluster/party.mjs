// A participant in a real browser, and everything it is told and shown.
import assert from 'node:assert/strict';
import { inbound, joinPage, until } from '../e2e/harness.mjs';
import { token } from './harness.mjs';

/** A picture is missed when nothing is shown for so long; between two it is 33 ms, and up to twice that on a busy machine. */
const ALIVE_MS = 400;
/** CAMERA=320x240: what cameras give, for machines that cannot encode the three sizes of 1280×720 in time. */
const CAMERA = /^(\d+)x(\d+)$/.exec(process.env.CAMERA ?? '')?.slice(1).map(Number);

export class Party {
  /** Every socket: the node it was on, and the numbers of the events that came over it. */
  sockets = [];
  /** Events by their type, in order, from every socket. */
  events = [];

  /**
   * Joins through an address and waits for the call view.
   *
   * @param chromium the browser
   * @param url where the page comes from and connects to: a node's, or one of the balancer's
   * @param who `room`, `name`, and of the token the `role`
   */
  static async join(chromium, url, { room, name, role }) {
    const party = new Party();
    Object.assign(party, { name, room });
    party.context = await chromium.newContext();
    party.context.on('page', (page) => page.on('websocket', (socket) => party.#listen(socket)));
    if (CAMERA) await party.context.addInitScript(smallCamera, CAMERA);
    const bearer = token(name.toLowerCase(), role ? { room, role } : {});
    party.page = await joinPage(party.context, { url }, { room, name, token: bearer });
    // The app shows the call while it is being joined, which takes as long as a new directory listens to owners first.
    await party.page.waitForFunction(() => globalThis.caside.room?.localParticipant.id, null, { timeout: 15_000 });
    party.id = await party.page.evaluate(watch);
    return party;
  }

  /** What was said over a socket, as it came: the SDK would hide what came twice. */
  #listen(socket) {
    const seen = { node: null, seqs: [], open: true, resumed: false, reset: false };
    this.sockets.push(seen);
    socket.on('close', () => (seen.open = false));
    socket.on('framereceived', ({ payload }) => {
      const message = JSON.parse(payload);
      const about = message.payload;
      seen.node ??= about?.server?.node ?? null;
      if (message.type === 'resumed') Object.assign(seen, { resumed: true, reset: about.reset, node: about.node ?? about.server?.node ?? null });
      if (message.seq === undefined) return;
      const anew = (message.type === 'room-moved' && about.reset === true) || (seen.reset && seen.seqs.length === 0);
      seen.seqs.push({ seq: message.seq, anew });
      this.events.push({ type: message.type, payload: about, at: Date.now() });
    });
  }

  /** The node that its socket is on, as far as that was said. */
  get node() {
    return this.sockets.at(-1)?.node ?? null;
  }

  told(type) {
    return this.events.filter((event) => event.type === type);
  }

  /** Every number came once and in order, over all sockets. */
  assertNumbers() {
    let last = 0;
    for (const { seqs, resumed } of this.sockets) {
      if (!resumed) last = 0;
      for (const { seq, anew } of seqs) {
        if (anew) assert.ok(seq > last, `${this.name}: event ${seq} after ${last}`);
        else assert.equal(seq, last + 1, `${this.name}: event ${seq} after ${last}`);
        last = seq;
      }
    }
  }

  /**
   * Who and what is in the room for it: ids alone.
   *
   * @param ids the others that count
   */
  state(ids) {
    return this.page.evaluate((counted) => {
      const { room } = globalThis.caside;
      const tracks = ({ tracks }) => [...tracks.values()].filter(({ mediaTrack }) => mediaTrack).map(({ id }) => id).sort();
      return {
        self: room.localParticipant.id,
        locals: room.media.locals.map(({ id }) => id).sort(),
        others: Object.fromEntries([...room.participants.values()].filter(({ id }) => counted.includes(id)).map((it) => [it.id, tracks(it)])),
      };
    }, ids);
  }

  /** What the SDK told the page since it joined: its events, and whose tiles were taken away. */
  seen() {
    return this.page.evaluate(() => globalThis.seen);
  }

  /** The times at which pictures of somebody were shown, from `since` on, in ms since the epoch. */
  pictures(of, since = 0) {
    return this.page.evaluate(([id, from]) => (globalThis.pictures[id] ?? []).filter((at) => at >= from), [of, since]);
  }

  /** Whether it sees somebody move at this moment. */
  async sees(other) {
    return ((await this.pictures(other.id)).at(-1) ?? 0) > Date.now() - ALIVE_MS;
  }

  /** Whether it hears anybody: as many sounds as there are others, every one with something in it. */
  async hears(count) {
    const energies = async () => new Map((await inbound(this.page)).filter(({ kind }) => kind === 'audio').map(({ mid, energy }) => [mid, energy]));
    const before = await energies();
    await new Promise((resolve) => setTimeout(resolve, 300));
    const now = await energies();
    return [...now].filter(([mid, energy]) => energy > (before.get(mid) ?? 0)).length >= count;
  }

  /** The longest time without a picture of somebody from `since` until now, in ms. */
  async gap(of, since) {
    const times = await this.pictures(of.id, since - 1_000);
    // What was shown last before counts, and what is not shown yet.
    const from = [...times].reverse().find((at) => at <= since) ?? since;
    const shown = [from, ...times.filter((at) => at > since), Date.now()];
    return Math.max(...shown.slice(1).map((at, place) => at - shown[place]));
  }

  leave() {
    return this.context.close();
  }
}

/** Has every camera give a picture of this size. */
function smallCamera([width, height]) {
  const { mediaDevices } = globalThis.navigator;
  const open = mediaDevices.getUserMedia.bind(mediaDevices);
  mediaDevices.getUserMedia = (wishes) => open({ ...wishes, video: wishes.video && { ...wishes.video, width: { exact: width }, height: { exact: height } } });
}

/** What each has of itself and of the others here. */
export function states(parties) {
  const ids = parties.map(({ id }) => id);
  return Promise.all(parties.map((party) => party.state(ids)));
}

/** Waits until each sees and hears all others, each for `forMs` on end. */
export async function together(parties, { ms = 20_000, forMs = 0 } = {}) {
  const pairs = parties.flatMap((one) => parties.filter((other) => other !== one).map((other) => [one, other]));
  let since = 0;
  await until('all to see each other', async () => {
    const all = (await Promise.all(pairs.map(([one, other]) => one.sees(other)))).every(Boolean);
    since = all ? since || Date.now() : 0;
    return all && Date.now() - since >= forMs;
  }, ms);
  await until('all to hear each other', async () => (await Promise.all(parties.map((one) => one.hears(parties.length - 1)))).every(Boolean), ms);
}

/** The longest gap at each receiver for each sender, since a moment, in ms. */
export async function gaps(parties, since) {
  const pairs = parties.flatMap((one) => parties.filter((other) => other !== one).map((other) => ({ one, other })));
  return Promise.all(pairs.map(async ({ one, other }) => ({ receiver: one.name, sender: other.name, ms: await one.gap(other, since) })));
}

/** Where a list of numbers has its middle, and its end. */
export const places = (numbers) => {
  const sorted = [...numbers].sort((a, b) => a - b);
  const at = (part) => sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))];
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: sorted.at(-1) };
};

export const line = ({ p50, p95, p99, max }) => ['p50', 'p95', 'p99', 'max'].map((name, place) => `${name} ${[p50, p95, p99, max][place]?.toFixed(0)}`).join(', ') + ' ms';

/**
 * Runs in the page: notes every picture as it is shown, what the SDK tells, and whether a tile goes away. Each camera has an
 * element of its own here, for the app's are changed by the app; the one before goes on until the next shows something.
 */
function watch() {
  const { room } = globalThis.caside;
  globalThis.pictures = {};
  globalThis.seen = { events: [], tilesRemoved: [] };
  const show = (id, track) => {
    if (track.kind !== 'video') return;
    const element = document.createElement('video');
    Object.assign(element, { muted: true, autoplay: true, playsInline: true, srcObject: new MediaStream([track]) });
    element.style.cssText = 'position:fixed;left:0;bottom:0;width:2px;height:2px';
    document.body.append(element);
    const times = (globalThis.pictures[id] ??= []);
    const shown = () => {
      times.push(performance.timeOrigin + performance.now());
      element.requestVideoFrameCallback(shown);
    };
    element.requestVideoFrameCallback(shown);
    element.play().catch(() => {});
    track.addEventListener('ended', () => element.remove());
  };
  room.on('track', ({ track, participant }) => show(participant.id, track));
  for (const { id, tracks } of room.participants.values()) for (const { mediaTrack } of tracks.values()) if (mediaTrack) show(id, mediaTrack);
  const types = ['participant-joined', 'participant-left', 'track-removed', 'reconnecting', 'reconnected', 'left', 'kicked', 'error', 'mode-changed'];
  for (const type of types) room.on(type, (detail) => globalThis.seen.events.push({ type, code: detail?.code, message: detail?.message, reason: detail?.reason, at: Date.now() }));
  new MutationObserver((changes) => {
    for (const { removedNodes } of changes) for (const node of removedNodes) if (node.dataset?.testid === 'tile' && !node.isConnected) globalThis.seen.tilesRemoved.push(node.dataset.participant);
  }).observe(document.getElementById('tiles'), { childList: true, subtree: true });
  return room.localParticipant.id;
}

// @ts-check
import { aboutMs } from '../backoff.js';
import { Emitter } from '../emitter.js';
import { asCasideError } from '../errors.js';
import { LocalTrack, Streams } from './local.js';
import { Mesh } from './mesh.js';
import { Predecessors } from './predecessors.js';
import { RemoteTracks } from './remote.js';
import { SfuLink, described } from './sfu-link.js';

/**
 * @import { JoinOptions, Mode, Source, VideoOptions } from '../types.js'
 * @import { Captured } from './capture.js'
 * @import { Message, Signaling } from '../signaling.js'
 *
 * @typedef {{
 *   'state': 'new' | 'connecting' | 'connected' | 'reconnecting',
 *   'local-track': LocalTrack,
 *   'local-track-removed': LocalTrack,
 *   'error': import("../errors.js").CasideError,
 * }} MediaEvents
 *   - `state`: of the connections together
 *   - `local-track`: one's own track was added or changed
 *   - `error`: something in the background failed
 */

const REOPEN_BASE_MS = 1_000;
const REOPEN_CAP_MS = 15_000;
/** A track that ended without our doing: what else happened is said within this time. */
const UNPUBLISHED_MS = 50;
/** A connection that broke, and events that were missed: whether the room moved is said within this time. */
const BROKEN_MS = 150;
/** What the SFU refused to take for now is offered again after about this long. */
const PUBLISH_AGAIN_MS = 8_000;

/**
 * All media of one participant: what we send, what we receive, and over which connections. It never ends a connection
 * because signaling is away.
 *
 * @extends {Emitter<MediaEvents>}
 */
export class Media extends Emitter {
  /** @type {Signaling} */ #signaling;
  /** @type {RTCConfiguration} */ #config;
  /** @type {VideoOptions} */ #video;
  /** How sound and frames are sent. @type {Pick<JoinOptions, 'audio' | 'encryption'>} */ #how;
  /** @readonly */ remote = new RemoteTracks();
  /** @type {Set<LocalTrack>} */ #locals = new Set();
  #streams = new Streams();
  /** @type {SfuLink | null} */ #link = null;
  #before = new Predecessors(this.remote);
  /** @type {Mesh | null} */ #mesh = null;
  /** @type {Mode | null} null until joined */ #mode = null;
  #selfId = '';
  #reopens = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #reopenTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #publishTimer;
  /** The room moves to another SFU. */ #moving = false;
  /** Muted or unmuted while the SFU did not know the track. @type {Set<LocalTrack>} */ #unsaid = new Set();
  #closed = false;
  /** @type {Promise<void>} */ #joined = Promise.resolve();
  #openGate = () => {};

  /**
   * @param {Signaling} signaling
   * @param {RTCIceServer[]} iceServers
   * @param {VideoOptions} [video]
   * @param {Pick<JoinOptions, 'audio' | 'encryption'>} [how]
   */
  constructor(signaling, iceServers, video = {}, how = {}) {
    super();
    this.#video = video;
    this.#how = how;
    this.#signaling = signaling;
    this.#config = { iceServers, bundlePolicy: 'max-bundle' };
  }

  get mode() {
    return this.#mode;
  }

  /** @param {RTCIceServer[]} iceServers for connections that are made from now on */
  useIceServers(iceServers) {
    // Links hold this object, too.
    this.#config.iceServers = iceServers;
  }

  /** The connection that sends to the SFU, for `getStats`. */
  get publishConnection() {
    return this.#link?.publisher.connection ?? null;
  }

  /** The connection that receives from the SFU, for `getStats`. */
  get subscribeConnection() {
    return this.#link?.subscriber.connection ?? null;
  }

  /** The direct connections of a peer-to-peer room, by participant. */
  get peerConnections() {
    return new Map([...(this.#mesh?.links ?? [])].map(([id, link]) => [id, link.connection]));
  }

  /** @returns {readonly LocalTrack[]} */
  get locals() {
    return [...this.#locals];
  }

  /**
   * Before `join` is asked: offers wait for its answer from here on.
   *
   * @param {boolean} sfu whether to open connections to the SFU now, so that they are ready when the answer comes
   */
  prepare(sfu) {
    this.#joined = new Promise((resolve) => (this.#openGate = resolve));
    if (sfu) this.#link ??= this.#newLink();
  }

  /**
   * @param {string} selfId
   * @param {Mode} mode
   * @param {string[]} others who were here before
   */
  joined(selfId, mode, others) {
    const rejoined = this.#mode !== null;
    clearTimeout(this.#reopenTimer);
    this.#endMove();
    this.#selfId = selfId;
    this.#mode = mode;
    this.#openGate();
    if (rejoined) for (const local of this.#locals) local.id = null;
    if (mode === 'sfu') {
      const link = rejoined || !this.#link ? this.#newLink() : this.#link;
      this.#background(this.#moveTo(link));
      return;
    }
    this.#link?.close();
    this.#link = null;
    this.#before.close();
    this.#mesh?.close();
    this.#openMesh(others, true);
  }

  /** @param {Mode} mode */
  setMode(mode) {
    if (mode === this.#mode || this.#mode === null) return;
    this.#mode = mode;
    if (mode === 'sfu') this.#background(this.#moveTo(this.#newLink()));
  }

  /** @param {string} peerId who came after us */
  peerJoined(peerId) {
    if (this.#mode === 'p2p') this.#mesh?.meet(peerId, false);
  }

  /** @param {string} peerId */
  peerLeft(peerId) {
    this.#mesh?.part(peerId);
    this.remote.forget(peerId);
  }

  /** @param {Message} message an `offer`, `answer` or `ice-candidate` */
  received({ type, payload }) {
    if (payload.from !== undefined) this.#mesh?.received(type, payload);
    else if (type === 'offer' && payload.target === 'subscribe') {
      if (this.#before.ownOffer(payload.sdp)) return;
      // The SFU may offer just before it says that the room moved to it.
      this.#link ??= this.#newLink();
      this.#background(this.#link.offered(payload.sdp, payload.tracks ?? {}));
    }
  }

  /**
   * After the signaling was away.
   *
   * @param {{reset: boolean, mode?: Mode, others?: string[]}} state `reset`: what happened meanwhile is not known event by
   *   event; `others` are here now
   */
  restored({ reset, mode, others = [] }) {
    if (reset && this.#mesh) {
      for (const peerId of this.#mesh.links.keys()) if (!others.includes(peerId)) this.peerLeft(peerId);
      if (this.#mode === 'p2p') for (const peerId of others) this.#mesh.meet(peerId, false);
    }
    if (mode) this.setMode(mode);
    this.#mesh?.restored();
    if (this.#link?.broken) this.#reopen(BROKEN_MS);
  }

  /**
   * Publishes what was captured; a second camera or microphone takes the first one's place.
   *
   * @param {Captured[]} captured
   * @returns {Promise<LocalTrack[]>} when the others can receive it
   */
  async add(captured) {
    const added = captured.map((one) => {
      const same = one.source === 'camera' || one.source === 'microphone' ? this.local(one.source) : undefined;
      if (same) {
        same.replace(one);
        this.#background(this.#replaced(same));
        return same;
      }
      const local = new LocalTrack(one, this.#streams.of(one.source));
      one.track.addEventListener('ended', () => {
        // The user stopped it from the browser's own bar, or the device was pulled out.
        if (local.mediaTrack === one.track) this.#background(this.remove(local));
      });
      this.#locals.add(local);
      return local;
    });
    for (const local of added) this.emit('local-track', local);
    await this.#sync();
    return added;
  }

  /** @param {LocalTrack} local */
  async remove(local) {
    if (!this.#locals.delete(local)) return;
    this.#unsaid.delete(local);
    local.stop();
    this.emit('local-track-removed', local);
    await this.#sync();
  }

  /** @param {Source} source */
  local(source) {
    return [...this.#locals].find((local) => local.source === source);
  }

  /**
   * @param {LocalTrack} local
   * @param {boolean} muted
   */
  async setMuted(local, muted) {
    if (local.muted === muted) return;
    if (muted) local.suspend();
    else await local.restore();
    if (local.releasesDevice) await this.#replaced(local);
    this.emit('local-track', local);
    await this.#sayMuted(local);
  }

  /**
   * A moderator or the server changed it; nothing is to be said.
   *
   * @param {string} trackId
   * @param {boolean} muted
   */
  mutedByServer(trackId, muted) {
    const local = this.locals.find(({ id }) => id === trackId);
    if (!local || local.muted === muted || !muted) return;
    local.suspend();
    if (local.releasesDevice) this.#background(this.#replaced(local));
    this.emit('local-track', local);
  }

  /**
   * The server ended a track; if we still mean to send it, its connection is gone.
   *
   * @param {string} trackId
   */
  unpublishedByServer(trackId) {
    const local = this.locals.find(({ id }) => id === trackId);
    if (!local) return;
    local.id = null;
    // It is on its way to another connection, and gets another id there.
    if (this.#link?.publisher.forget(local)) return;
    this.#reopen(UNPUBLISHED_MS);
  }

  /**
   * Somebody watches these encodings of our track, and nobody the others.
   *
   * @param {string} trackId
   * @param {{rid: string, active: boolean}[]} layers
   */
  layersWanted(trackId, layers) {
    this.#link?.publisher.activate(trackId, layers);
  }

  /**
   * Another SFU has the room: media goes there now, over connections beside the old ones, and tracks keep their ids. Of several
   * moves the last counts.
   */
  moved() {
    if (this.#closed || this.#mode !== 'sfu') return;
    this.#reopens = 0;
    this.#signaling.patient = this.#moving = true;
    this.#reopen();
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#reopenTimer);
    clearTimeout(this.#publishTimer);
    this.#endMove();
    this.#link?.close();
    this.#before.close();
    this.#mesh?.close();
    for (const local of this.#locals) local.stop();
    this.#locals.clear();
  }

  /**
   * The one way media moves: a link is open, our tracks go to it, and when it carries everything the connections
   * before it are closed.
   *
   * @param {SfuLink} link
   * @param {{anew?: boolean}} [options] `anew`: the SFU must forget the connections before, and offer on a new one
   */
  async #moveTo(link, { anew = false } = {}) {
    const before = this.#link === link ? null : this.#link;
    this.#link = link;
    if (before) this.#before.add(before);
    const wanted = () => !link.retired;
    if (anew) await this.#signaling.request('offer', { target: 'subscribe' }, { idempotent: true, wanted });
    try {
      await this.#publishTo(link);
    } catch (thrown) {
      const error = asCasideError(thrown, 'media_failed');
      if (link.retired || !error.retryable) throw error;
      // It goes on asking; what we receive does not wait for it.
      this.#report(error);
    }
    const mesh = this.#mesh;
    if (!(await this.#before.succeededBy(link, mesh))) return;
    mesh?.close();
    if (this.#mesh === mesh) this.#mesh = null;
  }

  #endMove() {
    this.#signaling.patient = this.#moving = false;
  }

  #newLink() {
    /** @type {SfuLink} */
    const link = new SfuLink(this.#config, this.remote, {
      ready: () => this.#joined,
      video: this.#video,
      exchange: async (offer) => {
        const options = { timeoutMs: 15_000, wanted: () => !link.retired };
        const payload = { target: 'publish', ...described(offer, link.publisher.connection, this.#how) };
        return (await this.#signaling.request('offer', payload, options)).payload;
      },
      received: (receiver) => this.#how.encryption?.transform(receiver),
      answer: (sdp) => this.#signaling.request('answer', { target: 'subscribe', sdp }, { idempotent: true, wanted: () => !link.retired }),
      // Only helps to name the cause; a server that does not know it goes without.
      trouble: (report) => this.#signaling.request('media-report', report, { wanted: () => !link.retired }).catch(() => {}),
      broken: () => {
        if (link === this.#link) this.#reopen(BROKEN_MS);
      },
    });
    const watch = (/** @type {RTCPeerConnection} */ connection) =>
      connection.addEventListener('connectionstatechange', () => {
        if (connection.connectionState === 'connected' && link === this.#link) this.#reopens = 0;
        this.emit('state', this.state);
      });
    watch(link.publisher.connection);
    watch(link.subscriber.connection);
    return link;
  }

  get state() {
    if (this.#link?.broken) return 'reconnecting';
    const connections = [this.publishConnection, this.subscribeConnection, ...this.peerConnections.values()];
    const states = connections.map((connection) => connection?.connectionState);
    return states.includes('connected') ? 'connected' : states.includes('connecting') ? 'connecting' : 'new';
  }

  /** @param {number} [leastMs] wait at least this long: more is about to be said */
  #reopen(leastMs = 0) {
    if (this.#closed || this.#mode !== 'sfu') return;
    this.emit('state', this.state);
    // Without signaling there is nobody to open a connection to; `restored` comes back to it.
    if (this.#signaling.state !== 'open') return;
    clearTimeout(this.#reopenTimer);
    const backoffMs = this.#reopens === 0 ? 0 : Math.min(REOPEN_CAP_MS, REOPEN_BASE_MS * 2 ** (this.#reopens - 1));
    const delayMs = Math.max(leastMs, backoffMs);
    // Timers of a hidden page come up to a second late.
    if (delayMs === 0) this.#openAnew();
    else this.#reopenTimer = setTimeout(() => this.#openAnew(), delayMs);
  }

  async #openAnew() {
    this.#reopens++;
    const link = this.#newLink();
    link.publisher.keep(this.#locals, this.#moving);
    try {
      await this.#moveTo(link, { anew: true });
    } catch (thrown) {
      if (asCasideError(thrown, 'media_failed').retryable) return link.lost();
      this.#report(thrown);
    }
    if (link === this.#link) this.#endMove();
  }

  /**
   * @param {string[]} others
   * @param {boolean} newcomer
   */
  #openMesh(others, newcomer) {
    this.#mesh = new Mesh(this.#selfId, this.#config, this.remote, {
      send: (type, payload) => this.#signaling.notify(type, payload),
      locals: () => this.#locals,
      failed: (thrown) => this.emit('error', asCasideError(thrown, 'media_failed')),
    });
    for (const peerId of others) this.#mesh.meet(peerId, newcomer);
  }

  async #sync() {
    this.#mesh?.sync();
    const link = this.#link;
    if (!link || this.#mode === 'p2p') return;
    try {
      await this.#publishTo(link);
    } catch (thrown) {
      // Joining may have shown that the room is peer-to-peer, or media moved meanwhile.
      if (!link.retired || this.#closed) throw thrown;
      if (this.#link !== link) await this.#sync();
    }
  }

  /** @param {SfuLink} link */
  async #publishTo(link) {
    const fresh = this.locals.filter((local) => local.id === null || link.publisher.keeps(local));
    await this.#agreed(link, link.publish(this.#locals));
    const unsaid = fresh.filter((local) => this.#unsaid.delete(local) || local.muted);
    await Promise.all(unsaid.map((local) => this.#sayMuted(local)));
  }

  /**
   * What the SFU refuses for the moment is offered again, whether or not anybody asks.
   *
   * @param {SfuLink} link
   * @param {Promise<void>} negotiated
   */
  async #agreed(link, negotiated) {
    try {
      await negotiated;
    } catch (thrown) {
      if (asCasideError(thrown, 'media_failed').retryable && !link.retired) this.#publishLater(link);
      throw thrown;
    }
  }

  /** @param {SfuLink} link */
  #publishLater(link) {
    clearTimeout(this.#publishTimer);
    this.#publishTimer = setTimeout(() => {
      if (link.retired || this.#closed) return;
      this.#publishTo(link).catch((thrown) => asCasideError(thrown, 'media_failed').retryable || this.#report(thrown));
    }, aboutMs(PUBLISH_AGAIN_MS));
  }

  /** @param {LocalTrack} local */
  async #replaced(local) {
    const { id } = local;
    const link = this.#link;
    await Promise.all([link && this.#agreed(link, link.publisher.replace(local)), this.#mesh?.replace(local)]);
    this.emit('local-track', local);
    // To the server it may be another track now.
    if (local.muted && local.id !== id) await this.#sayMuted(local);
  }

  /** @param {LocalTrack} local */
  async #sayMuted(local) {
    if (this.#mesh && !this.#mesh.closed) {
      const value = { source: local.source, muted: local.muted };
      this.#background(this.#signaling.request('data', { topic: MUTE_TOPIC, value }, { idempotent: true }));
    }
    if (local.id === null || this.#link?.publisher.keeps(local)) {
      this.#unsaid.add(local);
      return;
    }
    await this.#signaling.request(local.muted ? 'mute' : 'unmute', { track: local.id }, { idempotent: true });
  }

  /** @param {Promise<unknown>} work */
  #background(work) {
    work.catch((thrown) => this.#report(thrown));
  }

  /** @param {unknown} thrown */
  #report(thrown) {
    const error = asCasideError(thrown, 'media_failed');
    if (error.code !== 'closed' && !this.#closed) this.emit('error', error);
  }
}

/** In a peer-to-peer room the server does not know the tracks, so we tell each other what is muted. */
export const MUTE_TOPIC = 'caside.muted';


// @ts-check
import { Emitter } from '../emitter.js';
import { asCasideError } from '../errors.js';
import { until } from './health.js';
import { LocalTrack } from './local.js';
import { Mesh } from './mesh.js';
import { RemoteTracks } from './remote.js';
import { SfuLink } from './sfu-link.js';
import { withSound } from './sound.js';

/**
 * @import { JoinOptions, Mode, Source, VideoOptions } from '../types.js'
 * @import { PublishOffer } from './publisher.js'
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

/** Media that moves is carried twice for at most this long. */
const MOVE_MS = 5_000;
const REOPEN_BASE_MS = 1_000;
const REOPEN_CAP_MS = 15_000;
/** A track that ended without our doing: what else happened is said within this time. */
const UNPUBLISHED_MS = 50;

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
  /** @type {Map<string, MediaStream>} tracks that are kept in step */ #streams = new Map();
  /** @type {SfuLink | null} */ #link = null;
  /** @type {Mesh | null} */ #mesh = null;
  /** @type {Mode | null} null until joined */ #mode = null;
  #selfId = '';
  #reopens = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #reopenTimer;
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
    if (this.#link?.broken) this.#reopen();
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
      const local = new LocalTrack(one, this.#streamOf(one.source));
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

  /** Another SFU has the room: media goes there now, over connections beside the old ones. */
  moved() {
    this.#reopens = 0;
    this.#reopen();
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#reopenTimer);
    this.#link?.close();
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
    const mesh = this.#mesh;
    this.#link = link;
    before?.retire();
    if (before?.broken) before.shut();
    if (anew) await this.#signaling.request('offer', { target: 'subscribe' }, { idempotent: true });
    await this.#publishTo(link);
    if (!before && !mesh) return;
    const old = [before?.subscriber, ...(mesh?.links.values() ?? [])];
    const moved = () => link.retired || (link.sending && !old.some((origin) => origin && this.remote.carriedBy(origin)));
    await until(moved, [[link.publisher.connection, 'connectionstatechange'], [this.remote, 'track']], MOVE_MS);
    before?.close();
    mesh?.close();
    if (this.#mesh === mesh) this.#mesh = null;
  }

  #newLink() {
    /** @type {SfuLink} */
    const link = new SfuLink(this.#config, this.remote, {
      ready: () => this.#joined,
      video: this.#video,
      exchange: async (offer) => (await this.#signaling.request('offer', { target: 'publish', ...this.#offered(link, offer) }, { timeoutMs: 15_000 })).payload,
      received: (receiver) => this.#how.encryption?.transform(receiver),
      answer: (sdp) => this.#signaling.request('answer', { target: 'subscribe', sdp }, { idempotent: true }),
      broken: () => {
        if (link === this.#link) this.#reopen();
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

  /**
   * An offer as the server gets it: how sound is to be sent, and what frames are encrypted with.
   *
   * @param {SfuLink} link
   * @param {PublishOffer} offer
   * @returns {PublishOffer}
   */
  #offered(link, { sdp, tracks }) {
    const { audio, encryption } = this.#how;
    if (encryption) {
      for (const { sender } of link.publisher.connection.getTransceivers()) encryption.transform(sender);
      tracks = Object.fromEntries(Object.entries(tracks).map(([mid, track]) => [mid, { ...track, encryption: encryption.name }]));
    }
    return { sdp: withSound(sdp, audio), tracks };
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
    this.#reopenTimer = setTimeout(() => this.#openAnew(), Math.max(leastMs, backoffMs));
  }

  async #openAnew() {
    this.#reopens++;
    const link = this.#newLink();
    for (const local of this.#locals) local.id = null;
    try {
      await this.#moveTo(link, { anew: true });
    } catch (thrown) {
      const error = asCasideError(thrown, 'media_failed');
      if (error.retryable) link.lost();
      else if (error.code !== 'closed' && !this.#closed) this.emit('error', error);
    }
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
    const fresh = this.locals.filter(({ id }) => id === null);
    await link.publish(this.#locals);
    await Promise.all(fresh.filter(({ muted }) => muted).map((local) => this.#sayMuted(local)));
  }

  /** @param {LocalTrack} local */
  async #replaced(local) {
    const { id } = local;
    await Promise.all([this.#link?.publisher.replace(local), this.#mesh?.replace(local)]);
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
    if (local.id === null) return;
    await this.#signaling.request(local.muted ? 'mute' : 'unmute', { track: local.id }, { idempotent: true });
  }

  /** @param {Source} source */
  #streamOf(source) {
    const group = source === 'camera' || source === 'microphone' ? 'person' : source === 'file' ? 'file' : 'screen';
    let stream = this.#streams.get(group);
    if (!stream) this.#streams.set(group, (stream = new MediaStream()));
    return stream;
  }

  /** @param {Promise<unknown>} work */
  #background(work) {
    work.catch((thrown) => {
      const error = asCasideError(thrown, 'media_failed');
      if (error.code !== 'closed' && !this.#closed) this.emit('error', error);
    });
  }
}

/** In a peer-to-peer room the server does not know the tracks, so we tell each other what is muted. */
export const MUTE_TOPIC = 'caside.muted';


// @ts-check
import { PeerLink } from './peer-link.js';

/**
 * @import { LocalTrack } from './local.js'
 * @import { RemoteTracks } from './remote.js'
 *
 * @typedef {object} MeshHooks
 * @property {(type: string, payload: object) => void} send to the participant named by `to`
 * @property {() => Iterable<LocalTrack>} locals
 * @property {(error: unknown) => void} failed
 */

/** More direct connections than this are not opened: every one encodes the picture again. */
const MAX_PEERS = 16;

/** Direct connections to every other participant of a peer-to-peer room. */
export class Mesh {
  /** @type {string} */ #selfId;
  /** @type {RTCConfiguration} */ #config;
  /** @type {RemoteTracks} */ #remote;
  /** @type {MeshHooks} */ #hooks;
  /** @type {Map<string, PeerLink>} */ #links = new Map();
  closed = false;

  /**
   * @param {string} selfId
   * @param {RTCConfiguration} config
   * @param {RemoteTracks} remote
   * @param {MeshHooks} hooks
   */
  constructor(selfId, config, remote, hooks) {
    this.#selfId = selfId;
    this.#config = config;
    this.#remote = remote;
    this.#hooks = hooks;
  }

  /** @returns {ReadonlyMap<string, PeerLink>} by participant */
  get links() {
    return this.#links;
  }

  /**
   * @param {string} peerId
   * @param {boolean} newcomer whether we came later than they
   */
  meet(peerId, newcomer) {
    if (this.closed || this.#links.has(peerId) || this.#links.size >= MAX_PEERS) return;
    const who = { selfId: this.#selfId, peerId, newcomer, config: this.#config };
    const link = new PeerLink(who, this.#remote, {
      send: (type, payload) => this.#hooks.send(type, { ...payload, to: peerId }),
      locals: this.#hooks.locals,
    });
    this.#links.set(peerId, link);
  }

  /** @param {string} peerId */
  part(peerId) {
    this.#links.get(peerId)?.close();
    this.#links.delete(peerId);
  }

  /**
   * @param {string} type
   * @param {any} payload as relayed
   */
  received(type, payload) {
    if (this.closed) return;
    this.meet(payload.from, false);
    const link = this.#links.get(payload.from);
    if (!link) return;
    const done = type === 'offer' || type === 'answer' ? link.described(type, payload) : link.candidate(candidateOf(payload));
    done.catch((thrown) => this.#hooks.failed(thrown));
  }

  sync() {
    for (const link of this.#links.values()) link.sync();
  }

  /** @param {LocalTrack} local */
  async replace(local) {
    await Promise.all([...this.#links.values()].map((link) => link.replace(local)));
  }

  restored() {
    for (const link of this.#links.values()) link.restored();
  }

  close() {
    this.closed = true;
    for (const peerId of [...this.#links.keys()]) this.part(peerId);
  }
}

/**
 * @param {any} payload
 * @returns {RTCIceCandidateInit}
 */
function candidateOf({ candidate, sdpMid, sdpMLineIndex }) {
  if (candidate !== null && typeof candidate === 'object') return candidate;
  return { candidate, sdpMid, sdpMLineIndex };
}

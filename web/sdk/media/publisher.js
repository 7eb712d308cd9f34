// @ts-check
import { CasideError, asCasideError } from '../errors.js';
import { activate, encodingsFor, preferCodec } from './encodings.js';
import { NegotiationQueue } from './negotiation.js';
import { withoutCandidates } from './sdp.js';

/**
 * @import { LocalTrack } from './local.js'
 * @import { TrackSource, VideoOptions } from '../types.js'
 *
 * @typedef {{sdp: string, tracks: Record<string, TrackSource>}} PublishOffer
 * @typedef {{sdp: string, tracks: Record<string, string>}} PublishAnswer
 */

const ATTEMPTS = 5;

/**
 * The connection that sends our tracks to the SFU. The first offer is made before the server is asked anything, so that
 * it is ready when the answer to `join` comes.
 */
export class Publisher {
  /** @readonly @type {RTCPeerConnection} */ connection;
  /** @type {(offer: PublishOffer) => Promise<PublishAnswer>} */ #exchange;
  /** @type {() => Promise<void>} */ #ready;
  /** @type {Map<LocalTrack, RTCRtpTransceiver>} */ #transceivers = new Map();
  /** What an m-line carried last, so that it is used again for the like. @type {Map<RTCRtpTransceiver, string>} */ #free = new Map();
  /** @type {Set<LocalTrack>} */ #wanted = new Set();
  /** What the negotiation that runs, or ran last, is about. @type {Set<LocalTrack>} */ #planned = new Set();
  /** @type {VideoOptions} */ #video;
  /** Parameters of a sender are changed one after the other. */ #activating = Promise.resolve();
  #queue = new NegotiationQueue(() => this.#negotiate());
  #closed = false;

  /**
   * @param {RTCPeerConnection} connection
   * @param {(offer: PublishOffer) => Promise<PublishAnswer>} exchange sends the offer, gives the answer
   * @param {() => Promise<void>} ready resolves when an offer may be sent: joined, and the socket open
   * @param {VideoOptions} [video]
   */
  constructor(connection, exchange, ready, video = {}) {
    this.#video = video;
    this.connection = connection;
    this.#exchange = exchange;
    this.#ready = ready;
  }

  /**
   * Sends this set of tracks and no other.
   *
   * @param {Iterable<LocalTrack>} tracks
   * @returns {Promise<void>} when the server has agreed
   */
  async publish(tracks) {
    this.#wanted = new Set(tracks);
    const planned = this.#wanted.size === this.#planned.size && [...this.#wanted].every((local) => this.#planned.has(local));
    await (planned ? this.#queue.running : this.#queue.run());
  }

  /** @param {LocalTrack} local whose media track is another now */
  async replace(local) {
    await this.#transceivers.get(local)?.sender.replaceTrack(local.mediaTrack);
  }

  /**
   * Sends the encodings of a track that somebody watches.
   *
   * @param {string} trackId
   * @param {{rid: string, active: boolean}[]} layers
   */
  activate(trackId, layers) {
    const found = [...this.#transceivers].find(([local]) => local.id === trackId);
    if (!found) return;
    const [, { sender }] = found;
    // Left undone it costs bandwidth, no more: all encodings go on.
    this.#activating = this.#activating.then(() => activate(sender, layers)).catch(() => {});
  }

  /** Negotiates no more; what flows goes on flowing. */
  retire() {
    this.#closed = true;
  }

  close() {
    this.retire();
    this.connection.close();
  }

  async #negotiate() {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#exchangeOnce();
      } catch (thrown) {
        const error = asCasideError(thrown, 'media_failed');
        if (!error.retryable || attempt === ATTEMPTS) this.#planned = new Set();
        if (this.#closed) throw new CasideError('closed', 'the connection was closed');
        if (this.connection.signalingState === 'have-local-offer') {
          await this.connection.setLocalDescription({ type: 'rollback' });
        }
        if (!error.retryable || attempt === ATTEMPTS) throw error;
        await pause(error.retryAfterMs ?? 250 * 2 ** (attempt - 1));
      }
    }
  }

  async #exchangeOnce() {
    this.#plan();
    await this.connection.setLocalDescription();
    /** @type {Record<string, TrackSource>} */
    const tracks = {};
    /** @type {Map<string, LocalTrack>} */
    const byMid = new Map();
    for (const [local, { mid }] of this.#transceivers) {
      if (mid === null) continue;
      tracks[mid] = { source: local.source, label: local.label };
      byMid.set(mid, local);
    }
    await this.#ready();
    if (this.#closed) throw new CasideError('closed', 'the connection was closed');
    const offer = /** @type {RTCSessionDescription} */ (this.connection.localDescription);
    const answer = await this.#exchange({ sdp: withoutCandidates(offer.sdp), tracks });
    for (const [mid, local] of byMid) local.id = answer.tracks[mid] ?? null;
    await this.connection.setRemoteDescription({ type: 'answer', sdp: answer.sdp });
  }

  /** Brings the transceivers to what is wanted. */
  #plan() {
    this.#planned = new Set(this.#wanted);
    for (const [local, transceiver] of this.#transceivers) {
      if (this.#wanted.has(local)) continue;
      // Inactive, not stopped: the SFU ends the track and both sides use the m-line again.
      transceiver.direction = 'inactive';
      transceiver.sender.replaceTrack(null).catch(() => {});
      this.#transceivers.delete(local);
      this.#free.set(transceiver, local.source);
      local.id = null;
    }
    for (const local of this.#wanted) {
      if (!this.#transceivers.has(local)) this.#transceivers.set(local, this.#transceiverFor(local));
    }
  }

  /** @param {LocalTrack} local */
  #transceiverFor(local) {
    for (const [transceiver, source] of this.#free) {
      if (source !== local.source || transceiver.currentDirection !== 'inactive') continue;
      this.#free.delete(transceiver);
      transceiver.direction = 'sendonly';
      transceiver.sender.setStreams?.(local.stream);
      transceiver.sender.replaceTrack(local.mediaTrack).catch(() => {});
      return transceiver;
    }
    const transceiver = this.connection.addTransceiver(local.mediaTrack ?? local.kind, {
      direction: 'sendonly',
      streams: [local.stream],
      sendEncodings: encodingsFor(local, this.#video),
    });
    if (local.kind === 'video') preferCodec(transceiver, this.#video.codec);
    return transceiver;
  }
}

/** @param {number} ms */
function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

// @ts-check
import { aboutMs } from '../backoff.js';
import { CasideError, asCasideError } from '../errors.js';
import { NegotiationQueue } from './negotiation.js';
import { withSoundAgain, withoutCandidates } from './sdp.js';
import { SendingLine } from './sending-line.js';

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
  /** @type {Map<LocalTrack, SendingLine>} */ #lines = new Map();
  /** Without a track, to be used again for the like. @type {Set<SendingLine>} */ #free = new Set();
  /** @type {Set<LocalTrack>} */ #wanted = new Set();
  /** What the negotiation that runs, or ran last, is about. @type {Set<LocalTrack>} */ #planned = new Set();
  /** @type {VideoOptions} */ #video;
  /** Published before, over another connection: the ids that they had there. @type {Map<LocalTrack, string>} */ #kept = new Map();
  /** Whether the SFU is told these ids, and goes on with them. */ #namesKept = false;
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
   * Before the first negotiation: what was published until now. Its ids stand until the SFU answers with others.
   *
   * @param {Iterable<LocalTrack>} tracks
   * @param {boolean} named whether the SFU knows them: another one had them, and the room moved
   */
  keep(tracks, named) {
    for (const local of tracks) if (local.id !== null) this.#kept.set(local, local.id);
    this.#namesKept = named;
  }

  /**
   * Whether its id is still the one from before.
   *
   * @param {LocalTrack} local
   */
  keeps(local) {
    return this.#kept.has(local);
  }

  /**
   * The id from before is no more.
   *
   * @param {LocalTrack} local
   * @returns {boolean} whether it was kept: then another comes
   */
  forget(local) {
    return this.#kept.delete(local);
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

  /**
   * Sends the same track on with another picture in it. One that is larger may need an m-line of more encodings: then the
   * server ends the track, and another takes its place.
   *
   * @param {LocalTrack} local whose media track is another now
   */
  async replace(local) {
    const line = this.#lines.get(local);
    if (!line) return;
    await (line.hasRoomFor(local) ? line.replace(local) : this.#queue.run());
  }

  /**
   * Sends the encodings of a track that somebody watches.
   *
   * @param {string} trackId
   * @param {{rid: string, active: boolean}[]} layers
   */
  activate(trackId, layers) {
    const found = [...this.#lines].find(([local]) => local.id === trackId);
    // Left undone it costs bandwidth, no more: all encodings go on.
    found?.[1].activate(layers).catch(() => {});
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
        await pause(aboutMs(error.retryAfterMs ?? 250 * 2 ** (attempt - 1)));
      }
    }
  }

  async #exchangeOnce() {
    await this.#plan();
    await this.connection.setLocalDescription();
    /** @type {Record<string, TrackSource>} */
    const tracks = {};
    /** @type {Map<string, LocalTrack>} */
    const byMid = new Map();
    for (const [local, { transceiver }] of this.#lines) {
      const { mid } = transceiver;
      if (mid === null) continue;
      tracks[mid] = { source: local.source, label: local.label, track: this.#namesKept ? this.#kept.get(local) : undefined };
      byMid.set(mid, local);
    }
    await this.#ready();
    if (this.#closed) throw new CasideError('closed', 'the connection was closed');
    const offer = /** @type {RTCSessionDescription} */ (this.connection.localDescription);
    const answer = await this.#exchange({ sdp: withSoundAgain(withoutCandidates(offer.sdp)), tracks });
    if (this.#closed) throw new CasideError('closed', 'the connection was closed');
    for (const [mid, local] of byMid) {
      local.id = answer.tracks[mid] ?? null;
      this.#kept.delete(local);
    }
    await this.connection.setRemoteDescription({ type: 'answer', sdp: answer.sdp });
  }

  /** Brings the m-lines to what is wanted. */
  async #plan() {
    this.#planned = new Set(this.#wanted);
    for (const [local, line] of this.#lines) {
      if (this.#wanted.has(local) && line.hasRoomFor(local)) continue;
      line.release();
      this.#lines.delete(local);
      this.#free.add(line);
      this.#kept.delete(local);
      local.id = null;
    }
    const reused = [];
    for (const local of this.#wanted) {
      if (this.#lines.has(local)) continue;
      const free = [...this.#free].find((line) => line.suits(local));
      this.#lines.set(local, free ?? new SendingLine(this.connection, local, this.#video));
      if (!free) continue;
      this.#free.delete(free);
      reused.push(free.reuse(local));
    }
    await Promise.all(reused);
  }
}

/** @param {number} ms */
function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

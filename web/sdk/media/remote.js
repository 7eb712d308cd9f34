// @ts-check
import { Emitter } from '../emitter.js';

/**
 * @import { RemoteTrack } from '../types.js'
 *
 * @typedef {{
 *   'track': RemoteTrack,
 *   'track-removed': RemoteTrack,
 * }} RemoteEvents
 *   - `track`: a track to show; again for the same id when another connection carries it from now on
 */

/**
 * The others' tracks, whichever connection carries each. While media moves from one connection to the next both carry
 * the same track for a moment: the later one is shown, and what the earlier one then loses is not missed.
 *
 * @extends {Emitter<RemoteEvents>}
 */
export class RemoteTracks extends Emitter {
  /** @type {Map<string, {track: RemoteTrack, origin: object}>} */ #tracks = new Map();

  /** Everything that can be shown now. */
  get all() {
    return [...this.#tracks.values()].map((entry) => entry.track);
  }

  /**
   * @param {RemoteTrack} track
   * @param {object} origin the connection that carries it
   */
  bind(track, origin) {
    for (const [id, entry] of this.#tracks) {
      // A peer-to-peer connection has made-up ids; its track is the same as the SFU's of that participant and source.
      const same = entry.origin !== origin && entry.track.participantId === track.participantId && entry.track.source === track.source;
      if (same && id !== track.id && id.startsWith('p2p:') !== track.id.startsWith('p2p:')) this.#tracks.delete(id);
    }
    this.#tracks.set(track.id, { track, origin });
    this.emit('track', track);
  }

  /**
   * @param {string} id
   * @param {object} origin
   */
  unbind(id, origin) {
    const entry = this.#tracks.get(id);
    if (!entry || entry.origin !== origin) return;
    this.#tracks.delete(id);
    this.emit('track-removed', entry.track);
  }

  /** @param {object} origin whether it still carries something */
  carriedBy(origin) {
    return [...this.#tracks.values()].some((entry) => entry.origin === origin);
  }

  /** @param {object} origin which is closed */
  unbindAll(origin) {
    for (const [id, entry] of [...this.#tracks]) if (entry.origin === origin) this.unbind(id, origin);
  }

  /** @param {string} participantId who left */
  forget(participantId) {
    for (const [id, entry] of [...this.#tracks]) if (entry.track.participantId === participantId) this.unbind(id, entry.origin);
  }
}

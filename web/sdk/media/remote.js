// @ts-check
import { Emitter } from '../emitter.js';

/**
 * @import { RemoteTrack } from '../types.js'
 *
 * @typedef {{
 *   'track': RemoteTrack,
 *   'track-removed': RemoteTrack,
 * }} RemoteEvents
 *
 * @typedef {{origin: object, participantId: string, show: () => void, cancel: () => void}} Held
 *   - `track`: a track to show; again for the same id when another connection carries it from now on
 */

/** A track that is carried already is waited for on its next connection for at most this long: nothing may be sent on it. */
const HOLD_MS = 2_000;

/**
 * The others' tracks, whichever connection carries each. While media moves from one connection to the next both carry
 * the same track for a moment: the later one is shown once its first packet is there, and what the earlier one then loses is
 * not missed.
 *
 * @extends {Emitter<RemoteEvents>}
 */
export class RemoteTracks extends Emitter {
  /** @type {Map<string, {track: RemoteTrack, origin: object}>} */ #tracks = new Map();
  /** Carried by two connections, and not shown from the later one yet. @type {Map<string, Held>} */ #held = new Map();

  /** Everything that can be shown now. */
  get all() {
    return [...this.#tracks.values()].map((entry) => entry.track);
  }

  /**
   * @param {RemoteTrack} track
   * @param {object} origin the connection that carries it
   */
  bind(track, origin) {
    this.#held.get(track.id)?.cancel();
    const shown = [...this.#tracks.values()].some((entry) => entry.origin !== origin && isSame(entry.track, track));
    if (!shown || !track.mediaTrack.muted) return this.#show(track, origin);
    const cancel = () => {
      clearTimeout(timer);
      track.mediaTrack.removeEventListener('unmute', show);
      this.#held.delete(track.id);
    };
    const show = () => {
      cancel();
      this.#show(track, origin);
    };
    const timer = setTimeout(show, HOLD_MS);
    track.mediaTrack.addEventListener('unmute', show);
    this.#held.set(track.id, { origin, participantId: track.participantId, show, cancel });
  }

  /**
   * @param {RemoteTrack} track
   * @param {object} origin
   */
  #show(track, origin) {
    for (const [id, entry] of this.#tracks) {
      // A peer-to-peer connection has made-up ids; its track is the same as the SFU's of that participant and source.
      if (entry.origin !== origin && id !== track.id && isSame(entry.track, track)) this.#tracks.delete(id);
    }
    this.#tracks.set(track.id, { track, origin });
    this.emit('track', track);
  }

  /**
   * @param {string} id
   * @param {object} origin
   */
  unbind(id, origin) {
    const held = this.#held.get(id);
    if (held?.origin === origin) return held.cancel();
    // Its successor is waited for no longer.
    held?.show();
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
    for (const held of [...this.#held.values()]) if (held.origin === origin) held.cancel();
    for (const [id, entry] of [...this.#tracks]) if (entry.origin === origin) this.unbind(id, origin);
  }

  /** @param {string} participantId who left */
  forget(participantId) {
    for (const held of [...this.#held.values()]) if (held.participantId === participantId) held.cancel();
    for (const [id, entry] of [...this.#tracks]) if (entry.track.participantId === participantId) this.unbind(id, entry.origin);
  }
}

/**
 * Whether two are the same track: a peer-to-peer connection has made-up ids, and there its source tells.
 *
 * @param {RemoteTrack} one
 * @param {RemoteTrack} other
 */
function isSame(one, other) {
  if (one.id === other.id) return true;
  const mixed = one.id.startsWith('p2p:') !== other.id.startsWith('p2p:');
  return mixed && one.participantId === other.participantId && one.source === other.source;
}

// @ts-check
import { Serial } from './negotiation.js';
import { iceUfrag, withSoundAgain, withoutCandidates } from './sdp.js';

/**
 * @import { OfferedTrack } from '../types.js'
 *
 * @typedef {object} SubscriberHooks
 * @property {(sdp: string) => Promise<unknown>} answer
 * @property {(offered: OfferedTrack, receiver: RTCRtpReceiver) => void} bound an m-line carries this track now
 * @property {(trackId: string) => void} unbound this track came over this connection and does no longer
 */

/** The connection that receives the others' tracks from the SFU, which makes the offers. */
export class Subscriber {
  /** @readonly @type {RTCPeerConnection} */ connection;
  /** @type {SubscriberHooks} */ #hooks;
  /** @type {Map<string, string>} mid → track id */ #bound = new Map();
  #serial = new Serial();
  #ufrag = '';

  /**
   * @param {RTCPeerConnection} connection
   * @param {SubscriberHooks} hooks
   */
  constructor(connection, hooks) {
    this.connection = connection;
    this.#hooks = hooks;
  }

  /**
   * Whether an offer belongs to this connection: the first one does, later ones when they go on with its ICE session.
   *
   * @param {string} sdp
   */
  accepts(sdp) {
    const ufrag = iceUfrag(sdp);
    if (this.#ufrag === '') this.#ufrag = ufrag;
    return this.#ufrag === ufrag && this.connection.connectionState !== 'closed';
  }

  /**
   * Whether an offer goes on with this connection.
   *
   * @param {string} sdp
   */
  isOf(sdp) {
    return this.#ufrag !== '' && this.#ufrag === iceUfrag(sdp);
  }

  /**
   * @param {string} sdp
   * @param {Record<string, OfferedTrack>} tracks by mid
   */
  offered(sdp, tracks) {
    return this.#serial.run(async () => {
      if (this.connection.connectionState === 'closed') return;
      await this.connection.setRemoteDescription({ type: 'offer', sdp });
      this.#bind(tracks);
      await this.connection.setLocalDescription();
      const answer = /** @type {RTCSessionDescription} */ (this.connection.localDescription);
      await this.#hooks.answer(withSoundAgain(withoutCandidates(answer.sdp)));
    });
  }

  /** The ids of the tracks that come over this connection. */
  get trackIds() {
    return [...this.#bound.values()];
  }

  close() {
    this.connection.close();
  }

  /** @param {Record<string, OfferedTrack>} tracks */
  #bind(tracks) {
    for (const [mid, trackId] of this.#bound) {
      if (tracks[mid]?.track === trackId) continue;
      this.#bound.delete(mid);
      this.#hooks.unbound(trackId);
    }
    for (const transceiver of this.connection.getTransceivers()) {
      const offered = transceiver.mid === null ? undefined : tracks[transceiver.mid];
      if (!offered || transceiver.mid === null || this.#bound.has(transceiver.mid)) continue;
      this.#bound.set(transceiver.mid, offered.track);
      this.#hooks.bound(offered, transceiver.receiver);
    }
  }
}

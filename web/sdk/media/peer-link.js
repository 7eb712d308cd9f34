// @ts-check
import { Serial } from './negotiation.js';

/**
 * @import { LocalTrack } from './local.js'
 * @import { RemoteTracks } from './remote.js'
 * @import { TrackSource } from '../types.js'
 *
 * @typedef {object} PeerHooks
 * @property {(type: 'offer' | 'answer' | 'ice-candidate', payload: object) => void} send to that participant
 * @property {() => Iterable<LocalTrack>} locals
 */

/** How long a participant who was here first waits for the newcomer's offer before making one. */
const NEWCOMER_MS = 1_000;

/**
 * One direct connection to another participant, negotiated so that both sides may offer at any time: on a collision
 * the impolite side's offer stands (W3C webrtc §10.7, "perfect negotiation").
 */
export class PeerLink {
  /** @readonly @type {RTCPeerConnection} */ connection;
  /** @readonly @type {string} */ peerId;
  /** @type {PeerHooks} */ #hooks;
  /** @type {RemoteTracks} */ #remote;
  #polite;
  #makingOffer = false;
  #ignoreOffer = false;
  #started = false;
  #serial = new Serial();
  /** @type {Map<LocalTrack, RTCRtpSender>} */ #senders = new Map();
  /** @type {Record<string, TrackSource>} what the other side said of its m-lines */ #sources = {};
  /** @type {Map<string, string>} mid → track id */ #bound = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;

  /**
   * @param {{selfId: string, peerId: string, newcomer: boolean, config: RTCConfiguration}} who `newcomer`: we came later
   *   and offer at once
   * @param {RemoteTracks} remote
   * @param {PeerHooks} hooks
   */
  constructor({ selfId, peerId, newcomer, config }, remote, hooks) {
    this.peerId = peerId;
    this.#remote = remote;
    this.#hooks = hooks;
    this.#polite = selfId < peerId;
    const connection = new RTCPeerConnection(config);
    this.connection = connection;
    connection.onnegotiationneeded = () => this.#offer();
    connection.onicecandidate = ({ candidate }) => {
      if (!candidate?.candidate) return;
      const { sdpMid, sdpMLineIndex } = candidate;
      hooks.send('ice-candidate', { candidate: candidate.candidate, sdpMid, sdpMLineIndex });
    };
    connection.onconnectionstatechange = () => {
      if (connection.connectionState === 'failed') connection.restartIce();
    };
    if (newcomer) this.#start(true);
    else this.#timer = setTimeout(() => this.#start(true), NEWCOMER_MS);
  }

  /**
   * @param {'offer' | 'answer'} type
   * @param {{sdp: string, tracks?: Record<string, TrackSource>}} payload
   */
  described(type, { sdp, tracks }) {
    return this.#serial.run(async () => {
      const { connection } = this;
      if (connection.signalingState === 'closed') return;
      const collision = type === 'offer' && (this.#makingOffer || connection.signalingState !== 'stable');
      this.#ignoreOffer = collision && !this.#polite;
      if (this.#ignoreOffer || (type === 'answer' && connection.signalingState !== 'have-local-offer')) return;
      await connection.setRemoteDescription({ type, sdp });
      this.#sources = tracks ?? {};
      if (type === 'offer') {
        this.#start(false);
        await connection.setLocalDescription();
        this.#describe('answer');
      }
      this.#bind();
    });
  }

  /** @param {RTCIceCandidateInit} candidate */
  candidate(candidate) {
    return this.#serial.run(async () => {
      try {
        await this.connection.addIceCandidate(candidate);
      } catch (thrown) {
        if (!this.#ignoreOffer && this.connection.signalingState !== 'closed') throw thrown;
      }
    });
  }

  /** Sends what is published now. */
  sync() {
    if (!this.#started) return;
    const wanted = new Set(this.#hooks.locals());
    for (const [local, sender] of this.#senders) {
      if (wanted.has(local)) continue;
      this.connection.removeTrack(sender);
      this.#senders.delete(local);
    }
    for (const local of wanted) {
      if (!this.#senders.has(local) && local.mediaTrack) {
        this.#senders.set(local, this.connection.addTrack(local.mediaTrack, local.stream));
      }
    }
  }

  /** @param {LocalTrack} local whose media track is another now */
  async replace(local) {
    const sender = this.#senders.get(local);
    if (sender) await sender.replaceTrack(local.mediaTrack);
    else this.sync();
  }

  /** After the signaling was away: an offer or a restart may have been lost. */
  restored() {
    const { connection } = this;
    if (connection.connectionState === 'failed' || connection.connectionState === 'disconnected') connection.restartIce();
    else if (connection.signalingState === 'have-local-offer') this.#describe('offer');
  }

  close() {
    clearTimeout(this.#timer);
    this.connection.onnegotiationneeded = this.connection.onicecandidate = this.connection.onconnectionstatechange = null;
    this.connection.close();
    this.#remote.unbindAll(this);
  }

  /** @param {boolean} offering whether we make the offer, which then has room for the other's sound and picture */
  #start(offering) {
    clearTimeout(this.#timer);
    if (this.#started) return;
    this.#started = true;
    this.sync();
    if (!offering) return;
    for (const kind of ['audio', 'video']) {
      const has = this.connection.getTransceivers().some(({ receiver }) => receiver.track.kind === kind);
      if (!has) this.connection.addTransceiver(kind, { direction: 'recvonly' });
    }
  }

  async #offer() {
    try {
      this.#makingOffer = true;
      await this.connection.setLocalDescription();
      if (this.connection.signalingState === 'have-local-offer') this.#describe('offer');
    } catch {
      // The connection was closed, or the other side's offer came first; then its answer carries our tracks.
    } finally {
      this.#makingOffer = false;
    }
  }

  /** @param {'offer' | 'answer'} type */
  #describe(type) {
    const sdp = this.connection.localDescription?.sdp;
    if (!sdp) return;
    /** @type {Record<string, TrackSource>} */
    const tracks = {};
    for (const [local, sender] of this.#senders) {
      const mid = this.connection.getTransceivers().find((transceiver) => transceiver.sender === sender)?.mid;
      if (mid) tracks[mid] = local.description;
    }
    this.#hooks.send(type, { sdp, tracks });
  }

  /** Brings what is shown to what the negotiated m-lines carry. */
  #bind() {
    if (this.connection.signalingState !== 'stable') return;
    for (const { mid, currentDirection, receiver } of this.connection.getTransceivers()) {
      if (mid === null) continue;
      const receiving = currentDirection === 'sendrecv' || currentDirection === 'recvonly';
      const source = this.#sources[mid]?.source ?? (receiver.track.kind === 'audio' ? 'microphone' : 'camera');
      const id = `p2p:${this.peerId}:${source}`;
      const bound = this.#bound.get(mid);
      if (bound !== undefined && (!receiving || bound !== id)) {
        this.#bound.delete(mid);
        this.#remote.unbind(bound, this);
      }
      if (!receiving || bound === id) continue;
      this.#bound.set(mid, id);
      const track = { id, participantId: this.peerId, source, mediaTrack: receiver.track };
      this.#remote.bind({ ...track, muted: this.#sources[mid]?.muted, label: this.#sources[mid]?.label }, this);
    }
  }
}

// @ts-check
import { watchHealth } from './health.js';
import { watchSound } from './patience.js';
import { Publisher } from './publisher.js';
import { watchTrouble } from './report.js';
import { withSound } from './sound.js';
import { Subscriber } from './subscriber.js';

/**
 * @import { LocalTrack } from './local.js'
 * @import { RemoteTracks } from './remote.js'
 * @import { JoinOptions, OfferedTrack } from '../types.js'
 * @import { PublishOffer, PublishAnswer } from './publisher.js'
 *
 * @typedef {object} LinkHooks
 * @property {() => Promise<void>} ready resolves when an offer may be sent
 * @property {(offer: PublishOffer) => Promise<PublishAnswer>} exchange
 * @property {(sdp: string) => Promise<unknown>} answer
 * @property {import('../types.js').VideoOptions} [video]
 * @property {(receiver: RTCRtpReceiver) => void} [received] before its first frame
 * @property {(report: import('./report.js').MediaReport) => void} [trouble] a connection does not come up, or breaks
 * @property {() => void} broken neither connection is coming back: open another link
 */

/**
 * The pair of connections to one SFU node: we publish over one and receive over the other. Every move of media (the
 * first opening, a failed connection, a peer-to-peer call that outgrows itself, another node) opens a new link and then
 * moves the tracks to it.
 */
export class SfuLink {
  /** @type {LinkHooks} */ #hooks;
  /** @type {RTCConfiguration} */ #config;
  /** @type {RemoteTracks} */ #remote;
  /** @readonly @type {Publisher} */ publisher;
  /** @type {Subscriber} */ subscriber;
  broken = false;
  /** Another link has taken over, or will not be needed. */
  retired = false;

  /**
   * @param {RTCConfiguration} config
   * @param {RemoteTracks} remote
   * @param {LinkHooks} hooks
   */
  constructor(config, remote, hooks) {
    this.#config = config;
    this.#remote = remote;
    this.#hooks = hooks;
    const connection = new RTCPeerConnection(config);
    watchHealth(connection, () => this.#broke());
    watchTrouble(connection, 'publish', (report) => this.#trouble(report));
    this.publisher = new Publisher(connection, hooks.exchange, hooks.ready, hooks.video);
    this.subscriber = this.#newSubscriber();
  }

  /** @param {Iterable<LocalTrack>} tracks */
  publish(tracks) {
    return this.publisher.publish(tracks);
  }

  /**
   * @param {string} sdp
   * @param {Record<string, OfferedTrack>} tracks
   */
  async offered(sdp, tracks) {
    if (this.retired) return;
    if (this.subscriber.accepts(sdp)) return this.subscriber.offered(sdp, tracks);
    const before = this.subscriber;
    this.subscriber = this.#newSubscriber();
    this.subscriber.accepts(sdp);
    try {
      await this.subscriber.offered(sdp, tracks);
    } finally {
      // Its tracks are bound to the new connection by now; what is left is really gone.
      this.#remote.unbindAll(before);
      before.close();
    }
  }

  /** Whether what we send arrives; true when we send nothing. */
  get sending() {
    const { connection } = this.publisher;
    return connection.getTransceivers().length === 0 || connection.connectionState === 'connected';
  }

  /** Negotiates no more: another link takes over. Media flows on until `close`. */
  retire() {
    this.retired = true;
    this.publisher.retire();
  }

  /**
   * Ends the connections but keeps what was received on show until another link has it. The SFU, which learns of the
   * end by DTLS or else by missing ICE checks, then offers its half anew.
   */
  shut() {
    this.retire();
    this.publisher.close();
    this.subscriber.close();
  }

  close() {
    this.shut();
    this.#remote.unbindAll(this.subscriber);
  }

  /** It could not be opened. */
  lost() {
    this.#broke();
  }

  #broke() {
    if (this.broken || this.retired) return;
    this.broken = true;
    this.#hooks.broken();
  }

  /** @param {import('./report.js').MediaReport} report */
  #trouble(report) {
    if (!this.retired) this.#hooks.trouble?.(report);
  }

  #newSubscriber() {
    const connection = new RTCPeerConnection(this.#config);
    const subscriber = new Subscriber(connection, {
      answer: this.#hooks.answer,
      bound: ({ track, participant_id, source }, receiver) => {
        this.#hooks.received?.(receiver);
        this.#remote.bind({ id: track, participantId: participant_id, source, mediaTrack: receiver.track }, subscriber);
      },
      unbound: (trackId) => this.#remote.unbind(trackId, subscriber),
    });
    watchHealth(connection, () => {
      if (this.subscriber === subscriber) this.#broke();
    });
    watchTrouble(connection, 'subscribe', (report) => this.#trouble(report));
    watchSound(connection);
    return subscriber;
  }
}

/**
 * An offer as the server gets it: how sound is to be sent, and what frames are encrypted with.
 *
 * @param {PublishOffer} offer
 * @param {RTCPeerConnection} connection whose offer it is
 * @param {Pick<JoinOptions, 'audio' | 'encryption'>} how
 * @returns {PublishOffer}
 */
export function described({ sdp, tracks }, connection, { audio, encryption }) {
  if (encryption) {
    for (const { sender } of connection.getTransceivers()) encryption.transform(sender);
    tracks = Object.fromEntries(Object.entries(tracks).map(([mid, track]) => [mid, { ...track, encryption: encryption.name }]));
  }
  return { sdp: withSound(sdp, audio), tracks };
}

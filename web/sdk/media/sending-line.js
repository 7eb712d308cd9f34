// @ts-check
import { encodingsFor, preferCodec } from './encodings.js';
import { Serial } from './negotiation.js';

/**
 * @import { LocalTrack } from './local.js'
 * @import { VideoOptions } from '../types.js'
 */

/**
 * One m-line that we send on. When its track is gone it is used again for the like: how many encodings it has is settled
 * when it is made, what is in them is not.
 */
export class SendingLine {
  /** @readonly @type {RTCRtpTransceiver} */ transceiver;
  /** @readonly @type {LocalTrack['source']} */ source;
  /** @type {VideoOptions} */ #options;
  /** @readonly @type {number} */ #count;
  /** What its track needs, which may be fewer than there are. Undefined: the browser's own. */ #encodings;
  /** Which of them somebody watches, as far as we were told. @type {Map<string, boolean>} */ #watched = new Map();
  /** A sender's track and parameters are changed one after the other. */ #serial = new Serial();

  /**
   * @param {RTCPeerConnection} connection
   * @param {LocalTrack} local which it sends
   * @param {VideoOptions} options
   */
  constructor(connection, local, options) {
    this.#options = options;
    this.#encodings = encodingsFor(local, options);
    this.#count = this.#encodings?.length ?? 1;
    this.source = local.source;
    this.transceiver = connection.addTransceiver(local.mediaTrack ?? local.kind, {
      direction: 'sendonly',
      streams: [local.stream],
      sendEncodings: this.#encodings,
    });
    if (local.kind === 'video') preferCodec(this.transceiver, options.codec);
  }

  /**
   * Whether it is free and made for such a track.
   *
   * @param {LocalTrack} local
   */
  suits(local) {
    const count = encodingsFor(local, this.#options)?.length ?? 1;
    return this.source === local.source && this.#count === count && this.transceiver.currentDirection === 'inactive';
  }

  /**
   * Whether it has the encodings that its track needs. A camera that is off needs what it needed before.
   *
   * @param {LocalTrack} local
   */
  hasRoomFor(local) {
    return local.mediaTrack === null || (encodingsFor(local, this.#options)?.length ?? 1) <= this.#count;
  }

  /**
   * Sends another track than before, from the next negotiation on.
   *
   * @param {LocalTrack} local
   */
  reuse(local) {
    this.#watched.clear();
    this.transceiver.direction = 'sendonly';
    this.transceiver.sender.setStreams?.(local.stream);
    return this.replace(local);
  }

  /** @param {LocalTrack} local whose media track is another now */
  replace(local) {
    return this.#serial.run(async () => {
      await this.transceiver.sender.replaceTrack(local.mediaTrack);
      if (!local.mediaTrack) return;
      this.#encodings = encodingsFor(local, this.#options);
      await this.#encode();
    });
  }

  /** Ends its track: the SFU does too, and both sides use the m-line again. */
  release() {
    // Inactive, not stopped.
    this.transceiver.direction = 'inactive';
    // A connection that is closed meanwhile sends nothing either.
    this.#serial.run(() => this.transceiver.sender.replaceTrack(null)).catch(() => {});
  }

  /**
   * Sends the encodings that somebody watches. Those that are not named stay as they are.
   *
   * @param {{rid: string, active: boolean}[]} layers
   */
  activate(layers) {
    for (const { rid, active } of layers) this.#watched.set(rid, active);
    return this.#serial.run(() => this.#encode());
  }

  /**
   * Encodes as the picture's size demands, whatever was sent before. With fewer sizes than there are encodings the lower ones
   * have them: the SFU never tells us to pause the lowest.
   */
  async #encode() {
    if (!this.#encodings) return;
    const { sender } = this.transceiver;
    const parameters = sender.getParameters();
    for (const [place, encoding] of parameters.encodings.entries()) {
      const { rid, ...values } = this.#encodings[place] ?? {};
      const active = place < this.#encodings.length && (this.#watched.get(encoding.rid ?? '') ?? true);
      Object.assign(encoding, { scaleResolutionDownBy: 1, ...values, active });
    }
    await sender.setParameters(parameters);
  }
}

// @ts-check
import { capture } from './capture.js';

/**
 * @import { Source } from '../types.js'
 * @import { Captured } from './capture.js'
 */

/** A track that we publish. It outlives the connections that carry it. */
export class LocalTrack {
  /** The server's id while it is published to the SFU. @type {string | null} */ id = null;
  /** @type {MediaStreamTrack | null} null while the device is off */ mediaTrack;
  /** @readonly @type {Source} */ source;
  /** @readonly @type {'audio' | 'video'} */ kind;
  /** @readonly @type {string | undefined} */ label;
  muted = false;
  /** Groups the tracks that belong together for lip sync. @readonly @type {MediaStream} */ stream;
  /** @type {MediaTrackConstraints | undefined} */ #constraints;

  /**
   * @param {Captured} captured
   * @param {MediaStream} stream
   */
  constructor(captured, stream) {
    this.mediaTrack = captured.track;
    this.source = captured.source;
    this.kind = captured.track.kind === 'audio' ? 'audio' : 'video';
    this.label = (captured.label ?? captured.track.label).slice(0, 128) || undefined;
    this.#constraints = captured.constraints;
    this.stream = stream;
  }

  /** What signaling says of it. */
  get description() {
    return { source: this.source, label: this.label, muted: this.muted };
  }

  /** Whether muting turns the device off: a camera's light must go out; a microphone must be back at once. */
  get releasesDevice() {
    return this.source === 'camera' && this.#constraints !== undefined;
  }

  /** Stops or silences the capture. */
  suspend() {
    this.muted = true;
    if (!this.mediaTrack) return;
    this.mediaTrack.enabled = false;
    if (!this.releasesDevice) return;
    this.mediaTrack.stop();
    this.mediaTrack = null;
  }

  /** Opens the device again, or lets the track sound again. @throws {CasideError} when the device cannot be opened */
  async restore() {
    if (!this.mediaTrack) {
      const { captured, failures } = await capture({ [this.source]: this.#constraints ?? true });
      const [reopened] = captured;
      if (!reopened) throw failures[0];
      this.mediaTrack = reopened.track;
    }
    this.mediaTrack.enabled = true;
    this.muted = false;
  }

  /**
   * Takes another device's track from now on.
   *
   * @param {Captured} captured
   */
  replace(captured) {
    this.mediaTrack?.stop();
    this.mediaTrack = captured.track;
    this.mediaTrack.enabled = !this.muted;
    this.#constraints = captured.constraints;
  }

  stop() {
    this.mediaTrack?.stop();
  }
}

/** The stream of each group of tracks that are kept in step. */
export class Streams {
  /** @type {Map<string, MediaStream>} */ #streams = new Map();

  /** @param {Source} source */
  of(source) {
    const group = source === 'camera' || source === 'microphone' ? 'person' : source === 'file' ? 'file' : 'screen';
    let stream = this.#streams.get(group);
    if (!stream) this.#streams.set(group, (stream = new MediaStream()));
    return stream;
  }
}

// @ts-check
/**
 * @import { LocalTrack } from './local.js'
 * @import { VideoOptions } from '../types.js'
 */

/** What a source may use at most, in bit/s; without it a browser's own ceiling for video is 2.5 Mbit/s and up. */
const MAX_BITRATE = { camera: 1_700_000, screen: 2_500_000, file: 2_500_000 };

/**
 * Simulcast from this size on, the longer side counted: a part of the width and height, and what it may use. Each is about a
 * third of the next.
 *
 * @type {{from: number, layers: {rid: string, scaleResolutionDownBy: number, maxBitrate: number}[]}[]}
 */
const SIMULCAST = [
  {
    from: 960,
    layers: [
      { rid: 'q', scaleResolutionDownBy: 4, maxBitrate: 160_000 },
      { rid: 'h', scaleResolutionDownBy: 2, maxBitrate: 500_000 },
      { rid: 'f', scaleResolutionDownBy: 1, maxBitrate: 1_700_000 },
    ],
  },
  {
    from: 480,
    layers: [
      { rid: 'h', scaleResolutionDownBy: 2, maxBitrate: 180_000 },
      { rid: 'f', scaleResolutionDownBy: 1, maxBitrate: 700_000 },
    ],
  },
];

/** Codecs that carry several sizes in one stream, so that simulcast is not needed. */
const SCALABLE = new Set(['vp9', 'av1']);

/**
 * The encodings of a track: cameras in several sizes, so that each receiver gets what it shows and can carry; a screen in
 * one, which loses frames and not sharpness.
 *
 * @param {LocalTrack} local
 * @param {VideoOptions} options
 * @returns {RTCRtpEncodingParameters[] | undefined} the browser's own for sound
 */
export function encodingsFor(local, { codec, simulcast = true }) {
  if (local.kind !== 'video') return undefined;
  const maxBitrate = MAX_BITRATE[/** @type {keyof typeof MAX_BITRATE} */ (local.source)];
  const { width = 0, height = 0 } = local.mediaTrack?.getSettings() ?? {};
  const sizes = local.source === 'camera' && simulcast ? SIMULCAST.find(({ from }) => Math.max(width, height) >= from)?.layers : undefined;
  if (codec && SCALABLE.has(codec)) return [scalable({ maxBitrate }, sizes ? `L${sizes.length}T3_KEY` : 'L1T3')];
  // H.264 has no layers in time that a browser could be asked for.
  const mode = codec === 'h264' ? undefined : 'L1T3';
  return sizes ? sizes.map((layer) => scalable({ ...layer }, mode)) : [scalable({ maxBitrate }, mode)];
}

/**
 * @param {RTCRtpEncodingParameters} encoding
 * @param {string | undefined} mode
 * @returns {RTCRtpEncodingParameters}
 */
function scalable(encoding, mode) {
  return mode ? Object.assign(encoding, { scalabilityMode: mode }) : encoding;
}

/**
 * Puts a codec first in what an m-line offers.
 *
 * @param {RTCRtpTransceiver} transceiver
 * @param {string | undefined} codec
 */
export function preferCodec(transceiver, codec) {
  const codecs = globalThis.RTCRtpSender?.getCapabilities?.('video')?.codecs;
  if (!codec || !codecs || !transceiver.setCodecPreferences) return;
  const first = codecs.filter(({ mimeType }) => mimeType.toLowerCase() === `video/${codec}`);
  if (first.length > 0) transceiver.setCodecPreferences([...first, ...codecs.filter((other) => !first.includes(other))]);
}

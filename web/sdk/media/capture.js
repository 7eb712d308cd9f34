// @ts-check
import { CasideError } from '../errors.js';

/** @import { Capture, Source } from '../types.js' */

/**
 * @typedef {object} Captured
 * @property {MediaStreamTrack} track
 * @property {Source} source
 * @property {string} [label]
 * @property {MediaTrackConstraints} [constraints] how to open the device again; absent for tracks given from outside
 *
 * @typedef {{captured: Captured[], failures: CasideError[]}} CaptureResult
 */

/** @type {MediaTrackConstraints} */
const CAMERA = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30, max: 30 } };
/** @type {MediaTrackConstraints} */
const MICROPHONE = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };

/**
 * Opens what is asked for. Camera and microphone are asked for together (one prompt); when that fails each is tried
 * alone, so that a missing camera does not cost the microphone.
 *
 * A browser gives a camera that runs already in the size in which it runs: one that is smaller than what is asked for is
 * ended, and opened anew.
 *
 * @param {Capture} wishes
 * @param {MediaStreamTrack | null} [running] the camera that is to be replaced
 * @returns {Promise<CaptureResult>}
 */
export async function capture(wishes, running) {
  /** @type {CaptureResult} */
  const result = { captured: [], failures: [] };
  for (const { track, source, label } of wishes.tracks ?? []) {
    if (source === 'screen') hintDetail(track);
    result.captured.push({ track, source: source ?? defaultSource(track), label });
  }
  /** @type {{camera?: MediaTrackConstraints, microphone?: MediaTrackConstraints}} */
  const open = {};
  for (const source of /** @type {const} */ (['microphone', 'camera'])) {
    const wish = wishes[source];
    if (!wish) continue;
    if (isTrack(wish)) result.captured.push({ track: wish, source, constraints: constraintsOf(wish, source) });
    else open[source] = { ...(source === 'camera' ? CAMERA : MICROPHONE), ...(wish === true ? {} : wish) };
  }
  await openDevices(open, result);
  const held = result.captured.find(({ track }) => running && isHeldBack(track, running, open.camera));
  if (held && running) {
    running.stop();
    held.track.stop();
    result.captured.splice(result.captured.indexOf(held), 1);
    await openDevices({ camera: open.camera }, result);
  }
  if (wishes.screen) await openScreen(wishes.screen === true ? {} : wishes.screen, result);
  return result;
}

/**
 * @param {{camera?: MediaTrackConstraints, microphone?: MediaTrackConstraints}} open
 * @param {CaptureResult} result
 */
async function openDevices({ camera, microphone }, result) {
  if (!camera && !microphone) return;
  try {
    await openTogether({ camera, microphone }, result);
  } catch (thrown) {
    if (!camera || !microphone) {
      result.failures.push(deviceError(thrown, camera ? 'camera' : 'microphone'));
      return;
    }
    await openDevices({ microphone }, result);
    await openDevices({ camera }, result);
  }
}

/**
 * @param {{camera?: MediaTrackConstraints, microphone?: MediaTrackConstraints}} open
 * @param {CaptureResult} result
 */
async function openTogether({ camera, microphone }, result) {
  const devices = globalThis.navigator?.mediaDevices;
  if (!devices) throw new CasideError('unsupported', 'cameras and microphones need https or localhost');
  const stream = await devices.getUserMedia({ video: camera ?? false, audio: microphone ?? false });
  for (const track of stream.getTracks()) {
    const source = track.kind === 'video' ? 'camera' : 'microphone';
    result.captured.push({ track, source, constraints: track.kind === 'video' ? camera : microphone });
  }
}

/**
 * @param {DisplayMediaStreamOptions} options
 * @param {CaptureResult} result
 */
async function openScreen(options, result) {
  try {
    const devices = globalThis.navigator?.mediaDevices;
    if (!devices?.getDisplayMedia) throw new CasideError('unsupported', 'this browser cannot share a screen');
    const stream = await devices.getDisplayMedia({ video: { frameRate: { ideal: 15, max: 30 } }, audio: true, ...options });
    for (const track of stream.getTracks()) {
      hintDetail(track);
      result.captured.push({ track, source: track.kind === 'video' ? 'screen' : 'screen-audio' });
    }
  } catch (thrown) {
    result.failures.push(deviceError(thrown, 'screen'));
  }
}

/**
 * A screen is to lose frames and not sharpness, unless the page has said otherwise.
 *
 * @param {MediaStreamTrack} track
 */
function hintDetail(track) {
  if (track.kind === 'video' && 'contentHint' in track && track.contentHint === '') track.contentHint = 'detail';
}

/**
 * @param {unknown} thrown
 * @param {Source} source
 */
function deviceError(thrown, source) {
  if (thrown instanceof CasideError) return thrown;
  const name = thrown instanceof Error || thrown instanceof DOMException ? thrown.name : '';
  const code =
    name === 'NotAllowedError' || name === 'SecurityError' ? 'device_denied'
    : name === 'NotFoundError' || name === 'OverconstrainedError' ? 'device_not_found'
    : name === 'NotReadableError' || name === 'AbortError' ? 'device_busy'
    : 'device_failed';
  return new CasideError(code, `${source}: ${thrown instanceof Error ? thrown.message : thrown}`, {
    details: { source },
    cause: thrown,
  });
}

/**
 * @param {MediaStreamTrack} track
 * @param {'camera' | 'microphone'} source
 * @returns {MediaTrackConstraints}
 */
function constraintsOf(track, source) {
  const { deviceId } = track.getSettings();
  return { ...(source === 'camera' ? CAMERA : MICROPHONE), ...(deviceId ? { deviceId } : {}) };
}

/**
 * Whether a camera is as small as what runs of the same device, though more was asked for.
 *
 * @param {MediaStreamTrack} track
 * @param {MediaStreamTrack} running
 * @param {MediaTrackConstraints | undefined} asked
 */
function isHeldBack(track, running, asked) {
  if (!asked || track.kind !== 'video' || running.readyState !== 'live') return false;
  const [is, was] = [track.getSettings(), running.getSettings()];
  if (is.deviceId !== was.deviceId) return false;
  return (is.width ?? 0) < wanted(asked.width) && (is.width ?? 0) <= (was.width ?? 0);
}

/** @param {ConstrainULong | undefined} constraint @returns {number} 0: any will do */
function wanted(constraint) {
  if (typeof constraint === 'number') return constraint;
  return constraint?.exact ?? constraint?.ideal ?? constraint?.min ?? 0;
}

/** @param {unknown} value @returns {value is MediaStreamTrack} */
function isTrack(value) {
  return typeof MediaStreamTrack !== 'undefined' && value instanceof MediaStreamTrack;
}

/**
 * @param {MediaStreamTrack} track
 * @returns {Source}
 */
function defaultSource(track) {
  return track.kind === 'audio' ? 'microphone' : 'camera';
}

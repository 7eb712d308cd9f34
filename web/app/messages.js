// @ts-check
import { CasideError } from '../sdk/caside.js';

/** @type {Record<string, string>} what each error means to the person in front of the screen */
const SENTENCES = {
  unauthorized: 'Please sign in again.',
  invalid_credentials: 'That user name and password do not go together.',
  token_expired: 'Your sign-in ran out. Please sign in again.',
  forbidden: 'You are not allowed to do that here.',
  room_locked: 'This room is locked. Ask the host to let you in.',
  room_not_found: 'There is no such room.',
  not_found: 'That is not there any more.',
  call_not_found: 'That call is not there any more.',
  recording_not_found: 'That recording is not there any more.',
  participant_not_found: 'That person has already left.',
  user_not_found: 'There is nobody of that name.',
  user_offline: 'They are not online right now.',
  invalid_payload: 'The server did not understand that.',
  no_common_codec: 'Your browser and this call have no video format in common.',
  bad_sdp: 'Your browser and the server could not agree on how to send media.',
  room_full: 'This room is full.',
  already_joined: 'You are already in a call.',
  invite_expired: 'That invitation has run out.',
  resume_expired: 'The call could not be continued. Join again.',
  too_large: 'That is too long to send.',
  rate_limited: 'That was too quick. Wait a moment and try again.',
  too_many_connections: 'The server is full at the moment. Try again shortly.',
  overloaded: 'The server is busy. Try again in a moment.',
  moving: 'The call is moving to another server. Try again in a moment.',
  draining: 'The server is restarting. Try again in a moment.',
  dependency_unavailable: 'Part of the server is not available right now. Try again in a moment.',
  negotiation_timeout: 'Setting up media took too long. Trying again may help.',
  connection_failed: 'The server cannot be reached. Check your network.',
  connection_lost: 'The connection dropped before that went through. Try again.',
  timeout: 'The server did not answer. Try again.',
  replaced: 'This call was taken over in another tab.',
  kicked: 'The host removed you from the call.',
  media_failed: 'Sound and picture could not be connected. Your network may be blocking them.',
  unsupported: 'This needs a secure page (https or localhost) and a current browser.',
};

/** @type {Record<string, string>} what each cause of `connection-quality` means, of one's own connection */
const CAUSES = {
  udp_blocked: 'Your network blocks UDP, which calls work best with. Another network may help.',
  address_unreachable: 'The server’s media address cannot be reached. Tell whoever runs this service.',
  path_lost: 'Your network connection dropped. Sound and picture come back when it does.',
  dtls_blocked: 'Something in your network lets the call begin but blocks sound and picture.',
  dtls_failed: 'Your browser and the server could not agree on keys for sound and picture.',
  fingerprint_mismatch: 'Sound and picture were refused: something changed the call’s description on its way.',
  no_key_frame: 'Your camera’s picture arrives broken. Turn the camera off and on again.',
  source_muted: 'Nothing comes from your camera or microphone. Check that it is not muted or used by another program.',
  owner_lost: 'The call’s server failed. The call is moving to another one.',
  directory_away: 'Part of the service is not available. The call goes on.',
  internal: 'Something went wrong on the server. Sound and picture are being set up anew.',
};

/**
 * A cause of one's own connection as a sentence; nothing of those that need none.
 *
 * @param {string | undefined} cause
 */
export function explainCause(cause) {
  return cause === undefined ? undefined : CAUSES[cause];
}

/** @type {Record<string, Record<string, string>>} */
const DEVICES = {
  device_denied: {
    camera: 'The camera is blocked. Allow it in the address bar, then turn it on here.',
    microphone: 'The microphone is blocked. Allow it in the address bar, then unmute.',
    screen: 'The screen was not shared.',
  },
  device_not_found: { camera: 'No camera was found.', microphone: 'No microphone was found.', screen: 'There is nothing to share.' },
  device_busy: { camera: 'The camera is used by another program.', microphone: 'The microphone is used by another program.' },
};

/**
 * One sentence in plain language.
 *
 * @param {unknown} thrown
 */
export function explain(thrown) {
  if (!(thrown instanceof CasideError)) return 'Something went wrong in the page. Reload it and try again.';
  const source = /** @type {{source?: string} | undefined} */ (thrown.details)?.source ?? '';
  return DEVICES[thrown.code]?.[source] ?? SENTENCES[thrown.code] ?? 'Something went wrong on the server. Try again.';
}

/**
 * Whether this is only the person changing their mind, which needs no words.
 *
 * @param {unknown} thrown
 */
export function isSecondThought(thrown) {
  if (!(thrown instanceof CasideError)) return false;
  return thrown.code === 'closed' || (thrown.code === 'device_denied' && /** @type {any} */ (thrown.details)?.source === 'screen');
}

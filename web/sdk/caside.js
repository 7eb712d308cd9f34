// @ts-check
/**
 * The Caside client: calls, media, chat and recordings for web pages. Plain ES modules; see README.md beside this folder.
 */
export { Caside } from './client.js';
export { CasideError } from './errors.js';
export { LocalTrack } from './media/local.js';
export { Participant } from './participant.js';
export { Room } from './room.js';
export { Session } from './session.js';
export { Signaling } from './signaling.js';

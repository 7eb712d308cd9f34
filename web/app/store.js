// @ts-check

/** @import { Tokens, TokenStore } from '../sdk/session.js' */

const TOKENS = 'caside.tokens';
const LINK_TOKEN = 'caside.link-token';
const IN_CALL = 'caside.in-call';

/** Signed-in users stay so in every tab of this browser. @type {TokenStore} */
export const tokenStore = {
  load: () => /** @type {Tokens | null} */ (read(localStorage, TOKENS)),
  save: (tokens) => write(localStorage, TOKENS, tokens),
};

/** A token that came with a link: for this tab only, and kept over a reload. */
export const linkToken = {
  load: () => /** @type {string | null} */ (read(sessionStorage, LINK_TOKEN)),
  /** @param {string | null} token */
  save: (token) => write(sessionStorage, LINK_TOKEN, token),
};

/** The room that this tab is in, so that a reload goes back to it. */
export const inCall = {
  load: () => /** @type {string | null} */ (read(sessionStorage, IN_CALL)),
  /** @param {string | null} room */
  save: (room) => write(sessionStorage, IN_CALL, room),
};

/**
 * @param {string} name
 * @returns {any}
 */
export function preference(name) {
  return read(localStorage, `caside.${name}`);
}

/**
 * @param {string} name
 * @param {unknown} value
 */
export function setPreference(name, value) {
  write(localStorage, `caside.${name}`, value);
}

/**
 * @param {Storage} storage
 * @param {string} key
 * @returns {unknown}
 */
function read(storage, key) {
  try {
    return JSON.parse(storage.getItem(key) ?? 'null');
  } catch {
    return null;
  }
}

/**
 * @param {Storage} storage
 * @param {string} key
 * @param {unknown} value
 */
function write(storage, key, value) {
  try {
    if (value === null || value === undefined) storage.removeItem(key);
    else storage.setItem(key, JSON.stringify(value));
  } catch {
    // Storage is full or forbidden: the page works, it only forgets.
  }
}

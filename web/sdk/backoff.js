// @ts-check

const FIRST_JITTER_MS = 200;
const BASE_MS = 500;
const CAP_MS = 10_000;
const AGAIN_BASE_MS = 100;
const AGAIN_CAP_MS = 1_000;

/**
 * How long to wait before a reconnection attempt: the first at once, spread over 200 ms so that the clients of a node
 * that died do not arrive in one instant; then within a time that doubles from 0.5 s to 10 s, anywhere in it ("full jitter").
 *
 * @param {number} attempt counted from 0
 * @param {() => number} [random] uniform in [0, 1)
 * @returns {number} milliseconds
 */
export function backoffMs(attempt, random = Math.random) {
  if (attempt === 0) return random() * FIRST_JITTER_MS;
  return random() * Math.min(CAP_MS, BASE_MS * 2 ** Math.min(attempt - 1, 16));
}

/**
 * A time that the server asked for, ± 20 %: it asks it of many at once.
 *
 * @param {number} ms
 * @param {() => number} [random]
 */
export function aboutMs(ms, random = Math.random) {
  return ms * (0.8 + 0.4 * random());
}

/**
 * How long to wait before asking again what was refused for the moment.
 *
 * @param {number} attempt counted from 0
 * @param {number | undefined} retryAfterMs what the server asks
 * @param {() => number} [random]
 */
export function againMs(attempt, retryAfterMs, random = Math.random) {
  return aboutMs(retryAfterMs ?? Math.min(AGAIN_CAP_MS, AGAIN_BASE_MS * 2 ** Math.min(attempt, 16)), random);
}

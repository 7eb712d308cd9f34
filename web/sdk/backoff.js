// @ts-check

const FIRST_JITTER_MS = 200;
const BASE_MS = 500;
const CAP_MS = 10_000;

/**
 * How long to wait before a reconnection attempt: the first at once, spread over 200 ms so that the clients of a node
 * that died do not arrive in one instant; then exponential from 0.5 s to 10 s, jittered over its upper half.
 *
 * @param {number} attempt counted from 0
 * @param {() => number} [random] uniform in [0, 1)
 * @returns {number} milliseconds
 */
export function backoffMs(attempt, random = Math.random) {
  if (attempt === 0) return random() * FIRST_JITTER_MS;
  const full = Math.min(CAP_MS, BASE_MS * 2 ** Math.min(attempt - 1, 16));
  return full * (0.5 + random() * 0.5);
}

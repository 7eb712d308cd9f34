// @ts-check

/**
 * Codes that the SDK itself gives, beside those of the server (docs/errors.md):
 *
 * - `connection_failed`: the server could not be reached
 * - `connection_lost`: the socket dropped after the request was sent; whether it was acted on is unknown
 * - `timeout`: no answer in time
 * - `closed`: the client, room or connection was closed by this side
 * - `replaced`: another tab took this session over
 * - `device_denied`, `device_not_found`, `device_busy`, `device_failed`: camera, microphone or screen
 * - `media_failed`: no media connection could be made
 * - `unsupported`: the browser lacks something needed
 */

const RETRYABLE = new Set([
  'rate_limited',
  'too_many_connections',
  'overloaded',
  'draining',
  'moving',
  'dependency_unavailable',
  'negotiation_timeout',
  'user_offline',
  'room_full',
  'room_locked',
  'connection_failed',
  'connection_lost',
  'timeout',
]);

/** The one error type of the SDK. */
export class CasideError extends Error {
  /**
   * @param {string} code a stable code, see the list above and the server's
   * @param {string} [message] for people; not to be parsed
   * @param {{retryable?: boolean, retryAfterMs?: number, requestId?: string, details?: unknown, cause?: unknown}} [more]
   */
  constructor(code, message, more = {}) {
    super(message ?? code, more.cause === undefined ? undefined : { cause: more.cause });
    this.name = 'CasideError';
    /** @readonly */
    this.code = code;
    /** Whether the same request may succeed later without change. @readonly */
    this.retryable = more.retryable ?? RETRYABLE.has(code);
    /** How long to wait before trying again, if the server said so. @readonly */
    this.retryAfterMs = more.retryAfterMs;
    /** The server's id of the request, for its logs. @readonly */
    this.requestId = more.requestId;
    /** @readonly */
    this.details = more.details;
  }
}

/**
 * Reads the `error` object of an HTTP answer or the payload of an `error` message.
 *
 * @param {any} wire
 * @param {string} [fallback] the code when there is none
 */
export function errorFromWire(wire, fallback = 'internal') {
  const body = wire !== null && typeof wire === 'object' ? wire : {};
  return new CasideError(typeof body.code === 'string' ? body.code : fallback, text(body.message), {
    retryable: typeof body.retryable === 'boolean' ? body.retryable : undefined,
    retryAfterMs: typeof body.retry_after_ms === 'number' ? body.retry_after_ms : undefined,
    requestId: text(body.request_id),
    details: body.details,
  });
}

/**
 * Gives anything thrown the SDK's error type.
 *
 * @param {unknown} thrown
 * @param {string} code the code for what is not a `CasideError` yet
 */
export function asCasideError(thrown, code) {
  if (thrown instanceof CasideError) return thrown;
  return new CasideError(code, thrown instanceof Error ? thrown.message : String(thrown), { cause: thrown });
}

/** @param {unknown} value */
function text(value) {
  return typeof value === 'string' ? value : undefined;
}

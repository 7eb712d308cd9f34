// @ts-check
import { againMs } from './backoff.js';
import { CasideError, errorFromWire } from './errors.js';

/**
 * @import { Message } from './signaling.js'
 *
 * @typedef {object} RequestOptions
 * @property {number} [timeoutMs]
 * @property {boolean} [idempotent] sent again after a reconnect
 * @property {(message: Message) => void} [onAnswer] called before any later message is looked at
 * @property {() => boolean} [wanted] asked before it is sent, and before it is sent again: if not, it fails with `closed`
 *
 * @typedef {object} Entry
 * @property {string} frame
 * @property {string} [id] absent: no answer is awaited
 * @property {boolean} idempotent
 * @property {boolean} sent
 * @property {((message: Message) => void)} [onAnswer]
 * @property {() => boolean} [wanted]
 * @property {number} refusals that were waited out
 * @property {CasideError} [refusal] the last of them
 * @property {ReturnType<typeof setTimeout>} [again] runs while one is waited out
 * @property {(message: Message) => void} resolve
 * @property {(error: CasideError) => void} reject
 * @property {ReturnType<typeof setTimeout>} [timer]
 */

/** The server closes a socket that sends more in one message. */
const MAX_FRAME_BYTES = 65_536;
const MAX_WAITING = 256;
const REQUEST_MS = 10_000;
/** What a room refuses while it moves: it was not acted on, and soon will be. */
const PASSING = new Set(['moving', 'overloaded', 'dependency_unavailable']);

/** What waits for a socket or for its answer, in the order it was asked; bounded. */
export class Requests {
  /** @type {Entry[]} */ #entries = [];
  #nextId = 1;
  /** @type {() => void} */ #due;
  /** Whether to ask again whatever is refused with a code that passes: the room moves. */
  patient = false;

  /** @param {() => void} due something is to be sent again */
  constructor(due = () => {}) {
    this.#due = due;
  }

  /** An id that no other message of this session bears. */
  id() {
    return String(this.#nextId++);
  }

  /**
   * @param {string} type
   * @param {object} payload
   * @param {RequestOptions} options
   * @returns {Promise<Message>}
   */
  ask(type, payload, { timeoutMs = REQUEST_MS, idempotent = false, onAnswer, wanted }) {
    const id = this.id();
    return new Promise((resolve, reject) => {
      /** @type {Entry} */
      const entry = { frame: JSON.stringify({ type, id, payload }), id, idempotent, sent: false, onAnswer, wanted, refusals: 0, resolve, reject };
      if (!this.#add(entry)) return;
      entry.timer = setTimeout(() => {
        this.#settle(entry);
        reject(entry.refusal ?? new CasideError('timeout', `no answer to ${type}`));
      }, timeoutMs);
    });
  }

  /**
   * @param {string} type
   * @param {object} payload
   * @returns {boolean} whether it will be sent
   */
  tell(type, payload) {
    const nobody = () => {};
    return this.#add({ frame: JSON.stringify({ type, payload }), idempotent: false, sent: false, refusals: 0, resolve: nobody, reject: nobody });
  }

  /** @param {WebSocket} socket which is open */
  flush(socket) {
    for (const entry of [...this.#entries]) {
      if (entry.sent) continue;
      if (entry.wanted && !entry.wanted()) {
        this.#settle(entry);
        entry.reject(new CasideError('closed', 'no longer wanted'));
        continue;
      }
      entry.sent = true;
      socket.send(entry.frame);
      if (entry.id === undefined) this.#settle(entry);
    }
  }

  /** @param {Message} message */
  answered(message) {
    const entry = this.#entries.find((waiting) => waiting.id === message.id);
    if (!entry) return;
    const error = message.type === 'error' ? errorFromWire(message.payload) : null;
    if (error && this.#passes(error)) return this.#again(entry, error);
    this.#settle(entry);
    if (error) {
      entry.reject(error);
      return;
    }
    entry.onAnswer?.(message);
    entry.resolve(message);
  }

  /** The socket is gone: what cannot be asked twice fails, the rest goes over the next one. */
  dropped() {
    for (const entry of [...this.#entries]) if (entry.sent && !entry.again && !entry.idempotent) this.#lose(entry);
    for (const entry of this.#entries) this.#unsend(entry);
  }

  /** The session is gone, and with it whatever was asked of it. */
  lost() {
    for (const entry of [...this.#entries]) this.#lose(entry);
  }

  /** @param {CasideError} cause why nothing will be sent any more */
  close(cause) {
    for (const entry of [...this.#entries]) {
      this.#settle(entry);
      entry.reject(new CasideError('closed', cause.message, { cause }));
    }
  }

  /** @param {Entry} entry */
  #add(entry) {
    const full = this.#entries.length >= MAX_WAITING;
    if (full || byteLength(entry.frame) > MAX_FRAME_BYTES) {
      entry.reject(full ? new CasideError('overloaded', 'too many requests wait') : new CasideError('too_large', 'over 64 KiB'));
      return false;
    }
    this.#entries.push(entry);
    return true;
  }

  /** @param {CasideError} error whether it says no more than that this is not the moment */
  #passes({ code }) {
    return code === 'moving' || (this.patient && PASSING.has(code));
  }

  /**
   * Asks again after a while, for as long as an answer is waited for.
   *
   * @param {Entry} entry
   * @param {CasideError} refusal
   */
  #again(entry, refusal) {
    entry.refusal = refusal;
    entry.again = setTimeout(() => {
      this.#unsend(entry);
      this.#due();
    }, againMs(entry.refusals++, refusal.retryAfterMs));
  }

  /** @param {Entry} entry */
  #unsend(entry) {
    clearTimeout(entry.again);
    entry.again = undefined;
    entry.sent = false;
  }

  /** @param {Entry} entry */
  #lose(entry) {
    this.#settle(entry);
    entry.reject(new CasideError('connection_lost', 'the connection dropped before the answer'));
  }

  /** @param {Entry} entry */
  #settle(entry) {
    clearTimeout(entry.timer);
    clearTimeout(entry.again);
    const at = this.#entries.indexOf(entry);
    if (at >= 0) this.#entries.splice(at, 1);
  }
}

/** @param {string} text */
function byteLength(text) {
  // UTF-8 has at most 3 bytes for each UTF-16 unit, so short text need not be encoded to know that it fits.
  return text.length * 3 <= MAX_FRAME_BYTES ? text.length : new TextEncoder().encode(text).length;
}

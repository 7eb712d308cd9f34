// @ts-check
import { CasideError, errorFromWire } from './errors.js';

/**
 * @import { Message } from './signaling.js'
 *
 * @typedef {object} RequestOptions
 * @property {number} [timeoutMs]
 * @property {boolean} [idempotent] sent again after a reconnect
 * @property {(message: Message) => void} [onAnswer] called before any later message is looked at
 *
 * @typedef {object} Entry
 * @property {string} frame
 * @property {string} [id] absent: no answer is awaited
 * @property {boolean} idempotent
 * @property {boolean} sent
 * @property {((message: Message) => void)} [onAnswer]
 * @property {(message: Message) => void} resolve
 * @property {(error: CasideError) => void} reject
 * @property {ReturnType<typeof setTimeout>} [timer]
 */

/** The server closes a socket that sends more in one message. */
const MAX_FRAME_BYTES = 65_536;
const MAX_WAITING = 256;
const REQUEST_MS = 10_000;

/** What waits for a socket or for its answer, in the order it was asked; bounded. */
export class Requests {
  /** @type {Entry[]} */ #entries = [];
  #nextId = 1;

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
  ask(type, payload, { timeoutMs = REQUEST_MS, idempotent = false, onAnswer }) {
    const id = this.id();
    return new Promise((resolve, reject) => {
      /** @type {Entry} */
      const entry = { frame: JSON.stringify({ type, id, payload }), id, idempotent, sent: false, onAnswer, resolve, reject };
      if (!this.#add(entry)) return;
      entry.timer = setTimeout(() => {
        this.#settle(entry);
        reject(new CasideError('timeout', `no answer to ${type}`));
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
    return this.#add({ frame: JSON.stringify({ type, payload }), idempotent: false, sent: false, resolve: nobody, reject: nobody });
  }

  /** @param {WebSocket} socket which is open */
  flush(socket) {
    for (const entry of [...this.#entries]) {
      if (entry.sent) continue;
      entry.sent = true;
      socket.send(entry.frame);
      if (entry.id === undefined) this.#settle(entry);
    }
  }

  /** @param {Message} message */
  answered(message) {
    const entry = this.#entries.find((waiting) => waiting.id === message.id);
    if (!entry) return;
    this.#settle(entry);
    if (message.type === 'error') {
      entry.reject(errorFromWire(message.payload));
      return;
    }
    entry.onAnswer?.(message);
    entry.resolve(message);
  }

  /** The socket is gone: what cannot be asked twice fails, the rest goes over the next one. */
  dropped() {
    for (const entry of [...this.#entries]) if (entry.sent && !entry.idempotent) this.#lose(entry);
    for (const entry of this.#entries) entry.sent = false;
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

  /** @param {Entry} entry */
  #lose(entry) {
    this.#settle(entry);
    entry.reject(new CasideError('connection_lost', 'the connection dropped before the answer'));
  }

  /** @param {Entry} entry */
  #settle(entry) {
    clearTimeout(entry.timer);
    const at = this.#entries.indexOf(entry);
    if (at >= 0) this.#entries.splice(at, 1);
  }
}

/** @param {string} text */
function byteLength(text) {
  // UTF-8 has at most 3 bytes for each UTF-16 unit, so short text need not be encoded to know that it fits.
  return text.length * 3 <= MAX_FRAME_BYTES ? text.length : new TextEncoder().encode(text).length;
}

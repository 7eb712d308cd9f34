// @ts-check
import { aboutMs, backoffMs } from './backoff.js';
import { Emitter } from './emitter.js';
import { CasideError, asCasideError, errorFromWire } from './errors.js';
import { Requests } from './requests.js';

/**
 * @import { RequestOptions } from './requests.js'
 *
 * @typedef {{type: string, id?: string | number, seq?: number, payload: any}} Message
 * @typedef {'idle' | 'connecting' | 'open' | 'reconnecting' | 'closed'} SignalingState
 *
 * @typedef {{
 *   'message': Message,
 *   'welcome': {welcome: any, renewed: boolean},
 *   'resumed': {reset: boolean, participant_id?: string, room_state?: any, ice_servers?: RTCIceServer[]},
 *   'reconnecting': {attempt: number, delayMs: number},
 *   'closed': CasideError,
 * }} SignalingEvents
 *   - `message`: an event of the server, in order and once
 *   - `welcome`: a session was opened; `renewed`: the one before it was lost
 *   - `resumed`: the session goes on on a new socket
 *   - `closed`: no further attempt is made
 *
 * @typedef {object} SignalingOptions
 * @property {string | (() => string)} url `ws:` or `wss:`; of each socket anew when it is a function
 * @property {(refresh: boolean) => string | Promise<string>} token the access token; `refresh`: the last one was refused
 * @property {new (url: string, protocols: string[]) => WebSocket} [WebSocket]
 * @property {() => number} [random]
 */

export const SUBPROTOCOL = 'caside.json.v1';
const HANDSHAKE_MS = 10_000;
const DEFAULT_HEARTBEAT_MS = 10_000;
/** For so long a session is asked for whose node died: by then another has taken it over, or none will. */
const PENDING_MS = 10_000;
const PENDING_AGAIN_MS = 300;
/** Close codes after which the session must not be taken up again. */
const FINAL_CLOSES = new Map([
  [4001, 'replaced'],
  [4403, 'kicked'],
]);

/**
 * One session over any number of WebSockets: requests with answers, events in order and exactly once.
 *
 * A dropped socket is reopened with `resume`; events already seen are dropped by their `seq`. Requests that were not
 * sent yet, and idempotent ones without an answer, go out on the new socket; others fail with `connection_lost`.
 *
 * @extends {Emitter<SignalingEvents>}
 */
export class Signaling extends Emitter {
  /** @type {SignalingState} */ #state = 'idle';
  /** @type {SignalingOptions} */ #options;
  /** @type {WebSocket | null} */ #socket = null;
  #requests = new Requests(() => this.#flush());
  #handshakeId = '';
  /** @type {string | null} */ #resumeToken = null;
  #lastSeq = 0;
  /** The next event is taken whatever its number: the server could not replay. */
  #resync = false;
  /** The gap that a resume did not fill, so that a second one is not tried for it. */
  #gapAt = -1;
  #attempt = 0;
  #refreshToken = false;
  #heartbeatMs = DEFAULT_HEARTBEAT_MS;
  #lastHeard = 0;
  /** @type {number | null} */ #retryAfterMs = null;
  /** Since when the session's takeover is waited for. @type {number | null} */ #pendingSince = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #handshakeTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #retryTimer;
  /** @type {ReturnType<typeof setInterval> | undefined} */ #heartbeatTimer;
  /** @type {{resolve: (welcome: any) => void, reject: (error: CasideError) => void} | null} */ #opening = null;
  #wake = () => {
    if (this.#state === 'reconnecting' && this.#retryTimer !== undefined) this.#dial();
  };

  /** @param {SignalingOptions} options */
  constructor(options) {
    super();
    this.#options = options;
  }

  get state() {
    return this.#state;
  }

  /** While the room moves, what it refuses for the moment is asked again. */
  set patient(/** @type {boolean} */ patient) {
    this.#requests.patient = patient;
  }

  /** The number of the last event that was handed out. */
  get lastSeq() {
    return this.#lastSeq;
  }

  /**
   * Connects and authenticates.
   *
   * @returns {Promise<any>} the payload of `welcome`
   */
  open() {
    if (this.#state !== 'idle') return Promise.reject(new CasideError('closed', 'this connection was opened before'));
    this.#state = 'connecting';
    globalThis.addEventListener?.('online', this.#wake);
    return new Promise((resolve, reject) => {
      this.#opening = { resolve, reject };
      this.#dial();
    });
  }

  /**
   * Sends a request and waits for its answer; also while a socket is being opened anew.
   *
   * @param {string} type
   * @param {object} payload
   * @param {RequestOptions} [options]
   * @returns {Promise<Message>}
   */
  request(type, payload, options = {}) {
    if (!this.#usable) return Promise.reject(new CasideError('closed', 'not connected'));
    const answer = this.#requests.ask(type, payload, options);
    this.#flush();
    return answer;
  }

  /**
   * Sends a message that has no answer. Kept (bounded) while there is no socket.
   *
   * @param {string} type
   * @param {object} payload
   * @returns {boolean} false if it was dropped: closed, too large, or too many wait already
   */
  notify(type, payload) {
    const kept = this.#usable && this.#requests.tell(type, payload);
    this.#flush();
    return kept;
  }

  /** Ends the session for good; the server tells the others at once. */
  close() {
    this.#finish(new CasideError('closed', 'closed by this side'), 1000);
  }

  get #usable() {
    return this.#state !== 'idle' && this.#state !== 'closed';
  }

  #flush() {
    if (this.#socket && this.#state === 'open') this.#requests.flush(this.#socket);
  }

  #dial() {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    const WebSocketImpl = this.#options.WebSocket ?? globalThis.WebSocket;
    /** @type {WebSocket} */
    let socket;
    try {
      const { url } = this.#options;
      socket = new WebSocketImpl(typeof url === 'function' ? url() : url, [SUBPROTOCOL]);
    } catch (thrown) {
      this.#finish(asCasideError(thrown, 'connection_failed'));
      return;
    }
    this.#socket = socket;
    this.#awaitHandshake(socket);
    socket.onopen = () => this.#hello(socket);
    socket.onmessage = (event) => {
      if (socket === this.#socket) this.#receive(event.data);
    };
    socket.onclose = (event) => this.#dropped(socket, event.code, event.reason);
  }

  /** @param {WebSocket} socket */
  #awaitHandshake(socket) {
    clearTimeout(this.#handshakeTimer);
    this.#handshakeTimer = setTimeout(() => this.#drop(socket, 4000, 'handshake timeout'), HANDSHAKE_MS);
  }

  /** @param {WebSocket} socket */
  async #hello(socket) {
    this.#handshakeId = this.#requests.id();
    const id = this.#handshakeId;
    if (this.#resumeToken !== null) {
      const payload = { resume_token: this.#resumeToken, last_seq: this.#lastSeq };
      socket.send(JSON.stringify({ type: 'resume', id, payload }));
      return;
    }
    try {
      const token = await this.#options.token(this.#refreshToken);
      if (socket === this.#socket) socket.send(JSON.stringify({ type: 'auth', id, payload: { token } }));
    } catch (thrown) {
      const error = asCasideError(thrown, 'unauthorized');
      if (error.retryable) this.#drop(socket, 4000, error.code);
      else if (socket === this.#socket) this.#finish(error, 1000);
    }
  }

  /** @param {unknown} data */
  #receive(data) {
    this.#lastHeard = Date.now();
    const message = parse(data);
    if (!message) return;
    if (message.id !== undefined && message.id === this.#handshakeId) this.#shaken(message);
    else if (message.id !== undefined) this.#answered(message);
    else if (typeof message.seq === 'number') this.#sequenced(message, message.seq);
    else this.#deliver(message);
  }

  /** @param {Message} message the answer to `auth` or `resume` */
  #shaken(message) {
    const { type, payload } = message;
    this.#handshakeId = '';
    if (type === 'welcome') {
      const renewed = this.#opening === null;
      this.#lastSeq = 0;
      this.#resync = false;
      if (renewed) this.#requests.lost();
      this.#opened(payload);
      this.emit('welcome', { welcome: payload, renewed });
      this.#opening?.resolve(payload);
      this.#opening = null;
    } else if (type === 'resumed') {
      this.#resync = payload.reset === true;
      this.#opened(payload);
      this.emit('resumed', payload);
    } else {
      this.#refused(errorFromWire(payload));
      return;
    }
    this.#flush();
  }

  /** @param {any} payload */
  #opened(payload) {
    clearTimeout(this.#handshakeTimer);
    this.#state = 'open';
    this.#attempt = 0;
    this.#retryAfterMs = null;
    this.#pendingSince = null;
    this.#refreshToken = false;
    if (typeof payload.resume_token === 'string') this.#resumeToken = payload.resume_token;
    if (payload.heartbeat_ms > 0) this.#heartbeatMs = payload.heartbeat_ms;
    clearInterval(this.#heartbeatTimer);
    this.#heartbeatTimer = setInterval(() => this.#heartbeat(), this.#heartbeatMs);
  }

  /** @param {CasideError} error why `auth` or `resume` failed */
  #refused(error) {
    const socket = this.#socket;
    if (!socket) return;
    if (this.#opening) {
      this.#finish(error, 1000);
    } else if (error.code === 'moving' && this.#resumeToken !== null) {
      this.#pending(socket, error.retryAfterMs);
    } else if (error.retryable) {
      this.#retryAfterMs = error.retryAfterMs ?? null;
      this.#drop(socket, 4000, error.code);
    } else if (this.#resumeToken !== null) {
      // The session is gone: the same socket can open a new one. If the server closes it instead, the next does.
      this.#expired(socket);
    } else if (!this.#refreshToken && (error.code === 'token_expired' || error.code === 'unauthorized')) {
      this.#refreshToken = true;
      this.#drop(socket, 4000, error.code);
    } else {
      this.#finish(error, 1000);
    }
  }

  /** @param {WebSocket} socket */
  #expired(socket) {
    this.#resumeToken = null;
    this.#pendingSince = null;
    if (socket.readyState === 1) this.#hello(socket);
  }

  /**
   * The session's node died and its rooms are being taken over: asks for it again on the same socket, for a while.
   *
   * @param {WebSocket} socket
   * @param {number} [retryAfterMs]
   */
  #pending(socket, retryAfterMs = PENDING_AGAIN_MS) {
    this.#pendingSince ??= Date.now();
    const leftMs = this.#pendingSince + PENDING_MS - Date.now();
    clearTimeout(this.#handshakeTimer);
    const ask = () => {
      this.#awaitHandshake(socket);
      if (leftMs <= 0) this.#expired(socket);
      else this.#hello(socket);
    };
    if (leftMs <= 0) ask();
    else this.#handshakeTimer = setTimeout(ask, Math.min(leftMs, aboutMs(retryAfterMs, this.#options.random)));
  }

  /** @param {Message} message */
  #answered(message) {
    const { type, payload } = message;
    if (type === 'welcome' && typeof payload.resume_token === 'string') this.#resumeToken = payload.resume_token;
    this.#requests.answered(message);
  }

  /**
   * @param {Message} message
   * @param {number} seq
   */
  #sequenced(message, seq) {
    // A room that another node took over without all that was told brings its state along, as a reset does.
    const anew = message.type === 'room-moved' && message.payload.reset === true && seq > this.#lastSeq;
    if (this.#resync || anew) {
      this.#resync = false;
    } else if (seq <= this.#lastSeq) {
      return;
    } else if (seq > this.#lastSeq + 1 && this.#gapAt !== this.#lastSeq && this.#socket) {
      // Something between was lost; the server still has it.
      this.#gapAt = this.#lastSeq;
      this.#drop(this.#socket, 4000, 'gap');
      return;
    }
    this.#lastSeq = seq;
    this.#deliver(message);
  }

  /** @param {Message} message */
  #deliver(message) {
    if (message.type === 'goodbye') this.#retryAfterMs = message.payload.retry_after_ms ?? null;
    this.emit('message', message);
  }

  /** Asks whether the socket still carries anything; timers of a hidden page come late, so silence alone says nothing. */
  #heartbeat() {
    const socket = this.#socket;
    const asked = Date.now();
    if (!socket || asked - this.#lastHeard < this.#heartbeatMs * 0.9) return;
    this.request('ping', {}, { timeoutMs: this.#heartbeatMs / 2 }).catch(() => {
      if (this.#lastHeard < asked) this.#drop(socket, 4000, 'silent');
    });
  }

  /**
   * Gives a socket up without waiting for its close handshake, which a dead network never finishes.
   *
   * @param {WebSocket} socket
   * @param {number} code
   * @param {string} reason
   */
  #drop(socket, code, reason) {
    if (socket !== this.#socket) return;
    detach(socket);
    socket.close(code, reason);
    this.#dropped(socket, code, reason);
  }

  /**
   * @param {WebSocket} socket
   * @param {number} code
   * @param {string} reason
   */
  #dropped(socket, code, reason) {
    if (socket !== this.#socket) return;
    this.#socket = null;
    clearTimeout(this.#handshakeTimer);
    clearInterval(this.#heartbeatTimer);
    const final = FINAL_CLOSES.get(code);
    if (final) return this.#finish(new CasideError(final, reason || final));
    if (this.#opening) return this.#finish(new CasideError('connection_failed', reason || 'the server could not be reached'));
    if (code === 4401) {
      if (this.#refreshToken) return this.#finish(new CasideError('unauthorized', reason || 'the token was refused'));
      this.#refreshToken = true;
    }
    this.#state = 'reconnecting';
    this.#requests.dropped();
    const attempt = this.#attempt++;
    const { random } = this.#options;
    const asked = this.#retryAfterMs;
    this.#retryAfterMs = null;
    // Told to wait, the first attempt needs no spreading of its own.
    const delayMs = asked ? Math.max(aboutMs(asked, random), attempt && backoffMs(attempt, random)) : backoffMs(attempt, random);
    this.#retryTimer = setTimeout(() => this.#dial(), delayMs);
    this.emit('reconnecting', { attempt, delayMs });
  }

  /**
   * @param {CasideError} error
   * @param {number} [code]
   */
  #finish(error, code) {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    clearTimeout(this.#handshakeTimer);
    clearTimeout(this.#retryTimer);
    clearInterval(this.#heartbeatTimer);
    globalThis.removeEventListener?.('online', this.#wake);
    const socket = this.#socket;
    this.#socket = null;
    if (socket) {
      detach(socket);
      socket.close(code ?? 1000);
    }
    this.#requests.close(error);
    this.#opening?.reject(error);
    this.#opening = null;
    this.emit('closed', error);
  }
}

/** @param {WebSocket} socket */
function detach(socket) {
  socket.onopen = socket.onmessage = socket.onclose = null;
}

/**
 * @param {unknown} data
 * @returns {Message | null} null for what is not an envelope
 */
function parse(data) {
  if (typeof data !== 'string') return null;
  try {
    const message = JSON.parse(data);
    if (typeof message?.type !== 'string') return null;
    return { ...message, payload: message.payload ?? {} };
  } catch {
    return null;
  }
}

// @ts-check
import { Emitter } from './emitter.js';
import { CasideError, asCasideError, errorFromWire } from './errors.js';
import { Room } from './room.js';
import { Session } from './session.js';
import { Signaling } from './signaling.js';

/** How long the server has to say why it took no socket. */
const REASON_MS = 2_000;

/**
 * @import { JoinOptions } from './types.js'
 * @import { TokenStore } from './session.js'
 * @import { Message } from './signaling.js'
 *
 * @typedef {object} Invitation
 * @property {string} inviteId
 * @property {'call' | 'invite'} kind a ringing call, or an invitation that waits
 * @property {string} room
 * @property {{id: string, name: string}} from
 *
 * @typedef {{
 *   'invite': Invitation,
 *   'invite-answered': {inviteId: string, answer: 'accepted' | 'declined' | 'expired' | 'cancelled'},
 *   'reconnecting': {attempt: number},
 *   'reconnected': {reset: boolean},
 *   'goodbye': {reason: string, retryAfterMs?: number},
 *   'closed': CasideError,
 *   'error': CasideError,
 * }} CasideEvents
 *   - `invite`: somebody calls or invites this user
 *   - `goodbye`: the server goes away; another takes over
 *   - `closed`: the session is over; no further attempt is made
 */

/**
 * A client of one Caside server: signs in, keeps one session, joins one room at a time.
 *
 * ```js
 * const client = new Caside();
 * await client.login('ada', 'secret');
 * await client.connect();
 * const room = await client.join('standup', { displayName: 'Ada', publish: { camera: true, microphone: true } });
 * room.on('track', ({ track, participant, source }) => show(track, participant, source));
 * ```
 *
 * @extends {Emitter<CasideEvents>}
 */
export class Caside extends Emitter {
  /** @readonly @type {URL} */ url;
  /** @type {Session} */ session;
  /** @type {Room | null} */ room = null;
  /** @type {{id: string, name: string} | null} */ user = null;
  /** @type {Signaling | null} */ #signaling = null;
  /** @type {Promise<{id: string, name: string}> | null} */ #connecting = null;
  /** @type {RTCIceServer[]} */ #iceServers = [];
  /** The room that will be joined. @type {string | null} */ #roomHint = null;

  /** @param {{url?: string | URL, store?: TokenStore}} [options] `url`: the server's HTTP address; the page's when left out */
  constructor(options = {}) {
    super();
    this.url = new URL(options.url ?? globalThis.location?.href);
    this.session = new Session(this.url.origin, { store: options.store });
    this.#follow(this.session);
  }

  /** Whether a session is open, if only waiting for its next socket. */
  get connected() {
    const state = this.#signaling?.state;
    return state === 'open' || state === 'reconnecting';
  }

  /**
   * Signs in; the token is renewed by itself from then on.
   *
   * @param {string} username
   * @param {string} password
   */
  async login(username, password) {
    await this.session.login(username, password);
  }

  /** Signs out: leaves, closes, and takes the refresh token back. */
  async logout() {
    await this.close();
    await this.session.logout();
  }

  /**
   * Opens the session.
   *
   * @param {{token?: string, room?: string}} [options] `token`: one from elsewhere, in place of `login`; `room`: which one will
   *   be joined, if that is known: a load balancer may then lead to the node that has it
   * @returns {Promise<{id: string, name: string}>} who this client is
   */
  connect({ token, room } = {}) {
    this.#roomHint = room ?? null;
    if (this.connected && this.user) return Promise.resolve(this.user);
    this.#connecting ??= this.#connect(token).finally(() => (this.#connecting = null));
    return this.#connecting;
  }

  /** @param {string | undefined} token */
  async #connect(token) {
    if (token !== undefined) {
      this.session = new Session(this.url.origin, { tokens: { token } });
      this.#follow(this.session);
    }
    const signaling = new Signaling({ url: () => this.#socketUrl(), token: (refresh) => this.session.token(refresh) });
    this.#signaling = signaling;
    signaling.on('message', (message) => this.#handle(message));
    signaling.on('welcome', ({ welcome, renewed }) => this.#welcome(welcome, renewed));
    signaling.on('resumed', (resumed) => {
      this.#useIceServers(resumed.ice_servers);
      this.room?.resumed(/** @type {any} */ (resumed));
      this.emit('reconnected', { reset: resumed.reset });
    });
    signaling.on('reconnecting', ({ attempt }) => {
      this.emit('reconnecting', { attempt });
      this.room?.emit('reconnecting', { attempt });
    });
    signaling.on('closed', (error) => {
      this.room?.over(error.code);
      this.emit('closed', error);
    });
    try {
      await signaling.open();
    } catch (thrown) {
      throw await reasonOf(asCasideError(thrown, 'connection_failed'), this.url);
    }
    return /** @type {{id: string, name: string}} */ (this.user);
  }

  #socketUrl() {
    const url = new URL('/ws', this.url);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    const room = this.room?.id ?? this.#roomHint;
    if (room !== null) url.searchParams.set('room', room);
    return url.href;
  }

  /**
   * Joins a room.
   *
   * @param {string} roomId 1–128 of `A-Z a-z 0-9 . _ : -`
   * @param {JoinOptions} [options]
   * @returns {Promise<Room>}
   */
  async join(roomId, options = {}) {
    const room = this.#newRoom(roomId, options);
    try {
      await room.enter();
    } catch (thrown) {
      room.over('refused');
      throw thrown;
    }
    return room;
  }

  /**
   * Rings a user and waits in the call's room.
   *
   * @param {string} user
   * @param {JoinOptions} [options]
   * @returns {Promise<{inviteId: string, room: Room}>}
   */
  async call(user, options = {}) {
    const { payload } = await this.#require().request('call', { to_user: user });
    return { inviteId: payload.invite_id, room: await this.join(payload.room, options) };
  }

  /**
   * Invites a user to the room one is in.
   *
   * @param {string} user
   * @param {{expiresS?: number}} [options] a day when left out
   */
  async invite(user, { expiresS } = {}) {
    const { payload } = await this.#require().request('invite', { user, expires_s: expiresS });
    return { inviteId: /** @type {string} */ (payload.invite_id) };
  }

  /**
   * Takes a call or an invitation.
   *
   * @param {Invitation} invitation
   * @param {JoinOptions} [options]
   * @returns {Promise<Room>}
   */
  async accept(invitation, options = {}) {
    const room = this.#newRoom(invitation.room, options);
    try {
      await this.#require().request('accept', { invite_id: invitation.inviteId }, { onAnswer: ({ payload }) => room.entered(payload) });
    } catch (thrown) {
      room.over('refused');
      throw thrown;
    }
    return room;
  }

  /** @param {Invitation} invitation */
  async decline(invitation) {
    await this.#require().request('decline', { invite_id: invitation.inviteId });
  }

  /** Ends a ringing or running call of one's own. */
  async hangup() {
    await this.#require().request('hangup', {});
    this.room?.over('left');
  }

  /** Leaves the room and closes the session. */
  async close() {
    await this.room?.leave();
    this.#signaling?.close();
    this.#signaling = null;
  }

  /**
   * @param {string} roomId
   * @param {JoinOptions} options
   */
  #newRoom(roomId, options) {
    const signaling = this.#require();
    if (this.room && !this.room.left) throw new CasideError('already_joined', 'leave the other room first');
    const room = new Room(roomId, signaling, this.#iceServers, options);
    this.room = room;
    room.on('left', () => {
      if (this.room === room) this.room = null;
    });
    return room;
  }

  #require() {
    if (!this.#signaling) throw new CasideError('closed', 'connect first');
    return this.#signaling;
  }

  /**
   * TURN credentials run out: connections that are made from now on use the new ones.
   *
   * @param {RTCIceServer[] | undefined} iceServers
   */
  #useIceServers(iceServers) {
    this.#iceServers = iceServers ?? [];
    this.room?.media.useIceServers(this.#iceServers);
  }

  /**
   * @param {any} welcome
   * @param {boolean} renewed
   */
  #welcome(welcome, renewed) {
    this.user = welcome.user;
    this.#useIceServers(welcome.ice_servers);
    const room = this.room;
    if (!renewed) return;
    if (!room) {
      this.emit('reconnected', { reset: true });
      return;
    }
    // The session before this one is gone for good: come back as a new participant, media after it.
    room.enter().then(
      () => {
        room.emit('reconnected', { reset: true });
        this.emit('reconnected', { reset: true });
      },
      (thrown) => {
        const error = asCasideError(thrown, 'internal');
        room.emit('error', error);
        if (!error.retryable || error.code === 'room_locked' || error.code === 'room_full') room.over(error.code);
      },
    );
  }

  /** @param {Message} message */
  #handle(message) {
    const { type, payload } = message;
    if (type === 'invite') {
      this.emit('invite', { inviteId: payload.invite_id, kind: payload.kind, room: payload.room, from: payload.from });
    } else if (type === 'invite-answered') {
      this.emit('invite-answered', { inviteId: payload.invite_id, answer: payload.answer });
    } else if (type === 'goodbye') {
      this.emit('goodbye', { reason: payload.reason, retryAfterMs: payload.retry_after_ms });
    } else if (this.room) {
      this.room.handle(message);
    } else if (type === 'error') {
      this.emit('error', new CasideError(payload.code, payload.message, { retryable: payload.retryable }));
    }
  }

  /** @param {Session} session whose renewed tokens renew the socket's too */
  #follow(session) {
    session.onRenewed = (token) => {
      if (session !== this.session || this.#signaling?.state !== 'open') return;
      this.#signaling.request('auth', { token }).catch((thrown) => this.emit('error', asCasideError(thrown, 'unauthorized')));
    };
  }
}

/**
 * Why a first socket was refused: a browser tells a page only that it was, but a plain request to the same path is answered.
 *
 * @param {CasideError} error
 * @param {URL | string} base
 */
async function reasonOf(error, base) {
  if (error.code !== 'connection_failed') return error;
  try {
    const answer = await fetch(new URL('/ws', base), { signal: AbortSignal.timeout(REASON_MS) });
    const body = answer.status === 426 ? null : await answer.json();
    return body?.error ? errorFromWire(body.error) : error;
  } catch {
    return error;
  }
}

// @ts-check
import { CasideError, asCasideError, errorFromWire } from './errors.js';

/**
 * @typedef {object} Tokens
 * @property {string} token
 * @property {string} [refreshToken]
 * @property {number} [expiresAt] ms since the epoch
 *
 * @typedef {object} TokenStore keeps tokens over a reload; the refresh token rotates, so tabs must share one store
 * @property {() => Tokens | null} load
 * @property {(tokens: Tokens | null) => void} save
 */

/** Refresh this long before the token runs out. */
const MARGIN_MS = 60_000;
const REQUEST_MS = 15_000;

/** A signed-in user: the access token, renewed before it runs out, and HTTP requests that bear it. */
export class Session {
  /** @type {string} */ #base;
  /** @type {Tokens | null} */ #tokens;
  /** @type {TokenStore | undefined} */ #store;
  /** @type {Promise<string> | null} */ #refreshing = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  /** @type {((token: string) => void) | undefined} called with each renewed token */ onRenewed;

  /**
   * @param {string} base the server's HTTP address, without a path
   * @param {{tokens?: Tokens | null, store?: TokenStore}} [options]
   */
  constructor(base, options = {}) {
    this.#base = base;
    this.#store = options.store;
    this.#tokens = options.tokens ?? options.store?.load() ?? null;
    this.#plan();
  }

  get signedIn() {
    return this.#tokens !== null;
  }

  /**
   * @param {string} username
   * @param {string} password
   */
  async login(username, password) {
    this.#keep(tokensFromWire(await this.#fetch('POST', '/login', { body: { username, password } })));
  }

  /** Takes the refresh token back on the server and forgets both. */
  async logout() {
    const tokens = this.#tokens;
    this.#keep(null);
    if (!tokens?.refreshToken) return;
    await this.#fetch('POST', '/auth/logout', { body: { refresh_token: tokens.refreshToken }, token: tokens.token });
  }

  /** Forgets the tokens of this session without telling the server. */
  forget() {
    this.#keep(null);
  }

  /**
   * The access token, renewed first if it is about to run out.
   *
   * @param {boolean} [refresh] renew it in any case
   */
  async token(refresh = false) {
    const tokens = this.#tokens;
    if (!tokens) throw new CasideError('unauthorized', 'sign in first');
    const stale = tokens.expiresAt !== undefined && Date.now() > tokens.expiresAt - MARGIN_MS;
    if (!refresh && !stale) return tokens.token;
    if (tokens.refreshToken === undefined) {
      if (refresh) throw new CasideError('token_expired', 'this token cannot be renewed');
      return tokens.token;
    }
    this.#refreshing ??= this.#refresh(tokens).finally(() => (this.#refreshing = null));
    return this.#refreshing;
  }

  /**
   * A request of the REST interface; answers its JSON.
   *
   * @param {string} method
   * @param {string} path
   * @param {object} [body]
   * @returns {Promise<any>}
   */
  async request(method, path, body) {
    try {
      return await this.#fetch(method, path, { body, token: await this.token() });
    } catch (thrown) {
      const renewable = thrown instanceof CasideError && (thrown.code === 'token_expired' || thrown.code === 'unauthorized');
      if (!renewable || this.#tokens?.refreshToken === undefined) throw thrown;
      return this.#fetch(method, path, { body, token: await this.token(true) });
    }
  }

  /** @param {Tokens} seen */
  async #refresh(seen) {
    const work = async () => {
      // Another tab may have renewed meanwhile; using its predecessor again would revoke the whole family.
      const stored = this.#store?.load();
      if (stored && stored.token !== seen.token && (stored.expiresAt ?? Infinity) > Date.now() + MARGIN_MS) {
        this.#tokens = stored;
        this.#plan();
      } else {
        const refresh_token = stored?.refreshToken ?? seen.refreshToken;
        try {
          this.#keep(tokensFromWire(await this.#fetch('POST', '/auth/token', { body: { refresh_token } })));
        } catch (thrown) {
          if (thrown instanceof CasideError && !thrown.retryable) this.#keep(null);
          throw thrown;
        }
      }
      const token = /** @type {Tokens} */ (this.#tokens).token;
      this.onRenewed?.(token);
      return token;
    };
    const locks = globalThis.navigator?.locks;
    return locks && this.#store ? locks.request('caside.refresh', work) : work();
  }

  /** @param {Tokens | null} tokens */
  #keep(tokens) {
    this.#tokens = tokens;
    this.#store?.save(tokens);
    this.#plan();
  }

  #plan() {
    clearTimeout(this.#timer);
    const { refreshToken, expiresAt } = this.#tokens ?? {};
    if (refreshToken === undefined || expiresAt === undefined) return;
    const delayMs = Math.min(Math.max(expiresAt - MARGIN_MS - Date.now(), 1_000), 2 ** 31 - 1);
    // A failure here surfaces with the next request, which tries again.
    this.#timer = setTimeout(() => this.token().catch(() => {}), delayMs);
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {{body?: object, token?: string}} options
   */
  async #fetch(method, path, { body, token }) {
    /** @type {Record<string, string>} */
    const headers = { accept: 'application/json' };
    if (body) headers['content-type'] = 'application/json';
    if (token) headers.authorization = `Bearer ${token}`;
    /** @type {Response} */
    let response;
    /** @type {any} */
    let answer;
    try {
      const signal = AbortSignal.timeout(REQUEST_MS);
      response = await fetch(this.#base + path, { method, headers, body: body && JSON.stringify(body), signal, cache: 'no-store' });
      const text = await response.text();
      answer = text === '' ? null : JSON.parse(text);
    } catch (thrown) {
      throw asCasideError(thrown, 'connection_failed');
    }
    if (!response.ok) throw errorFromWire(answer?.error, response.status >= 500 ? 'dependency_unavailable' : 'invalid_payload');
    return answer;
  }
}

/**
 * @param {any} wire
 * @returns {Tokens}
 */
function tokensFromWire(wire) {
  return {
    token: wire.token,
    refreshToken: wire.refresh_token,
    expiresAt: typeof wire.expires_in === 'number' ? Date.now() + wire.expires_in * 1000 : undefined,
  };
}

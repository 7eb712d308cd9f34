// @ts-check
import { byId } from '../app/dom.js';
import { explain } from '../app/messages.js';
import { tokenStore } from '../app/store.js';
import { CasideError } from '../sdk/errors.js';
import { Session } from '../sdk/session.js';
import { act } from './acts.js';
import { Actors } from './actors.js';
import { Overview } from './overview.js';
import { Poll } from './poll.js';
import { Recordings } from './recordings.js';
import { Room } from './room.js';

/**
 * @typedef {object} View one page: asks for what it shows, and draws it
 * @property {string} title
 * @property {number} every how often it asks, in ms
 * @property {(api: Api) => Promise<void>} ask
 * @property {(at: Element) => void} draw
 */

const PASTED = 'caside.dashboard-token';

/** Requests with the admin's token. */
export class Api {
  /** @type {Session} */ session;

  constructor() {
    const token = sessionStorage.getItem(PASTED);
    // Who is signed in to the app is so here; a token that was pasted is for this tab.
    this.session = token ? new Session('', { tokens: { token } }) : new Session('', { store: tokenStore });
  }

  get signedIn() {
    return this.session.signedIn;
  }

  /** @param {string} path */
  get(path) {
    return this.session.request('GET', path);
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {object} [body]
   */
  send(method, path, body) {
    return this.session.request(method, path, body);
  }

  /**
   * @param {string} username
   * @param {string} password
   */
  async login(username, password) {
    sessionStorage.removeItem(PASTED);
    this.session = new Session('', { store: tokenStore });
    await this.session.login(username, password);
  }

  /** @param {string} token */
  use(token) {
    sessionStorage.setItem(PASTED, token);
    this.session = new Session('', { tokens: { token } });
  }

  async logout() {
    sessionStorage.removeItem(PASTED);
    await this.session.logout().catch(() => {});
    this.session.forget();
  }

  /** Forgets a credential that does not hold. */
  forget() {
    sessionStorage.removeItem(PASTED);
    this.session.forget();
  }
}

const api = new Api();
const content = byId('content');
/** @type {View | null} */
let view = null;
/** @type {Poll | null} */
let poll = null;

byId('login-form').onsubmit = signIn;
byId('sign-out').onclick = async () => {
  await api.logout();
  route();
};
window.addEventListener('hashchange', () => {
  route();
  content.focus({ preventScroll: true });
});
content.addEventListener('click', async (event) => {
  const button = event.target instanceof Element ? event.target.closest('button[data-act]') : null;
  if (button instanceof HTMLButtonElement && (await act(button, api))) poll?.now();
});
content.addEventListener('change', filter);
content.addEventListener('submit', filter);
route();

/** Shows what the address asks for. */
function route() {
  poll?.stop();
  poll = view = null;
  const signedIn = api.signedIn;
  byId('sign-in').hidden = signedIn;
  content.hidden = byId('tabs').hidden = byId('sign-out').hidden = !signedIn;
  byId('live').hidden = true;
  if (!signedIn) {
    document.title = 'Dashboard – Caside';
    byId('login-user').focus();
    return;
  }
  const [path = '', query] = location.hash.replace(/^#\/?/, '').split('?');
  const [first, second] = path.split('/').map(decode);
  const [tab, next] = pick(first ?? '', second ?? '', new URLSearchParams(query));
  for (const link of byId('tabs').querySelectorAll('a')) {
    if (link.dataset.tab === tab) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  view = next;
  document.title = `${next.title} – Caside`;
  content.replaceChildren();
  content.classList.remove('stale');
  content.setAttribute('aria-busy', 'true');
  poll = new Poll(() => show(next), { every: next.every, failed });
  poll.start();
}

/** @param {string} part */
function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/**
 * @param {string} first
 * @param {string} second
 * @param {URLSearchParams} query
 * @returns {[string, View]}
 */
function pick(first, second, query) {
  if (first === 'rooms' && second) return ['overview', new Room(second)];
  if (first === 'recordings') return ['recordings', new Recordings()];
  if (first !== 'actors') return ['overview', new Overview()];
  const known = ['kind', 'room', 'node'].filter((name) => query.get(name));
  return ['actors', new Actors(new URLSearchParams(known.map((name) => [name, query.get(name) ?? ''])))];
}

/** @param {View} shown */
async function show(shown) {
  await shown.ask(api);
  if (view !== shown) return;
  shown.draw(content);
  content.classList.remove('stale');
  content.removeAttribute('aria-busy');
  live('live', 'good');
}

/**
 * What is shown stays, marked as old, until a node answers again.
 *
 * @param {CasideError} error
 * @param {number} pauseMs
 */
function failed(error, pauseMs) {
  if (['unauthorized', 'token_expired', 'invalid_credentials', 'forbidden'].includes(error.code)) {
    api.forget();
    route();
    complain(error.code === 'forbidden' ? 'This account is no admin.' : explain(error));
    return false;
  }
  content.classList.add('stale');
  live(error.retryable ? `no answer; again in ${Math.max(1, Math.round(pauseMs / 1000))} s` : explain(error), 'bad');
  return true;
}

/**
 * @param {string} text
 * @param {string} kind
 */
function live(text, kind) {
  const at = byId('live');
  at.hidden = false;
  at.className = `pill ${kind}`;
  // A status that says the same again is not to be read out again.
  if (at.textContent !== text) at.textContent = text;
}

/** @param {Event} event */
function filter(event) {
  const form = event.target instanceof Element ? event.target.closest('form[data-act-form]') : null;
  if (!(form instanceof HTMLFormElement)) return;
  event.preventDefault();
  const fields = [...new FormData(form)].map(([name, value]) => [name, String(value).trim()]).filter(([, value]) => value !== '');
  const query = new URLSearchParams(fields);
  location.hash = `/actors${query.size > 0 ? `?${query}` : ''}`;
}

/** @param {SubmitEvent} event */
async function signIn(event) {
  event.preventDefault();
  complain('');
  const value = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ (byId(id)).value.trim();
  const token = value('login-token');
  try {
    if (token) api.use(token);
    else await api.login(value('login-user'), /** @type {HTMLInputElement} */ (byId('login-password')).value);
  } catch (thrown) {
    return complain(explain(thrown));
  }
  for (const id of ['login-password', 'login-token']) /** @type {HTMLInputElement} */ (byId(id)).value = '';
  route();
}

/** @param {string} text */
function complain(text) {
  const at = byId('login-error');
  at.textContent = text;
  at.hidden = text === '';
}

// @ts-check
import { byId } from './dom.js';
import { explain } from './messages.js';
import { Preview } from './preview.js';
import { preference, setPreference } from './store.js';

const ADJECTIVES = ['calm', 'bright', 'quiet', 'brisk', 'clear', 'gentle', 'golden', 'early'];
const NOUNS = ['river', 'harbour', 'meadow', 'lantern', 'orchard', 'summit', 'pebble', 'breeze'];

/**
 * @typedef {object} LobbyActions
 * @property {(username: string, password: string) => Promise<void>} login
 * @property {(room: string, name: string) => Promise<void>} join
 */

/** Sign-in, the look at one's own devices, and the way into a room. */
export class Lobby {
  /** @readonly */ preview = new Preview();
  #loginForm = /** @type {HTMLFormElement} */ (byId('login-form'));
  #joinForm = /** @type {HTMLFormElement} */ (byId('join-form'));
  #name = /** @type {HTMLInputElement} */ (byId('name'));
  #room = /** @type {HTMLInputElement} */ (byId('room'));

  /** @param {LobbyActions} actions */
  constructor(actions) {
    submit(this.#loginForm, byId('login-error'), () => {
      const password = /** @type {HTMLInputElement} */ (byId('login-password'));
      const username = /** @type {HTMLInputElement} */ (byId('login-user')).value.trim();
      return actions.login(username, password.value).then(() => {
        password.value = '';
      });
    });
    submit(this.#joinForm, byId('room-error'), () => {
      const room = roomId(this.#room.value);
      const name = this.#name.value.trim();
      this.#room.value = room;
      setPreference('name', name);
      return actions.join(room, name);
    });
    this.#name.addEventListener('input', () => (this.preview.name = this.#name.value));
    this.#room.addEventListener('focus', () => this.#room.select());
    this.#room.value = suggestRoom();
    this.name = preference('name') ?? '';
  }

  /** @param {string} name */
  set name(name) {
    this.#name.value = name;
    this.preview.name = name;
  }

  get name() {
    return this.#name.value.trim();
  }

  /** What is typed as the room now. */
  get room() {
    return roomId(this.#room.value);
  }

  /** @param {string} room */
  set room(room) {
    this.#room.value = room;
  }

  /** @param {boolean} signedIn */
  show(signedIn) {
    this.#loginForm.hidden = signedIn;
    this.#joinForm.hidden = !signedIn;
    byId('lobby').classList.toggle('signed-out', !signedIn);
    byId('lobby-title').textContent = signedIn ? 'Ready when you are' : 'Welcome to Caside';
    byId('lobby-lead').textContent = signedIn
      ? 'Pick a room name and share it with whoever should be there.'
      : 'Calls in the browser, through your own server.';
    if (signedIn) this.preview.start();
    const first = signedIn ? (this.name === '' ? this.#name : byId('join-button')) : byId('login-user');
    first.focus({ preventScroll: true });
  }
}

/**
 * Runs an action on submit, once at a time, and says underneath what went wrong.
 *
 * @param {HTMLFormElement} form
 * @param {HTMLElement} errorLine
 * @param {() => Promise<void>} action
 */
function submit(form, errorLine, action) {
  const button = /** @type {HTMLButtonElement} */ (form.querySelector('[type=submit]'));
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (button.disabled) return;
    button.disabled = true;
    errorLine.hidden = true;
    try {
      await action();
    } catch (thrown) {
      errorLine.textContent = explain(thrown);
      errorLine.hidden = false;
    } finally {
      button.disabled = false;
    }
  });
}

/**
 * What was typed as a room id: spaces become dashes, what is not allowed goes.
 *
 * @param {string} typed
 */
export function roomId(typed) {
  const id = typed.trim().replace(/\s+/g, '-').replace(/[^A-Za-z0-9._:-]/g, '').slice(0, 128);
  return id === '' ? suggestRoom() : id;
}

function suggestRoom() {
  const pick = (/** @type {string[]} */ words) => words[Math.floor(Math.random() * words.length)];
  return `${pick(ADJECTIVES)}-${pick(NOUNS)}-${Math.floor(10 + Math.random() * 90)}`;
}

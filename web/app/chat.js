// @ts-check
import { byId, el, toast } from './dom.js';
import { explain } from './messages.js';
import { preference, setPreference } from './store.js';

/** @import { Room } from '../sdk/caside.js' */

const MAX_LINES = 500;
const GROUP_MS = 120_000;
const WIDE_PX = 1024;

/** The chat panel of one call. */
export class Chat {
  /** @type {Room} */ #room;
  #panel = byId('chat');
  #log = byId('chat-log');
  #toggle = byId('chat-toggle');
  #badge = byId('chat-badge');
  #input = /** @type {HTMLTextAreaElement} */ (byId('chat-input'));
  #narrow = matchMedia(`(width < ${WIDE_PX}px)`);
  #unread = 0;
  #last = { from: '', at: 0 };

  /** @param {Room} room */
  constructor(room) {
    this.#room = room;
    this.#log.replaceChildren();
    this.#input.value = '';
    room.on('chat', ({ from, text, sentAt, private: whisper }) => this.#received(from?.id ?? '', from?.displayName ?? 'Someone', text, sentAt, whisper));
    room.on('participant-joined', (participant) => this.#event(`${participant.displayName} joined`));
    room.on('participant-left', ({ participant, reason }) =>
      this.#event(reason === 'kicked' ? `${participant.displayName} was removed` : `${participant.displayName} left`));
    byId('chat-form').onsubmit = (event) => {
      event.preventDefault();
      this.#send();
    };
    this.#input.onkeydown = (event) => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#send();
    };
    this.#toggle.onclick = () => this.toggle();
    byId('chat-close').onclick = () => this.toggle(false);
    this.#show(innerWidth >= WIDE_PX && (preference('chat') ?? true));
    // On a narrow screen the panel covers the call: it opens when asked for only.
    this.#narrow.onchange = ({ matches }) => this.#show(!matches && (preference('chat') ?? true));
  }

  get open() {
    return !this.#panel.hidden;
  }

  /** @param {boolean} [open] */
  toggle(open = !this.open) {
    if (innerWidth >= WIDE_PX) setPreference('chat', open);
    this.#show(open);
    if (open) this.#input.focus();
    else this.#toggle.focus();
  }

  /** @param {boolean} open */
  #show(open) {
    this.#panel.hidden = !open;
    this.#toggle.setAttribute('aria-expanded', String(open));
    this.#toggle.classList.toggle('is-active', open);
    if (open) {
      this.#unread = 0;
      this.#log.scrollTop = this.#log.scrollHeight;
    }
    this.#count();
  }

  #count() {
    this.#badge.hidden = this.#unread === 0;
    this.#badge.textContent = this.#unread > 99 ? '99+' : String(this.#unread);
    this.#toggle.setAttribute('aria-label', this.#unread > 0 ? `Chat, ${this.#unread} unread` : 'Chat');
  }

  async #send() {
    const text = this.#input.value.trim();
    if (text === '') return;
    this.#input.value = '';
    const line = this.#message(this.#room.localParticipant.id, 'You', text, new Date());
    line.classList.add('pending');
    try {
      await this.#room.chat(text);
      line.classList.remove('pending');
    } catch (thrown) {
      line.remove();
      this.#last = { from: '', at: 0 };
      if (this.#input.value === '') this.#input.value = text;
      toast(explain(thrown), { error: true });
    }
  }

  /**
   * @param {string} from
   * @param {string} name
   * @param {string} text
   * @param {Date} at
   * @param {boolean} whisper
   */
  #received(from, name, text, at, whisper) {
    if (from === this.#room.localParticipant.id) return;
    this.#message(from, whisper ? `${name} (only to you)` : name, text, at);
    if (this.open && !document.hidden) return;
    this.#unread++;
    this.#count();
  }

  /**
   * @param {string} from
   * @param {string} name
   * @param {string} text
   * @param {Date} at
   */
  #message(from, name, text, at) {
    const follows = from === this.#last.from && at.getTime() - this.#last.at < GROUP_MS;
    this.#last = { from, at: at.getTime() };
    const time = at.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
    const byline = el('div', { class: 'byline' }, el('b', {}, name), el('time', { datetime: at.toISOString() }, time));
    return this.#append(el('li', { class: follows ? 'message follows' : 'message' }, byline, el('p', {}, ...linked(text))));
  }

  /** @param {string} text */
  #event(text) {
    this.#last = { from: '', at: 0 };
    this.#append(el('li', { class: 'message event' }, text));
  }

  /** @param {HTMLLIElement} line */
  #append(line) {
    const log = this.#log;
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
    log.append(line);
    while (log.childElementCount > MAX_LINES) log.firstElementChild?.remove();
    if (atEnd) log.scrollTop = log.scrollHeight;
    return line;
  }
}

/**
 * The text with its web addresses made links.
 *
 * @param {string} text
 */
function linked(text) {
  return text.split(/(https?:\/\/[^\s<>"]+[^\s<>".,;:!?)\]])/g).map((part, n) =>
    n % 2 === 0 ? part : el('a', { href: part, target: '_blank', rel: 'noopener noreferrer' }, part));
}

// @ts-check
import { byId, clock, el, icon, size, toast } from './dom.js';
import { explain } from './messages.js';

/** @import { Caside } from '../sdk/caside.js' */

const POLL_MS = 3_000;
const PAGE = 25;
/** @type {Record<string, [string, string]>} the word and the pill's colour for each state */
const STATES = {
  recording: ['Recording', 'bad'],
  finalizing: ['Being finished', 'warn'],
  ready: ['Ready', 'good'],
  failed: ['Failed', 'bad'],
};
/** @type {Record<string, string>} */
const SOURCES = { camera: 'Camera and microphone', screen: 'Screen', file: 'File' };

/** The list of recordings with their players. */
export class Library {
  /** @type {Caside} */ #client;
  #list = byId('library-list');
  #more = byId('library-more');
  /** @type {Map<string, {element: HTMLElement, seen: string}>} */ #shown = new Map();
  /** @type {string | null} */ #cursor = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #poll;
  /** @type {Map<string, Map<string, string>>} names of who was in a call, by call */ #names = new Map();

  /** @param {Caside} client */
  constructor(client) {
    this.#client = client;
    this.#more.onclick = () => this.#load(this.#cursor);
  }

  async show() {
    this.#list.replaceChildren(el('p', { class: 'empty' }, 'Loading…'));
    this.#shown.clear();
    await this.#load(null);
  }

  hide() {
    clearTimeout(this.#poll);
    this.#list.replaceChildren();
    this.#shown.clear();
  }

  /** @param {string | null} cursor */
  async #load(cursor) {
    clearTimeout(this.#poll);
    const query = new URLSearchParams({ limit: String(PAGE), ...(cursor ? { cursor } : {}) });
    try {
      const page = await this.#client.session.request('GET', `/recordings?${query}`);
      if (cursor !== null || this.#shown.size <= PAGE) this.#cursor = page.next_cursor;
      this.#more.hidden = this.#cursor === null;
      this.#render(page.items, cursor === null);
      const moving = page.items.some((/** @type {any} */ { state }) => state === 'recording' || state === 'finalizing');
      if (moving) this.#poll = setTimeout(() => this.#load(null), POLL_MS);
    } catch (thrown) {
      if (this.#shown.size === 0) this.#list.replaceChildren(el('p', { class: 'empty' }, explain(thrown)));
      else toast(explain(thrown), { error: true });
    }
  }

  /**
   * @param {any[]} items
   * @param {boolean} newest whether this is the first page
   */
  #render(items, newest) {
    if (newest && items.length === 0) {
      this.#list.replaceChildren(el('p', { class: 'empty' }, 'No recordings yet. Press Record in a call and find it here afterwards.'));
      return;
    }
    this.#list.querySelector('.empty')?.remove();
    for (const [n, item] of items.entries()) {
      const seen = JSON.stringify([item.state, item.error, item.size_bytes, item.files.length]);
      const known = this.#shown.get(item.id);
      if (known?.seen === seen) continue;
      const element = this.#item(item);
      if (known) {
        element.open = /** @type {HTMLDetailsElement} */ (known.element).open;
        known.element.replaceWith(element);
      } else if (newest) this.#list.insertBefore(element, this.#list.children[n] ?? null);
      else this.#list.append(element);
      this.#shown.set(item.id, { element, seen });
    }
  }

  /** @param {any} item a recording */
  #item(item) {
    const [word, colour] = STATES[item.state] ?? [item.state, ''];
    const started = new Date(item.started_at);
    const facts = [item.duration_ms ? clock(item.duration_ms) : null, item.size_bytes ? size(item.size_bytes) : null];
    const files = el('div', { class: 'files' });
    const details = el('details', { class: 'recording', 'data-recording': item.id, 'data-state': item.state },
      el('summary', {},
        el('span', {}, el('span', { class: 'when' }, started.toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' })), el('br'),
          el('span', { class: 'where' }, item.room_id)),
        el('span', { class: 'facts' }, facts.filter(Boolean).join(' · ')),
        el('span', { class: `pill ${colour}` }, word)),
      files);
    // Players are made when they are wanted: each one opens a connection for its first bytes.
    const fill = async () => {
      if (!details.open || files.childElementCount > 0) return;
      if (item.error) files.append(el('p', { class: 'form-error' }, item.error));
      const names = await this.#namesOf(item.call_id);
      files.append(...item.files.map((/** @type {any} */ file) => this.#file(file, names)));
      if (files.childElementCount === 0) {
        files.append(el('p', { class: 'hint' }, item.state === 'ready' ? 'Nothing was sent while this was recorded.' : 'Its files appear here when it is finished.'));
      }
    };
    details.addEventListener('toggle', fill);
    return details;
  }

  /**
   * @param {any} file
   * @param {Map<string, string>} names
   */
  #file(file, names) {
    const who = names.get(file.participant_id) ?? (file.kind === 'composite' ? 'Everyone' : 'Participant');
    const what = file.kind === 'composite' ? 'One video of all' : (SOURCES[file.source] ?? 'Recording');
    const facts = `${clock(file.duration_ms)} · ${size(file.size_bytes)}`;
    if (!file.url) return el('div', { class: 'file' }, el('p', { class: 'hint' }, `${who}: still being finished`));
    return el('div', { class: 'file' },
      el('video', { controls: true, preload: 'metadata', playsinline: true, src: file.url, 'aria-label': `${who}, ${what}` }),
      el('div', { class: 'file-line' },
        el('span', {}, el('b', {}, who), ` · ${what}`),
        el('a', { href: file.url, download: file.name }, icon('down'), facts)));
  }

  /**
   * @param {string | null} callId
   * @returns {Promise<Map<string, string>>}
   */
  async #namesOf(callId) {
    if (!callId) return new Map();
    const known = this.#names.get(callId);
    if (known) return known;
    try {
      const call = await this.#client.session.request('GET', `/calls/${encodeURIComponent(callId)}`);
      const names = new Map(call.participants.map((/** @type {any} */ one) => [one.participant_id, one.display_name]));
      this.#names.set(callId, names);
      return names;
    } catch {
      return new Map();
    }
  }
}

// @ts-check
import { size } from '../app/dom.js';
import { ago, draw, h, pill, short, span } from './draw.js';

/** @type {Record<string, string>} */
const STATES = { recording: 'bad', finalizing: 'warn', ready: 'good', failed: 'bad' };

/** The latest recordings of all rooms. */
export class Recordings {
  title = 'Recordings';
  every = 5_000;
  /** @type {any} */ seen;

  /** @param {import('./main.js').Api} api */
  async ask(api) {
    this.seen = await api.get('/recordings?limit=50');
  }

  /** @param {Element} at */
  draw(at) {
    const items = this.seen.items;
    draw(at, [
      h('h1', {}, 'Recordings'),
      items.length === 0 ? h('p', { class: 'empty' }, 'Nothing was recorded yet.') : h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Recordings' },
        h('table', { 'data-testid': 'recordings' },
          h('thead', {}, h('tr', {}, ['Room', 'State', 'Started', 'Length', 'Size', 'Files', 'Recording'].map((name) => h('th', { scope: 'col' }, name)))),
          h('tbody', {}, items.map((/** @type {any} */ it) =>
            h('tr', { 'data-key': it.id },
              h('td', {}, h('a', { class: 'link', href: `#/rooms/${encodeURIComponent(it.room_id)}` }, it.room_id)),
              h('td', {}, pill(it.state, STATES[it.state]), it.error ? h('p', { class: 'danger-text' }, it.error) : null),
              h('td', {}, `${ago(it.started_at)} ago`),
              h('td', { class: 'number' }, it.duration_ms === null ? '–' : span(it.duration_ms)),
              h('td', { class: 'number' }, it.size_bytes > 0 ? size(it.size_bytes) : '–'),
              h('td', { class: 'number' }, it.files.length),
              h('td', {}, short(it.id))))))),
      this.seen.next_cursor ? h('p', { class: 'quiet' }, 'The latest 50. Older ones are in the app under Recordings.') : h('p', { hidden: true }),
    ]);
  }
}

// @ts-check
import { ago, bar, draw, h, pill, short } from './draw.js';

/** The nodes, the rooms that run, and what failed lately. */
export class Overview {
  title = 'Overview';
  every = 2_000;

  /** @param {import('./main.js').Api} api */
  async ask(api) {
    const [nodes, rooms, actors] = await Promise.all([
      api.get('/admin/nodes'),
      api.get('/admin/rooms'),
      api.get('/admin/actors?limit=1&kind=node'),
    ]);
    Object.assign(this, { nodes, rooms, actors });
  }

  /** @param {Element} at */
  draw(at) {
    const { nodes, rooms, actors } = /** @type {any} */ (this);
    const people = rooms.items.reduce((/** @type {number} */ sum, /** @type {any} */ room) => sum + room.participants, 0);
    const away = nodes.items.filter((/** @type {any} */ node) => !node.this && !node.linked).length;
    draw(at, [
      h('section', { class: 'figures', 'aria-label': 'In short' },
        figure('Nodes', nodes.items.length - away, away > 0 ? `${away} not linked` : `directory: ${nodes.directory}`, away > 0 || nodes.directory === 'away'),
        figure('Rooms', rooms.items.length, 'that run'),
        figure('Participants', people, 'in them'),
        figure('Failures', actors.failures.length, 'of actors, lately', actors.failures.length > 0)),
      h('section', { 'aria-labelledby': 'nodes-title' },
        h('h2', { id: 'nodes-title' }, 'Nodes'),
        h('div', { class: 'nodes', 'data-testid': 'nodes' }, nodes.items.map(card))),
      h('section', { 'aria-labelledby': 'rooms-title' },
        h('h2', { id: 'rooms-title' }, 'Rooms'),
        rooms.items.length === 0 ? h('p', { class: 'empty' }, 'Nobody is in a room now.') : table(rooms.items)),
      failures(actors.failures),
    ]);
  }
}

/**
 * @param {string} name
 * @param {number} value
 * @param {string} note
 * @param {boolean} [bad]
 */
function figure(name, value, note, bad = false) {
  return h('div', { class: bad ? 'figure bad' : 'figure' },
    h('span', { class: 'name' }, name), h('strong', {}, value), h('span', { class: 'note' }, note));
}

/** @param {any} node */
function card(node) {
  const [state, kind] = node.draining ? ['draining', 'warn'] : node.this ? ['answers', 'good'] : node.linked ? ['linked', 'good'] : ['not linked', 'bad'];
  return h('article', { class: 'card node', 'data-key': node.node, 'data-testid': `node-${node.node}` },
    h('header', {}, h('h3', {}, node.node), pill(state, kind)),
    h('div', { class: 'load' }, h('span', {}, 'Load'), h('span', {}, `${(node.load / 10).toFixed(1)} %`), bar(node.load / 1000, `load ${node.load / 10} %`)),
    h('dl', { class: 'facts' },
      fact('Rooms', node.rooms),
      fact('Up', ago(new Date(node.incarnation).toISOString())),
      fact('Address', node.address ?? '–')),
    h('footer', {},
      h('a', { class: 'ghost', href: `#/actors?node=${encodeURIComponent(node.node)}` }, 'Actors'),
      h('button', { class: 'ghost danger-text', type: 'button', 'data-act': 'drain', 'data-node': node.node, disabled: node.draining }, 'Drain…')));
}

/**
 * @param {string} name
 * @param {unknown} value
 */
function fact(name, value) {
  return h('div', {}, h('dt', {}, name), h('dd', {}, String(value)));
}

/** @param {any[]} rooms */
function table(rooms) {
  return h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Rooms' },
    h('table', { 'data-testid': 'rooms' },
      h('thead', {}, h('tr', {}, ['Room', 'Node', 'Participants', 'Call', 'Epoch'].map((name) => h('th', { scope: 'col' }, name)))),
      h('tbody', {}, rooms.map((room) =>
        h('tr', { 'data-key': `${room.room}@${room.node}` },
          h('td', {}, h('a', { class: 'link', href: `#/rooms/${encodeURIComponent(room.room)}` }, room.room)),
          h('td', {}, room.node), h('td', { class: 'number' }, room.participants),
          h('td', {}, room.call ? short(room.call) : '–'), h('td', { class: 'number' }, room.epoch))))));
}

/** @param {any[]} failures */
export function failures(failures) {
  if (failures.length === 0) return h('section', { hidden: true });
  return h('section', { 'aria-labelledby': 'failures-title', 'data-testid': 'failures' },
    h('h2', { id: 'failures-title' }, 'Failed lately'),
    h('ul', { class: 'failures' }, failures.map((failure) =>
      h('li', { 'data-key': `${failure.node} ${failure.kind} ${failure.name}` },
        h('div', {}, pill(failure.kind, 'bad'), failure.name ? short(failure.name) : null, h('span', { class: 'quiet' }, `on ${failure.node}, ${ago(failure.error.at)} ago`),
          failure.failures > 1 ? h('span', { class: 'quiet' }, `${failure.failures} times`) : null),
        h('p', {}, failure.error.message)))));
}

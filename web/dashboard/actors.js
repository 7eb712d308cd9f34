// @ts-check
import { ago, bar, draw, h, pill, short, span } from './draw.js';
import { failures } from './overview.js';

const KINDS = ['node', 'rooms', 'room', 'sfu', 'peers', 'peer', 'invites', 'recordings', 'recorder'];

/** Every actor, below the one that supervises it. */
export class Actors {
  title = 'Actors';
  every = 3_000;
  /** @type {any} */ seen;

  /** @param {URLSearchParams} filter `kind`, `room`, `node` */
  constructor(filter) {
    this.filter = filter;
  }

  /** @param {import('./main.js').Api} api */
  async ask(api) {
    const query = new URLSearchParams(this.filter);
    query.set('limit', '500');
    const [seen, nodes] = await Promise.all([api.get(`/admin/actors?${query}`), api.get('/admin/nodes')]);
    this.seen = seen;
    this.nodes = nodes.items.map((/** @type {any} */ node) => node.node);
  }

  /** @param {Element} at */
  draw(at) {
    const { seen, filter } = this;
    const nodes = new Set([...(this.nodes ?? []), ...seen.silent]);
    const rows = this.#rows();
    draw(at, [
      h('h1', {}, 'Actors'),
      h('form', { class: 'filters', 'data-act-form': 'filter', 'data-key': filter.toString() },
        select('kind', 'Kind', KINDS, filter.get('kind')),
        select('node', 'Node', [...nodes], filter.get('node')),
        h('label', { class: 'field' }, h('span', {}, 'Room'), h('input', { name: 'room', value: filter.get('room') ?? '', autocomplete: 'off', spellcheck: 'false', maxlength: 128, placeholder: 'any' }))),
      seen.silent.length > 0 ? h('p', { class: 'notice bad' }, `No answer from ${seen.silent.join(', ')}.`) : h('p', { hidden: true }),
      h('p', { class: 'quiet', 'data-testid': 'actor-count' }, seen.truncated ? `${seen.items.length} of ${seen.total} actors: those with most waiting of each kind` : `${seen.total} actors`),
      h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Actors' },
        h('table', { class: 'actors', 'data-testid': 'actors' },
          h('thead', {}, h('tr', {}, ['Actor', 'Mailbox', 'Most', 'Handled', 'Refused', 'Last', 'Up', 'State'].map((name) => h('th', { scope: 'col' }, name)))),
          h('tbody', {}, rows))),
      failures(seen.failures),
    ]);
  }

  #rows() {
    /** @type {Map<string, any[]>} */
    const below = new Map();
    const known = new Set(this.seen.items.map((/** @type {any} */ actor) => actor.id));
    const roots = [];
    for (const actor of this.seen.items) {
      if (known.has(actor.parent)) below.set(actor.parent, [...(below.get(actor.parent) ?? []), actor]);
      else roots.push(actor);
    }
    roots.sort((a, b) => (a.node < b.node ? -1 : a.node > b.node ? 1 : 0));
    const rows = [];
    let node = null;
    for (const root of roots) {
      if (root.node !== node) rows.push(h('tr', { class: 'node-row', 'data-key': `node ${root.node}` }, h('th', { colspan: 8, scope: 'colgroup' }, root.node)));
      node = root.node;
      this.#branch(root, 0, below, rows);
    }
    return rows;
  }

  /**
   * @param {any} actor
   * @param {number} depth
   * @param {Map<string, any[]>} below
   * @param {Element[]} rows
   */
  #branch(actor, depth, below, rows) {
    rows.push(row(actor, depth));
    for (const child of below.get(actor.id) ?? []) this.#branch(child, depth + 1, below, rows);
  }
}

/**
 * @param {string} name
 * @param {string} label
 * @param {string[]} options
 * @param {string | null} chosen
 */
function select(name, label, options, chosen) {
  return h('label', { class: 'field' }, h('span', {}, label),
    h('select', { name }, h('option', { value: '', selected: !chosen }, 'any'), options.map((option) => h('option', { value: option, selected: option === chosen }, option))));
}

/**
 * @param {any} actor
 * @param {number} depth
 */
function row(actor, depth) {
  const mailbox = actor.mailbox;
  const name = actor.kind === 'room' ? h('a', { class: 'link', href: `#/rooms/${encodeURIComponent(actor.name)}` }, actor.name) : actor.name ? short(actor.name) : null;
  const numbers = mailbox ? [mailbox.high_water, mailbox.handled, mailbox.refused, ago(mailbox.last_message_at)] : ['', '', '', ''];
  return h('tr', { 'data-key': actor.id, 'data-testid': `actor-${actor.kind}`, class: actor.answers ? '' : 'stuck' },
    h('td', {}, h('span', { class: `depth d${Math.min(depth, 4)}` }, h('strong', {}, actor.kind), name, actor.restarts > 0 ? pill(`restarted ${actor.restarts}×`, 'warn') : null)),
    h('td', { class: 'mailbox' }, mailbox ? [h('span', {}, mailbox.bound ? `${mailbox.depth} / ${mailbox.bound}` : mailbox.depth), bar(mailbox.bound ? mailbox.depth / mailbox.bound : 0, `${mailbox.depth} messages wait`)] : ''),
    numbers.map((it) => h('td', { class: 'number' }, it)),
    h('td', { class: 'number' }, ago(actor.started_at)),
    h('td', { class: 'state' },
      actor.answers ? null : pill(mailbox?.busy_ms ? `stuck for ${span(mailbox.busy_ms)}` : 'does not answer', 'bad'),
      actor.last_error ? h('p', { class: 'danger-text' }, `${actor.last_error.message} (${ago(actor.last_error.at)} ago)`) : null,
      actor.state ? h('details', { 'data-key': 'state' }, h('summary', {}, summary(actor)), h('pre', {}, JSON.stringify(actor.state, null, 2))) : h('span', { class: 'quiet' }, actor.children > 0 ? `${actor.children} below it` : '')));
}

/** A user's id that was made up, shortened. @param {string} user */
function name(user) {
  return /^[0-9a-f-]{36}$/.test(user) ? `…${user.slice(-8)}` : user;
}

/** What matters of a state, by kind. @param {any} actor */
function summary(actor) {
  const state = actor.state;
  /** @param {number} count @param {string} one */
  const of = (count, one) => `${count} ${one}${count === 1 ? '' : 's'}`;
  switch (actor.kind) {
    case 'room':
      return [of(state.participants, 'participant'), of(state.tracks, 'track'), state.mode, state.recording ? 'recording' : null].filter(Boolean).join(', ');
    case 'peer':
      return [state.user ? name(state.user) : 'nobody yet', state.room ?? state.place, state.socket ? (state.socket.queued_messages > 0 ? `${state.socket.queued_messages} queued` : null) : 'no socket'].filter(Boolean).join(', ');
    case 'sfu':
      return [of(state.members, 'member'), of(state.tracks, 'track'), of(state.connections, 'connection')].join(', ');
    case 'rooms':
      return `${state.open} open, ${state.opening} opening`;
    case 'invites':
      return `${state.waiting} waiting`;
    case 'recordings':
      return `${state.running} running, ${state.being_finished} being finished`;
    case 'recorder':
      return `${state.state}, ${of(state.groups.length, 'source')}, ${state.lag_packets ?? 0} behind`;
    default:
      return 'state';
  }
}

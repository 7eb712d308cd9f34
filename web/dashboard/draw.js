// @ts-check

/** @typedef {Node | string | number | null | undefined | false} Child */

const SVG = new Set(['svg', 'rect', 'path', 'polyline', 'line', 'circle']);

/**
 * Makes an element. Attributes that are `null`, `undefined` or `false` are left out.
 *
 * @param {string} tag
 * @param {Record<string, unknown>} [attributes]
 * @param {...(Child | Child[])} children
 */
export function h(tag, attributes = {}, ...children) {
  const element = SVG.has(tag) ? document.createElementNS('http://www.w3.org/2000/svg', tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, '');
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined && child !== false) element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

/**
 * Makes what `target` holds like `wanted`, and touches nothing that is so already: what has the focus, is selected or open stays
 * so. Children with a `data-key` are recognised by it when they change places.
 *
 * @param {Element} target
 * @param {Element[]} wanted
 */
export function draw(target, wanted) {
  children(target, wanted);
}

/**
 * @param {Element} parent
 * @param {Node[]} wanted
 */
function children(parent, wanted) {
  const keyed = new Map();
  for (const child of parent.children) {
    const key = child.getAttribute('data-key');
    if (key !== null) keyed.set(key, child);
  }
  let at = parent.firstChild;
  for (const next of wanted) {
    const key = next instanceof Element ? next.getAttribute('data-key') : null;
    const known = key === null ? at : keyed.get(key);
    if (known && alike(known, next)) {
      if (at && known === at) at = at.nextSibling;
      else parent.insertBefore(known, at);
      same(known, next);
    } else {
      parent.insertBefore(next, at);
      if (known && known === at && key === null) {
        at = known.nextSibling;
        known.remove();
      }
    }
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

/**
 * @param {Node} one
 * @param {Node} other
 */
function alike(one, other) {
  if (one.nodeName !== other.nodeName) return false;
  return !(one instanceof Element && other instanceof Element) || one.getAttribute('data-key') === other.getAttribute('data-key');
}

/**
 * @param {Node} known
 * @param {Node} next
 */
function same(known, next) {
  if (known instanceof Element && next instanceof Element) {
    for (const { name } of [...known.attributes]) {
      // Whether it is open is the reader's own doing.
      if (!next.hasAttribute(name) && name !== 'open') known.removeAttribute(name);
    }
    for (const { name, value } of next.attributes) if (known.getAttribute(name) !== value) known.setAttribute(name, value);
    children(known, [...next.childNodes]);
  } else if (known.nodeValue !== next.nodeValue) {
    known.nodeValue = next.nodeValue;
  }
}

/** @param {string} text @param {string} [kind] `good`, `warn`, `bad` or nothing */
export function pill(text, kind = '') {
  return h('span', { class: `pill ${kind}` }, text);
}

/**
 * A bar, filled to a share of 0 to 1.
 *
 * @param {number} share
 * @param {string} label
 */
export function bar(share, label) {
  const filled = Math.max(0, Math.min(1, share));
  const level = filled > 0.85 ? 'bad' : filled > 0.6 ? 'warn' : 'good';
  return h('svg', { class: `bar ${level}`, viewBox: '0 0 100 6', preserveAspectRatio: 'none', role: 'img', 'aria-label': label },
    h('rect', { class: 'back', width: 100, height: 6 }),
    h('rect', { class: 'fill', width: (filled * 100).toFixed(1), height: 6 }));
}

/**
 * A line of the last values.
 *
 * @param {number[]} values
 * @param {string} label
 */
export function spark(values, label) {
  const most = Math.max(1, ...values);
  const step = 100 / Math.max(1, values.length - 1);
  const points = values.map((value, n) => `${(n * step).toFixed(1)},${(23 - (value / most) * 22).toFixed(1)}`).join(' ');
  return h('svg', { class: 'spark', viewBox: '0 0 100 24', preserveAspectRatio: 'none', role: 'img', 'aria-label': label },
    values.length > 1 && h('polyline', { points }));
}

/** @param {number | null | undefined} bps */
export function rate(bps) {
  if (bps === null || bps === undefined) return '–';
  if (bps >= 1e6) return `${(bps / 1e6).toFixed(1)} Mbit/s`;
  return `${Math.round(bps / 1e3)} kbit/s`;
}

/** @param {number} ms */
export function span(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor(s / 3600) % 24} h`;
}

/** How long ago. @param {string | null | undefined} at */
export function ago(at) {
  return at ? span(Date.now() - Date.parse(at)) : '–';
}

/** An id, shortened; whole in its title. @param {string} id */
export function short(id) {
  return /^[0-9a-f-]{36}$/.test(id) ? h('code', { title: id }, `…${id.slice(-8)}`) : h('code', { title: id }, id);
}

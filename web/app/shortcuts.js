// @ts-check
import { byId } from './dom.js';

/** @import { CallView } from './call.js' */

/**
 * Single keys for what one does often in a call; not while typing.
 *
 * @param {() => CallView | null} current
 */
export function installShortcuts(current) {
  const help = /** @type {HTMLDialogElement} */ (byId('shortcuts'));
  document.addEventListener('keydown', (event) => {
    const view = current();
    if (!view || help.open || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const typing = event.target instanceof HTMLElement && event.target.closest('input, textarea, select, [contenteditable]');
    if (event.key === 'Escape') return escape(view);
    if (typing || event.repeat) return;
    /** @type {Record<string, () => void>} */
    const keys = {
      m: () => view.controls.toggle('microphone'),
      v: () => view.controls.toggle('camera'),
      s: () => view.controls.share(),
      c: () => view.chat.toggle(),
      r: () => view.controls.record(),
      '?': () => help.showModal(),
    };
    const act = keys[event.key.toLowerCase()];
    if (!act) return;
    event.preventDefault();
    act();
  });
}

/** @param {CallView} view */
function escape(view) {
  const menu = document.querySelector('.menu[open]');
  if (menu instanceof HTMLDetailsElement) menu.open = false;
  else if (view.chat.open) view.chat.toggle(false);
}

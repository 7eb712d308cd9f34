// @ts-check
import { explain } from '../app/messages.js';
import { byId, toast } from '../app/dom.js';

/**
 * @typedef {{title: string, text: string, yes: string, done: string, go: (api: import('./main.js').Api) => Promise<unknown>}} Act
 */

/**
 * What a button does, by its `data-act`; each asks first.
 *
 * @type {Record<string, (of: DOMStringMap) => Act>}
 */
const ACTS = {
  drain: (of) => ({
    title: `Drain ${of.node}?`,
    text: 'Its rooms go to other nodes while their calls go on; without another node they end. Then the node ends.',
    yes: 'Drain',
    done: `${of.node} drains.`,
    go: (api) => api.send('POST', '/admin/drain', { node: of.node }),
  }),
  end: (of) => ({
    title: `End the call in ${of.room}?`,
    text: 'Everybody is taken out of the room.',
    yes: 'End the call',
    done: 'The call has ended.',
    go: (api) => api.send('POST', `/calls/${of.call}/end`),
  }),
  kick: (of) => ({
    title: `Remove ${of.name}?`,
    text: 'They are taken out of the call and may join again if their token permits.',
    yes: 'Remove',
    done: `${of.name} was removed.`,
    go: (api) => api.send('POST', `${participant(of)}/kick`),
  }),
  mute: (of) => ({
    title: of.track ? `Mute the ${of.source} of ${of.name}?` : `Mute everything of ${of.name}?`,
    text: 'The others no longer receive it. Only they themselves can unmute it.',
    yes: 'Mute',
    done: `${of.name} is muted.`,
    go: (api) => api.send('POST', `${participant(of)}/mute`, of.track ? { track: of.track } : {}),
  }),
  'record-start': (of) => ({
    title: `Record ${of.room}?`,
    text: 'Everybody in the room is told.',
    yes: 'Record',
    done: 'The recording has begun.',
    go: (api) => api.send('POST', `/rooms/${encodeURIComponent(of.room ?? '')}/recording/start`),
  }),
  'record-stop': (of) => ({
    title: `Stop the recording of ${of.room}?`,
    text: 'Its files are made and can be played then.',
    yes: 'Stop',
    done: 'The recording was stopped.',
    go: (api) => api.send('POST', `/rooms/${encodeURIComponent(of.room ?? '')}/recording/stop`),
  }),
};

/** @param {DOMStringMap} of */
function participant(of) {
  return `/rooms/${encodeURIComponent(of.room ?? '')}/participants/${of.participant}`;
}

/**
 * Does what a button is for, if the answer to the question is yes. Whether it was done.
 *
 * @param {HTMLElement} button
 * @param {import('./main.js').Api} api
 */
export async function act(button, api) {
  const make = ACTS[button.dataset.act ?? ''];
  if (!make) return false;
  const asked = make({ ...button.dataset });
  if (!(await confirmed(asked))) return false;
  try {
    await asked.go(api);
    toast(asked.done);
    return true;
  } catch (thrown) {
    toast(explain(thrown), { error: true });
    return false;
  }
}

/** @param {Act} asked @returns {Promise<boolean>} */
function confirmed(asked) {
  const dialog = /** @type {HTMLDialogElement} */ (byId('confirm'));
  byId('confirm-title').textContent = asked.title;
  byId('confirm-text').textContent = asked.text;
  byId('confirm-yes').textContent = asked.yes;
  dialog.returnValue = 'no';
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true }));
}

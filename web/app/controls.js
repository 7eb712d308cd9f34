// @ts-check
import { byId, clock, toast } from './dom.js';
import { explain, isSecondThought } from './messages.js';

/** @import { Caside, Room } from '../sdk/caside.js' */

/** The row of buttons, the recording mark, and what each of them does. */
export class Controls {
  /** @type {Caside} */ #client;
  /** @type {Room} */ #room;
  #buttons = {
    mute: /** @type {HTMLButtonElement} */ (byId('mute')),
    camera: /** @type {HTMLButtonElement} */ (byId('camera')),
    screen: /** @type {HTMLButtonElement} */ (byId('screen')),
    record: /** @type {HTMLButtonElement} */ (byId('record')),
    invite: /** @type {HTMLButtonElement} */ (byId('invite')),
    leave: /** @type {HTMLButtonElement} */ (byId('leave')),
  };
  #lock = /** @type {HTMLButtonElement} */ (byId('lock'));
  #recordingSince = 0;
  /** @type {ReturnType<typeof setInterval> | undefined} */ #timer;
  /** Actions that still run: a second press waits for the first. @type {Set<string>} */ #busy = new Set();

  /**
   * @param {Caside} client
   * @param {Room} room
   */
  constructor(client, room) {
    this.#client = client;
    this.#room = room;
    const { mute, camera, screen, record, invite, leave } = this.#buttons;
    mute.onclick = () => this.toggle('microphone');
    camera.onclick = () => this.toggle('camera');
    screen.onclick = () => this.share();
    record.onclick = () => this.record();
    invite.onclick = byId('alone-invite').onclick = () => this.invite();
    leave.onclick = () => room.leave();
    this.#lock.onclick = () => this.lock();
    room.on('recording-started', () => this.#recordingStarted(Date.now()));
    room.on('recording-stopped', () => toast('The recording is being saved.'));
    room.on('recording-finished', ({ state, error }) => toast(saved(state, error)));
    if (room.recordingId) this.#joinedRecording(room.recordingId);
    this.render();
  }

  render() {
    const room = this.#room;
    const viewer = room.localParticipant.role === 'viewer';
    const microphone = room.localTrack('microphone');
    const camera = room.localTrack('camera');
    const sharing = room.localTrack('screen') !== undefined;
    const recording = room.recordingId !== null;
    const { mute, camera: cameraButton, screen, record } = this.#buttons;
    const off = { mic: !microphone || microphone.muted, camera: !camera || camera.muted };
    this.#paint(mute, off.mic ? 'Unmute' : 'Mute', { 'is-off': off.mic }, off.mic);
    this.#paint(cameraButton, off.camera ? 'Start video' : 'Stop video', { 'is-off': off.camera }, off.camera);
    this.#paint(screen, sharing ? 'Stop sharing' : 'Share', { 'is-active': sharing }, sharing);
    this.#paint(record, recording ? 'Stop' : 'Record', { 'is-recording': recording }, recording);
    for (const button of [mute, cameraButton, screen]) button.disabled = viewer;
    screen.hidden = !navigator.mediaDevices?.getDisplayMedia;
    record.hidden = !room.isHost;
    byId('rec-pill').hidden = !recording;
    this.#paintLock();
    if (!recording) clearInterval(this.#timer);
  }

  close() {
    clearInterval(this.#timer);
  }

  /** @param {'camera' | 'microphone'} source */
  toggle(source) {
    return this.#once(source, async () => {
      const local = this.#room.localTrack(source);
      if (local) await this.#room.setMuted(local, !local.muted);
      else await this.#room.publish({ [source]: true });
    });
  }

  share() {
    return this.#once('screen', async () => {
      if (!this.#room.localTrack('screen')) {
        await this.#room.publish({ screen: true });
        return;
      }
      await this.#room.unpublish('screen-audio');
      await this.#room.unpublish('screen');
    });
  }

  record() {
    if (!this.#room.isHost) return;
    return this.#once('record', async () => {
      if (this.#room.recordingId) await this.#room.stopRecording();
      else await this.#room.startRecording();
    });
  }

  lock() {
    if (!this.#room.isModerator) return;
    return this.#once('lock', () => (this.#room.locked ? this.#room.unlock() : this.#room.lock()));
  }

  invite() {
    return this.#once('invite', async () => {
      const link = new URL('./', location.href);
      link.searchParams.set('room', this.#room.id);
      const guest = await this.#guestToken();
      if (guest) link.searchParams.set('token', guest);
      try {
        await navigator.clipboard.writeText(link.href);
        toast(guest ? 'Link copied. Whoever has it can join this room for a day.' : 'Link copied. People need an account here to join.');
      } catch {
        prompt('Copy this link', link.href);
      }
    });
  }

  /** A token for guests, if one may make it: hosts may. */
  async #guestToken() {
    if (!this.#room.isHost) return null;
    const user = `guest-${crypto.randomUUID().slice(0, 8)}`;
    try {
      const request = { user, room: this.#room.id, role: 'participant', ttl_s: 86_400, name: 'Guest' };
      return /** @type {string} */ ((await this.#client.session.request('POST', '/auth/token', request)).token);
    } catch {
      return null;
    }
  }

  /** @param {number} since ms since the epoch */
  #recordingStarted(since) {
    this.#recordingSince = since;
    clearInterval(this.#timer);
    const tick = () => (byId('rec-time').textContent = clock(Date.now() - this.#recordingSince));
    this.#timer = setInterval(tick, 500);
    tick();
  }

  /** @param {string} id of a recording that ran before we came */
  async #joinedRecording(id) {
    this.#recordingStarted(Date.now());
    try {
      const recording = await this.#client.session.request('GET', `/recordings/${encodeURIComponent(id)}`);
      this.#recordingSince = Math.min(Date.now(), Date.parse(recording.started_at)) || this.#recordingSince;
    } catch {
      // Not everybody may look at it; then the time counts from when we came.
    }
  }

  /**
   * @param {string} name
   * @param {() => Promise<void>} action
   */
  async #once(name, action) {
    if (this.#busy.has(name)) return;
    this.#busy.add(name);
    try {
      await action();
    } catch (thrown) {
      if (!isSecondThought(thrown)) toast(explain(thrown), { error: true });
    } finally {
      this.#busy.delete(name);
    }
  }

  /** Everybody sees that the room is locked; who moderates may change it. */
  #paintLock() {
    const { locked, isModerator } = this.#room;
    this.#lock.hidden = !locked && !isModerator;
    this.#lock.disabled = !isModerator;
    this.#lock.setAttribute('aria-pressed', String(locked));
    this.#lock.title = locked ? 'Nobody new comes in below moderator' : 'Keep newcomers out';
    const text = this.#lock.querySelector('span');
    if (text) text.textContent = locked ? 'Locked' : 'Lock';
  }

  /**
   * @param {HTMLButtonElement} button
   * @param {string} label
   * @param {Record<string, boolean>} classes
   * @param {boolean} pressed
   */
  #paint(button, label, classes, pressed) {
    const text = button.querySelector('span');
    if (text) text.textContent = label;
    button.title = `${label} (${button.getAttribute('aria-keyshortcuts')?.toUpperCase()})`;
    button.setAttribute('aria-pressed', String(pressed));
    for (const [name, on] of Object.entries(classes)) button.classList.toggle(name, on);
  }
}

/**
 * What became of a recording, for people.
 * @param {'ready' | 'failed'} state
 * @param {string | null} error
 */
function saved(state, error) {
  if (state === 'failed') return `The recording failed: ${error}.`;
  return `The recording was saved${error ? `, but not all of it: ${error}` : ''}. You find it under Recordings.`;
}

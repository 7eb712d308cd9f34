// @ts-check
import { Chat } from './chat.js';
import { Controls } from './controls.js';
import { byId, toast } from './dom.js';
import { explain, explainCause, isSecondThought } from './messages.js';
import { Sounds } from './sounds.js';
import { Tiles } from './tiles.js';

/**
 * @import { Caside, CasideError, Participant, Room } from '../sdk/caside.js'
 * @import { MenuItem } from './tiles.js'
 */

/** The view of one call, from joining to leaving. */
export class CallView {
  /** @type {Room} */ #room;
  /** @type {Tiles} */ #tiles;
  #sounds = new Sounds();
  /** @readonly @type {Chat} */ chat;
  /** @readonly @type {Controls} */ controls;
  #frame = 0;
  #signalingAway = false;

  /**
   * @param {Caside} client
   * @param {Room} room
   */
  constructor(client, room) {
    this.#room = room;
    this.#tiles = new Tiles(room, (participant) => this.#menuOf(participant));
    this.chat = new Chat(room);
    this.controls = new Controls(client, room);
    room.on('track', ({ track, participant, source }) => track.kind === 'audio' && this.#sounds.add(`${participant.id}/${source}`, track));
    room.on('track-removed', ({ track, participant, source }) => track.kind === 'audio' && this.#sounds.remove(`${participant.id}/${source}`, track));
    room.on('error', (error) => this.#failed(error));
    room.on('reconnecting', () => this.#away(true));
    room.on('reconnected', () => this.#away(false));
    room.on('role-changed', ({ role }) => toast(`You are now ${role === 'host' ? 'the host' : `a ${role}`}.`));
    room.on('left', () => this.#close());
    room.on('connection-quality', (participant) => this.#troubled(participant));
    const changes = /** @type {const} */ ([
      'participant-joined', 'participant-left', 'participant-updated', 'track', 'track-removed', 'track-updated', 'local-track',
      'local-track-removed', 'active-speakers', 'connection-quality', 'recording-started', 'recording-stopped', 'role-changed',
      'room-updated', 'media-state', 'reconnecting', 'reconnected', 'mode-changed',
    ]);
    for (const change of changes) room.on(change, () => this.#renderSoon());
    for (const { id, tracks } of room.participants.values()) {
      for (const { kind, source, mediaTrack } of tracks.values()) {
        if (kind === 'audio' && mediaTrack) this.#sounds.add(`${id}/${source}`, mediaTrack);
      }
    }
    this.#render();
  }

  #renderSoon() {
    // A burst of events is one rendering. Not an animation frame: a hidden tab has none.
    this.#frame ||= setTimeout(() => {
      this.#frame = 0;
      if (!this.#room.left) this.#render();
    }, 0);
  }

  #render() {
    const room = this.#room;
    const count = room.participants.size + 1;
    const title = room.name || room.id;
    byId('call-title').textContent = title;
    document.title = `${title} · Caside`;
    byId('call-count').textContent = count === 1 ? 'Only you' : `${count} people`;
    byId('alone').hidden = count > 1;
    const pill = byId('status-pill');
    pill.hidden = !this.#signalingAway && room.media.state !== 'reconnecting';
    pill.textContent = 'Reconnecting…';
    this.#tiles.render();
    this.controls.render();
  }

  /** @param {CasideError} error */
  #failed(error) {
    if (isSecondThought(error)) return;
    const deaf = this.#room.media.locals.length === 0;
    if (deaf && error.code === 'device_not_found') toast('No camera or microphone was found. You can watch, listen and chat.', { ms: 10_000 });
    else if (deaf && error.code === 'device_denied') toast('Camera and microphone are blocked. You can watch, listen and chat; allow them in the address bar to be seen and heard.', { ms: 10_000 });
    else toast(explain(error), { error: true });
  }

  /** @param {Participant} participant whose quality was told */
  #troubled({ isLocal, qualityCause }) {
    const words = isLocal ? explainCause(qualityCause) : undefined;
    if (words) toast(words, { ms: 10_000 });
  }

  /** @param {boolean} away */
  #away(away) {
    this.#signalingAway = away;
    this.#renderSoon();
  }

  /**
   * @param {Participant} participant
   * @returns {MenuItem[]}
   */
  #menuOf(participant) {
    const room = this.#room;
    if (!room.isModerator || (participant.role === 'host' && !room.isHost)) return [];
    const name = participant.displayName;
    /** @param {() => Promise<void>} action */
    const act = (action) => () => action().catch((thrown) => toast(explain(thrown), { error: true }));
    const items = [
      ...this.#muteItems(participant, act),
      { label: 'Remove from call', act: () => confirm(`Remove ${name} from the call?`) && act(() => room.kick(participant))() },
    ];
    if (!room.isHost) return items;
    const role = participant.role === 'moderator' ? 'participant' : 'moderator';
    return [...items, { label: role === 'moderator' ? 'Make moderator' : 'Take moderator role', act: act(() => room.setRole(participant, role)) }];
  }

  /**
   * @param {Participant} participant
   * @param {(action: () => Promise<void>) => () => void} act
   */
  #muteItems(participant, act) {
    const sources = /** @type {const} */ ([['microphone', 'Mute'], ['camera', 'Turn camera off']]);
    return sources.flatMap(([source, label]) => {
      const info = participant.track(source);
      // In a peer-to-peer room the server has no hand on the media.
      if (!info || info.muted || this.#room.mode === 'p2p') return [];
      return [{ label, act: act(() => this.#room.muteParticipant(participant, info)) }];
    });
  }

  #close() {
    clearTimeout(this.#frame);
    this.#tiles.close();
    this.#sounds.close();
    this.controls.close();
    document.title = 'Caside';
  }
}

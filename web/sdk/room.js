// @ts-check
import { Emitter } from './emitter.js';
import { asCasideError } from './errors.js';
import { capture } from './media/capture.js';
import { Media } from './media/media.js';
import { collectStats } from './media/stats.js';
import { Participant } from './participant.js';
import { ROOM_EVENTS } from './room-events.js';

/**
 * @import { Capture, JoinOptions, RemoteTrack, Role, Source, WireParticipant, WireRoomState, WireTrack } from './types.js'
 * @import { LocalTrack } from './media/local.js'
 * @import { Message, Signaling } from './signaling.js'
 * @import { RoomEvents } from './room-events.js'
 * @import { TrackInfo } from './participant.js'
 */

/** One call that this client takes part in. Made by `Caside.join`. @extends {Emitter<RoomEvents>} */
export class Room extends Emitter {
  /** @readonly */ id;
  /** @readonly @type {Media} */ media;
  /** @type {Participant} */ localParticipant = new Participant('', true);
  /** The others, by id. @type {Map<string, Participant>} */ participants = new Map();
  callId = '';
  name = '';
  /** Whether newcomers below moderator are kept out. */ locked = false;
  /** The application's own. @type {unknown} */ metadata = null;
  /** @type {string | null} */ recordingId = null;
  /** @type {Participant[]} */ activeSpeakers = [];
  left = false;
  /** @type {Signaling} */ #signaling;
  /** @type {JoinOptions} */ #options;

  /**
   * @param {string} id
   * @param {Signaling} signaling
   * @param {RTCIceServer[]} iceServers
   * @param {JoinOptions} options
   */
  constructor(id, signaling, iceServers, options) {
    super();
    this.id = id;
    this.#signaling = signaling;
    this.#options = options;
    this.media = new Media(signaling, iceServers, options.video, { audio: options.audio, encryption: options.encryption });
    this.media.on('local-track', (local) => this.emit('local-track', local));
    this.media.on('local-track-removed', (local) => this.emit('local-track-removed', local));
    this.media.on('state', (state) => this.emit('media-state', state));
    this.media.on('error', (error) => this.emit('error', error));
    this.media.remote.on('track', (track) => this.#received(track));
    this.media.remote.on('track-removed', (track) => this.#lost(track));
  }

  get mode() {
    return this.media.mode;
  }

  /** Whether this role may record, give roles and end the call. */
  get isHost() {
    return this.localParticipant.role === 'host';
  }

  /** Whether this role may mute and remove others and lock the room. */
  get isModerator() {
    return this.isHost || this.localParticipant.role === 'moderator';
  }

  /**
   * Publishes devices, the screen, or given tracks.
   *
   * @param {Capture} wishes
   * @returns {Promise<LocalTrack[]>}
   * @throws {CasideError} `device_…` when nothing could be captured; a partial failure is an `error` event
   */
  async publish(wishes) {
    const camera = this.media.local('camera');
    const { captured, failures } = await capture(wishes, camera?.mediaTrack);
    // It was ended to be opened anew in another size, and could not be.
    const isLost = camera?.mediaTrack?.readyState === 'ended' && !captured.some(({ source }) => source === 'camera');
    if (camera && isLost) await this.media.remove(camera);
    if (captured.length === 0 && failures[0]) throw failures[0];
    for (const failure of failures) this.emit('error', failure);
    if (this.left) for (const { track } of captured) track.stop();
    return this.left ? [] : this.media.add(captured);
  }

  /** @param {LocalTrack | Source} which */
  async unpublish(which) {
    const local = this.#local(which);
    if (local) await this.media.remove(local);
  }

  /** @param {Source} source */
  localTrack(source) {
    return this.media.local(source);
  }

  /**
   * Mutes or unmutes one's own track. A muted camera is turned off, its device freed.
   *
   * @param {LocalTrack | Source} which
   * @param {boolean} muted
   */
  async setMuted(which, muted) {
    const local = this.#local(which);
    if (local) await this.media.setMuted(local, muted);
  }

  /**
   * Chooses how a track is received.
   *
   * @param {TrackInfo | string} track
   * @param {{quality?: 'high' | 'medium' | 'low' | 'off', maxWidth?: number, maxHeight?: number}} [how]
   */
  async subscribe(track, { quality = 'high', maxWidth, maxHeight } = {}) {
    const id = typeof track === 'string' ? track : track.id;
    const wish = { track: id, quality, max_width: maxWidth, max_height: maxHeight };
    const info = [...this.participants.values()].map(({ tracks }) => tracks.get(id)).find((found) => found);
    if (info) info.wish = wish;
    await this.#signaling.request('subscribe', wish, { idempotent: true });
  }

  /**
   * @param {string} text at most 16 KiB
   * @param {{to?: string}} [options] one participant only
   * @returns {Promise<{messageId: string, sentAt: Date}>}
   */
  async chat(text, { to } = {}) {
    const { payload } = await this.#signaling.request('chat', { text, to });
    return { messageId: payload.message_id, sentAt: new Date(payload.sent_at) };
  }

  /**
   * Sends application data to everybody, or to one.
   *
   * @param {string} topic names beginning with `caside.` are the SDK's own
   * @param {unknown} value
   * @param {{to?: string}} [options]
   */
  data(topic, value, { to } = {}) {
    return this.#ask('data', { topic, value, to });
  }

  /**
   * @param {string} tones `0-9 A-D * # , w`, at most 32
   * @param {{to?: string}} [options]
   */
  dtmf(tones, { to } = {}) {
    return this.#ask('dtmf', { tones, to });
  }

  /** @param {'audio' | 'video' | LocalTrack} [what] everything when left out */
  hold(what) {
    return this.#ask('hold', { track: typeof what === 'object' ? what.id : what });
  }

  /** @param {'audio' | 'video' | LocalTrack} [what] */
  unhold(what) {
    return this.#ask('unhold', { track: typeof what === 'object' ? what.id : what });
  }

  /** @returns {Promise<{recordingId: string}>} */
  async startRecording() {
    const { payload } = await this.#signaling.request('start-recording', {});
    return { recordingId: payload.recording_id };
  }

  async stopRecording() {
    const { payload } = await this.#signaling.request('stop-recording', {});
    return { recordingId: payload.recording_id };
  }

  /** @param {Participant | string} who */
  kick(who) {
    return this.#ask('kick', { participant_id: idOf(who) });
  }

  /**
   * @param {Participant | string} who
   * @param {TrackInfo | string} [track] all of theirs when left out
   */
  muteParticipant(who, track) {
    return this.#ask('mute-participant', { participant_id: idOf(who), track: track && idOf(track) });
  }

  /**
   * @param {Participant | string} who
   * @param {Role} role
   */
  setRole(who, role) {
    return this.#ask('set-role', { participant_id: idOf(who), role });
  }

  /** Keeps newcomers below moderator out; everybody hears of it by `room-updated`. */
  lock() {
    return this.#ask('lock', {});
  }

  unlock() {
    return this.#ask('unlock', {});
  }

  /** Ends the call for everybody. */
  endCall() {
    return this.#ask('end-call', {});
  }

  /**
   * What is sent and received, as this browser sees it.
   *
   * @returns {ReturnType<typeof collectStats>}
   */
  stats() {
    return collectStats(this.media);
  }

  /**
   * Receives the cameras of so many last speakers from now on; `cameras-selected` tells which.
   *
   * @param {number | null} lastN 0: all; null: as many as the room says
   */
  async setLastN(lastN) {
    this.#options = { ...this.#options, lastN: lastN ?? undefined };
    await this.#signaling.request('subscribe-policy', { last_n: lastN }, { idempotent: true });
  }

  /** Leaves the room and frees every device. */
  async leave() {
    if (this.left) return;
    const told = this.#signaling.request('leave', {}, { timeoutMs: 2_000 });
    this.over('left');
    // Out of reach, the server's grace time does it.
    await told.catch(() => {});
  }

  /**
   * Asks to be let in. The client does this once, and again when a session was lost for good.
   *
   * @returns {Promise<void>}
   */
  async enter() {
    const first = this.localParticipant.id === '';
    const { displayName, mode, subscribe, publish, lastN } = this.#options;
    const payload = { room: this.id, display_name: displayName, capabilities: { audio: true, video: true }, mode, subscribe, last_n: lastN };
    const joined = this.#signaling.request('join', payload, { onAnswer: (message) => this.#joined(message.payload) });
    // While the server thinks: connections and devices.
    this.media.prepare(first && mode !== 'p2p');
    if (first && publish) this.publish(publish).catch((thrown) => this.#failed(thrown));
    await joined;
  }

  /**
   * Adopts a room that `accept` led into.
   *
   * @param {any} payload of `joined`
   */
  entered(payload) {
    this.#joined(payload);
    if (this.#options.publish) this.publish(this.#options.publish).catch((thrown) => this.#failed(thrown));
  }

  /** @param {{reset: boolean, participant_id?: string | null, room_state?: WireRoomState, you?: WireParticipant}} resumed */
  resumed({ reset, participant_id: id, room_state: state, you }) {
    // What ended the call, or put us out, was among what is no longer kept.
    if (reset && !id && this.localParticipant.id !== '') return this.over('ended');
    if (reset && state) this.#adopt(state);
    if (reset && you) this.#adoptSelf(you, false);
    this.media.restored({ reset: reset && state !== undefined, mode: state?.mode, others: [...this.participants.keys()] });
    this.emit('reconnected', { reset });
  }

  /**
   * Media goes to another node now.
   *
   * @param {{reset?: boolean, room_state?: WireRoomState, you?: WireParticipant}} moved `reset`: that node does not know all that was
   *   told before
   */
  moved({ reset = false, room_state: state, you }) {
    if (reset && you) this.#adoptSelf(you, true);
    if (reset && state) {
      this.#adopt(state);
      this.media.restored({ reset, mode: state.mode, others: [...this.participants.keys()] });
    }
    this.media.moved();
  }

  /**
   * Out of the room, for whatever reason.
   *
   * @param {string} reason
   */
  over(reason) {
    if (this.left) return;
    this.left = true;
    this.media.close();
    this.emit('left', { reason });
  }

  /** @param {Message} message */
  handle(message) {
    if (!this.left) ROOM_EVENTS[message.type]?.(this, message.payload, message);
  }

  /** @param {string} id */
  find(id) {
    return id === this.localParticipant.id ? this.localParticipant : this.participants.get(id);
  }

  /** @param {WireParticipant} wire */
  peerJoined(wire) {
    if (wire.participant_id === this.localParticipant.id) return;
    const known = this.participants.get(wire.participant_id);
    const participant = (known ?? new Participant(wire.participant_id)).update(wire);
    for (const track of wire.tracks) participant.setTrack(track);
    this.participants.set(participant.id, participant);
    this.emit(known ? 'participant-updated' : 'participant-joined', participant);
    if (!known) this.media.peerJoined(participant.id);
  }

  /**
   * @param {string} id
   * @param {string} reason
   */
  peerLeft(id, reason) {
    const participant = this.participants.get(id);
    if (!participant) return;
    this.media.peerLeft(id);
    this.participants.delete(id);
    this.emit('participant-left', { participant, reason });
  }

  /** @param {{name?: string, locked: boolean, metadata?: unknown}} wire what holds now, changed or not */
  updated({ name = '', locked, metadata = null }) {
    const same = name === this.name && locked === this.locked && JSON.stringify(metadata) === JSON.stringify(this.metadata);
    Object.assign(this, { name, locked, metadata });
    if (!same) this.emit('room-updated', this);
  }

  /** @param {string[]} ids */
  speakers(ids) {
    this.activeSpeakers = ids.map((id) => this.find(id)).filter((participant) => participant !== undefined);
    for (const participant of [this.localParticipant, ...this.participants.values()]) {
      participant.speaking = this.activeSpeakers.includes(participant);
    }
    this.emit('active-speakers', this.activeSpeakers);
  }

  /** @param {WireTrack} wire */
  trackChanged(wire) {
    const participant = this.find(wire.participant_id);
    if (!participant) return;
    const info = participant.setTrack(wire);
    if (participant.isLocal) this.media.mutedByServer(wire.track, wire.muted);
    this.emit('track-updated', { participant, info });
  }

  /** @param {{from: string, source: Source, muted: boolean}} said in a peer-to-peer room */
  mutedByPeer({ from, source, muted }) {
    const participant = this.participants.get(from);
    const info = participant?.track(source);
    if (!participant || !info || !info.id.startsWith('p2p:')) return;
    info.muted = muted;
    this.emit('track-updated', { participant, info });
  }

  /** @param {any} payload of `joined` */
  #joined({ participant_id, call_id, role, room_state: state }) {
    if (this.localParticipant.id !== participant_id) this.localParticipant = new Participant(participant_id, true);
    this.localParticipant.role = role ?? 'participant';
    this.localParticipant.displayName = this.#options.displayName ?? '';
    this.callId = call_id;
    this.#adopt(state);
    this.media.joined(participant_id, state.mode, [...this.participants.keys()]);
  }

  /** @param {WireRoomState} state brings what is known to it, telling every difference */
  #adopt(state) {
    this.updated(state);
    const here = new Set(state.participants.map((wire) => wire.participant_id));
    for (const id of [...this.participants.keys()]) if (!here.has(id)) this.peerLeft(id, 'left');
    for (const wire of state.participants) {
      this.peerJoined(wire);
      const participant = this.participants.get(wire.participant_id);
      if (participant && state.mode === 'sfu') dropStale(participant, wire.tracks);
    }
    if (state.recording !== this.recordingId) {
      const before = this.recordingId;
      this.recordingId = state.recording;
      if (before) this.emit('recording-stopped', { recordingId: before });
      if (state.recording) this.emit('recording-started', { recordingId: state.recording });
    }
    this.speakers(state.active_speakers);
  }

  /**
   * @param {WireParticipant} you
   * @param {boolean} moving whether our tracks are published anew in any case
   */
  #adoptSelf({ role, tracks }, moving) {
    if (role !== this.localParticipant.role) ROOM_EVENTS['role-changed']?.(this, { role }, { type: 'role-changed', payload: { role } });
    for (const local of this.media.locals) {
      const wire = tracks.find(({ track }) => track === local.id);
      if (wire) this.media.mutedByServer(wire.track, wire.muted);
      else if (local.id !== null && !moving) this.media.unpublishedByServer(local.id);
    }
  }

  /** @param {RemoteTrack} remote */
  #received({ id, participantId, source, mediaTrack, muted, label }) {
    const participant = this.participants.get(participantId);
    if (!participant) return;
    const kind = mediaTrack.kind === 'audio' ? 'audio' : 'video';
    if (!id.startsWith('p2p:')) for (const other of participant.tracks.keys()) if (other === `p2p:${participantId}:${source}`) participant.tracks.delete(other);
    const info = participant.tracks.get(id) ?? { id, kind, source, label: label ?? '', codec: '', muted: muted ?? false, held: false, encryption: null, mediaTrack };
    info.mediaTrack = mediaTrack;
    info.gone = false;
    // Another connection carries it, perhaps of a node that was not told. Refused, it comes as it comes.
    if (info.wish) this.#signaling.request('subscribe', info.wish, { idempotent: true }).catch(() => {});
    participant.tracks.set(id, info);
    this.emit('track', { track: mediaTrack, participant, source, info });
  }

  /** @param {RemoteTrack} remote */
  #lost({ id, participantId, source, mediaTrack }) {
    const participant = this.participants.get(participantId);
    const info = participant?.tracks.get(id);
    if (!participant || !info) return;
    info.mediaTrack = null;
    if (id.startsWith('p2p:') || info.gone) participant.tracks.delete(id);
    this.emit('track-removed', { track: mediaTrack, participant, source, info });
  }

  /** @param {LocalTrack | Source} which */
  #local(which) {
    return typeof which === 'string' ? this.media.local(which) : which;
  }

  /**
   * @param {string} type
   * @param {object} payload
   * @returns {Promise<void>}
   */
  async #ask(type, payload) {
    await this.#signaling.request(type, payload);
  }

  /** @param {unknown} thrown */
  #failed(thrown) {
    if (!this.left) this.emit('error', asCasideError(thrown, 'media_failed'));
  }
}

/**
 * Forgets what they no longer publish. What is still shown is, until the connection that carries it ends: after a move it may come back.
 *
 * @param {Participant} participant
 * @param {WireTrack[]} tracks
 */
function dropStale(participant, tracks) {
  const here = new Set(tracks.map((wire) => wire.track));
  for (const [id, info] of participant.tracks) {
    if (here.has(id)) continue;
    if (info.mediaTrack === null) participant.tracks.delete(id);
    else info.gone = true;
  }
}

/** @param {{id: string | null} | string} thing */
function idOf(thing) {
  return typeof thing === 'string' ? thing : thing.id;
}

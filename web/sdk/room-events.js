// @ts-check
import { CasideError } from './errors.js';
import { MUTE_TOPIC } from './media/media.js';

/**
 * @import { Mode, Role, Source } from './types.js'
 * @import { LocalTrack } from './media/local.js'
 * @import { Message } from './signaling.js'
 * @import { Participant, TrackInfo } from './participant.js'
 * @import { Room } from './room.js'
 *
 * @typedef {{track: MediaStreamTrack, participant: Participant, source: Source, info: TrackInfo}} ReceivedTrack
 *
 * @typedef {object} RecordedFile a file of a finished recording; `GET /recordings/{id}` has its link
 * @property {string} name
 * @property {string | null} participantId
 * @property {Source | null} source
 * @property {string} contentType
 * @property {number} sizeBytes
 * @property {number} durationMs
 * @property {number} offsetMs its first frame, after the recording's start
 *
 * @typedef {{
 *   'participant-joined': Participant,
 *   'participant-left': {participant: Participant, reason: string},
 *   'participant-updated': Participant,
 *   'track': ReceivedTrack,
 *   'track-removed': ReceivedTrack,
 *   'track-updated': {participant: Participant, info: TrackInfo},
 *   'local-track': LocalTrack,
 *   'local-track-removed': LocalTrack,
 *   'chat': {from: Participant | undefined, text: string, messageId: string, sentAt: Date, private: boolean},
 *   'data': {from: Participant | undefined, topic: string, value: unknown, private: boolean},
 *   'dtmf': {from: Participant | undefined, tones: string},
 *   'active-speakers': Participant[],
 *   'cameras-selected': {trackIds: string[] | null},
 *   'connection-quality': Participant,
 *   'recording-started': {recordingId: string},
 *   'recording-stopped': {recordingId: string},
 *   'recording-finished': {recordingId: string, state: 'ready' | 'failed', error: string | null, durationMs: number, sizeBytes: number, files: RecordedFile[]},
 *   'call-state-changed': {state: 'active' | 'recording' | 'ended'},
 *   'mode-changed': {mode: Mode, reason: string},
 *   'room-updated': Room,
 *   'role-changed': {role: Role},
 *   'media-state': 'new' | 'connecting' | 'connected' | 'reconnecting',
 *   'reconnecting': {attempt: number},
 *   'reconnected': {reset: boolean},
 *   'kicked': {by?: string},
 *   'left': {reason: string},
 *   'error': CasideError,
 * }} RoomEvents
 *   - `participant-updated`: name, role, connection or quality
 *   - `track`: can be shown; comes again when another connection carries it from now on
 *   - `track-updated`: muted or held
 *   - `room-updated`: locked or unlocked, another name or other metadata
 *   - `local-track`: one's own track was added or changed
 *   - `active-speakers`: loudest first
 *   - `connection-quality`: of `quality` and `qualityCause`, which names why it is not better (docs/troubleshooting.md)
 *   - `cameras-selected`: the cameras that are received by `lastN`; null: all
 *   - `recording-stopped`: nothing more is recorded; the files are being made
 *   - `recording-finished`: they are there, or will not be; told to whoever is still in the call
 *   - `reconnecting`: signaling dropped; media goes on
 *   - `left`: this side is out of the room: left, kicked, ended, or the session is over
 *   - `error`: something that nobody waits for failed
 */

/** What each event of the server does. @type {Record<string, (room: Room, payload: any, message: Message) => void>} */
export const ROOM_EVENTS = {
  offer: (room, _, message) => room.media.received(message),
  answer: (room, _, message) => room.media.received(message),
  'ice-candidate': (room, _, message) => room.media.received(message),
  'peer-joined': (room, payload) => room.peerJoined(payload),
  'peer-left': (room, { participant_id, reason }) => room.peerLeft(participant_id, reason),
  'peer-updated': (room, payload) => {
    const participant = room.find(payload.participant_id);
    if (participant) room.emit('participant-updated', participant.update(payload));
  },
  'track-published': (room, payload) => room.trackChanged(payload),
  'track-updated': (room, payload) => room.trackChanged(payload),
  'track-unpublished': (room, { track, participant_id }) => {
    const participant = room.find(participant_id);
    if (participant?.isLocal) room.media.unpublishedByServer(track);
    const info = participant?.tracks.get(track);
    if (!participant || !info) return;
    participant.tracks.delete(track);
    if (info.mediaTrack) room.emit('track-removed', { track: info.mediaTrack, participant, source: info.source, info });
  },
  chat: (room, { from, text, message_id, sent_at, to }) =>
    room.emit('chat', { from: room.find(from), text, messageId: message_id, sentAt: new Date(sent_at), private: to !== undefined }),
  data: (room, { from, topic, value, to }) => {
    if (topic === MUTE_TOPIC) room.mutedByPeer({ from, ...value });
    else room.emit('data', { from: room.find(from), topic, value, private: to !== undefined });
  },
  dtmf: (room, { from, tones }) => room.emit('dtmf', { from: room.find(from), tones }),
  'publish-layers': (room, { track, layers }) => room.media.layersWanted(track, layers),
  'active-speakers': (room, { participants }) => room.speakers(participants),
  'cameras-selected': (room, { tracks }) => room.emit('cameras-selected', { trackIds: tracks }),
  'connection-quality': (room, { participant_id, quality, cause }) => {
    const participant = room.find(participant_id);
    if (!participant) return;
    participant.quality = quality;
    participant.qualityCause = cause;
    participant.connection = quality === 'lost' ? 'lost' : 'connected';
    room.emit('connection-quality', participant);
  },
  'recording-started': (room, { recording_id }) => {
    room.recordingId = recording_id;
    room.emit('recording-started', { recordingId: recording_id });
  },
  'recording-stopped': (room, { recording_id }) => {
    if (room.recordingId === recording_id) room.recordingId = null;
    room.emit('recording-stopped', { recordingId: recording_id });
  },
  'recording-finished': (room, { recording_id, state, error, duration_ms, size_bytes, files }) => {
    room.emit('recording-finished', {
      recordingId: recording_id,
      state,
      error,
      durationMs: duration_ms,
      sizeBytes: size_bytes,
      files: files.map(recordedFile),
    });
  },
  'call-state-changed': (room, { state }) => {
    room.emit('call-state-changed', { state });
    if (state === 'ended') room.over('ended');
  },
  'room-moved': (room, payload) => room.moved(payload),
  'mode-changed': (room, { mode, reason }) => {
    room.media.setMode(mode);
    room.emit('mode-changed', { mode, reason });
  },
  'room-updated': (room, payload) => room.updated(payload),
  'role-changed': (room, { role }) => {
    room.localParticipant.role = role;
    room.emit('role-changed', { role });
  },
  kicked: (room, payload) => {
    room.emit('kicked', payload);
    room.over('kicked');
  },
  error: (room, payload) => room.emit('error', new CasideError(payload.code, payload.message, { retryable: payload.retryable })),
};

/**
 * @param {any} wire
 * @returns {RecordedFile}
 */
function recordedFile(wire) {
  return {
    name: wire.name,
    participantId: wire.participant_id,
    source: wire.source,
    contentType: wire.content_type,
    sizeBytes: wire.size_bytes,
    durationMs: wire.duration_ms,
    offsetMs: wire.offset_ms,
  };
}

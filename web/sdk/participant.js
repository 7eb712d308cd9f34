// @ts-check
/**
 * @import { Quality, Role, Source, WireParticipant, WireTrack } from './types.js'
 *
 * @typedef {object} TrackInfo
 * @property {string} id
 * @property {'audio' | 'video'} kind
 * @property {Source} source
 * @property {string} label
 * @property {string} codec empty in a peer-to-peer room
 * @property {boolean} muted
 * @property {boolean} held
 * @property {string | null} encryption what its frames are encrypted with end to end, in its sender's word
 * @property {MediaStreamTrack | null} mediaTrack null until it is received
 * @property {object} [wish] how it is to be received, as the server was told
 * @property {boolean} [gone] no longer published, as far as the server knows, but still on show
 */

/** Somebody in the room. */
export class Participant {
  /** @readonly */ id;
  /** @readonly */ isLocal;
  user = '';
  displayName = '';
  /** @type {Role} */ role = 'participant';
  /** @type {Date} */ joinedAt = new Date();
  /** Whether their signaling is up. @type {'connected' | 'lost'} */ connection = 'connected';
  /** null until the server has said. @type {Quality | null} */ quality = null;
  /** Why the quality is not better, if the server knows. @type {string | undefined} */ qualityCause;
  speaking = false;
  /** What they publish, by track id. @type {Map<string, TrackInfo>} */ tracks = new Map();

  /**
   * @param {string} id
   * @param {boolean} [isLocal]
   */
  constructor(id, isLocal = false) {
    this.id = id;
    this.isLocal = isLocal;
  }

  /** @param {WireParticipant} wire */
  update(wire) {
    this.user = wire.user;
    this.displayName = wire.display_name;
    this.role = wire.role;
    this.joinedAt = new Date(wire.joined_at);
    this.connection = wire.connection;
    return this;
  }

  /** @param {Source} source */
  track(source) {
    const infos = [...this.tracks.values()].filter((info) => info.source === source);
    // While one takes another's place, the one that can be shown.
    return infos.findLast((info) => info.mediaTrack !== null && !info.gone) ?? infos.findLast((info) => info.mediaTrack !== null) ?? infos[0];
  }

  /**
   * @param {WireTrack} wire
   * @returns {TrackInfo}
   */
  setTrack(wire) {
    const info = {
      id: wire.track,
      kind: wire.kind,
      source: wire.source,
      label: wire.label ?? '',
      codec: wire.codec,
      muted: wire.muted,
      held: wire.held,
      encryption: wire.encryption ?? null,
      mediaTrack: this.tracks.get(wire.track)?.mediaTrack ?? null,
      wish: this.tracks.get(wire.track)?.wish,
    };
    this.tracks.set(wire.track, info);
    return info;
  }
}

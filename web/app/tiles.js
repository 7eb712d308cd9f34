// @ts-check
import { byId, el, icon, initials, tint } from './dom.js';
import { Sizes } from './sizes.js';

/**
 * @import { Participant, Room } from '../sdk/caside.js'
 * @import { TrackInfo } from '../sdk/participant.js'
 *
 * @typedef {{label: string, act: () => void}} MenuItem
 */

const GAP = 12;
const MIN_TILE = 150;
/** Cameras are 16:9; on a narrow screen a squarer cut shows faces larger. */
const WIDE = [16 / 9];
const NARROW = [4 / 3, 1, 3 / 4];

/** One picture: a person, or what they share. */
export class Tile {
  /** @readonly */ element;
  #video = el('video', { playsinline: true, autoplay: true });
  #avatar = el('span', { class: 'avatar', 'aria-hidden': 'true' });
  #who = el('span', { class: 'who' });
  #bars = el('span', { class: 'bars', role: 'img', hidden: true }, el('i'), el('i'), el('i'));
  #note = el('span', { class: 'pill warn note', hidden: true });
  /** @type {MediaStreamTrack | null} */ #track = null;

  /**
   * @param {string} participantId
   * @param {string} source
   * @param {boolean} isLocal
   */
  constructor(participantId, source, isLocal) {
    this.#video.muted = true; // Sound has its own elements; a muted picture may always start by itself.
    if (isLocal && source === 'camera') this.#video.classList.add('mirrored');
    this.element = el(
      'article',
      { class: 'tile no-video', 'data-testid': 'tile', 'data-participant': participantId, 'data-source': source, 'data-local': isLocal },
      this.#video, this.#avatar, this.#note,
      el('div', { class: 'tag' }, icon('mic-off'), this.#who, this.#bars),
    );
  }

  /** @param {MediaStreamTrack | null} track */
  set track(track) {
    if (track === this.#track) return;
    const before = this.#track;
    this.#track = track;
    if (before && track) {
      this.#succeed(track);
      return;
    }
    this.#video.srcObject = track && new MediaStream([track]);
    if (track) this.#video.play().catch(() => {});
  }

  /**
   * Shows another track in place of one that is shown: from its first picture on, so that nothing flickers.
   *
   * @param {MediaStreamTrack} track
   */
  #succeed(track) {
    const next = /** @type {HTMLVideoElement} */ (this.#video.cloneNode());
    next.muted = true;
    next.srcObject = new MediaStream([track]);
    next.addEventListener('loadeddata', () => {
      if (track !== this.#track) return;
      this.#video.replaceWith(next);
      this.#video.srcObject = null;
      this.#video = next;
    }, { once: true });
    next.play().catch(() => {});
  }

  /** @param {boolean} visible */
  set showsVideo(visible) {
    this.element.classList.toggle('no-video', !visible);
  }

  /** @param {Participant} participant @param {{muted: boolean, own: string}} more */
  describe(participant, { muted, own }) {
    const { element } = this;
    const screen = element.dataset.source === 'screen';
    const name = participant.displayName || 'Guest';
    const label = participant.isLocal ? own : screen ? `${name}’s screen` : name;
    this.#who.textContent = label;
    this.#avatar.textContent = initials(name);
    this.#avatar.style.background = tint(name);
    element.setAttribute('aria-label', [label, muted ? 'muted' : '', participant.speaking ? 'speaking' : ''].filter(Boolean).join(', '));
    element.classList.toggle('muted', muted && !screen);
    element.classList.toggle('speaking', participant.speaking && !screen);
    this.#note.hidden = participant.connection !== 'lost' || screen;
    this.#note.textContent = 'Reconnecting…';
    const quality = participant.connection === 'lost' ? 'lost' : participant.quality;
    this.#bars.hidden = quality === null || screen;
    this.#bars.dataset.quality = quality ?? '';
    const words = `Connection: ${quality}${participant.qualityCause ? ` (${participant.qualityCause})` : ''}`;
    this.#bars.title = words;
    this.#bars.setAttribute('aria-label', words);
  }

  /** @param {MenuItem[]} items */
  set menu(items) {
    const before = this.element.querySelector('.menu');
    if (items.length === 0) {
      before?.remove();
      return;
    }
    const names = items.map(({ label }) => label).join();
    if (before instanceof HTMLElement && before.dataset.items === names) return;
    before?.remove();
    const menu = el('details', { class: 'menu', 'data-items': names }, el('summary', { 'aria-label': `Actions for ${this.#who.textContent}` }, icon('more')));
    const close = () => (menu.open = false);
    menu.append(
      el('div', { class: 'menu-items' }, ...items.map(({ label, act }) => el('button', { type: 'button', onclick: () => (close(), act()) }, label))),
    );
    menu.addEventListener('focusout', ({ relatedTarget }) => {
      if (relatedTarget instanceof Node && !menu.contains(relatedTarget)) close();
    });
    this.element.append(menu);
  }

  remove() {
    this.track = null;
    this.element.remove();
  }
}

/** Every tile of a call, laid out as large as they go. */
export class Tiles {
  /** @type {Room} */ #room;
  /** @type {(participant: Participant) => MenuItem[]} */ #menuOf;
  /** @type {Map<string, Tile>} */ #tiles = new Map();
  #root = byId('tiles');
  #featured = el('div', { class: 'featured' });
  #strip = el('div', { class: 'strip' });
  #observer = new ResizeObserver(() => this.#layout());
  /** @type {Sizes} */ #sizes;

  /**
   * @param {Room} room
   * @param {(participant: Participant) => MenuItem[]} menuOf what one may do to them
   */
  constructor(room, menuOf) {
    this.#room = room;
    this.#menuOf = menuOf;
    this.#sizes = new Sizes(room);
    this.#root.replaceChildren(this.#featured, this.#strip);
    this.#observer.observe(this.#root);
  }

  /** Brings the tiles to what the room is now. */
  render() {
    const room = this.#room;
    /** @type {Set<string>} */
    const wanted = new Set();
    for (const participant of room.participants.values()) {
      this.#renderPerson(participant, wanted);
      for (const info of participant.tracks.values()) {
        if (info.kind !== 'video' || info.source === 'camera' || !info.mediaTrack || info !== participant.track(info.source)) continue;
        const tile = this.#tile(participant, info.source, wanted, this.#featured);
        tile.track = info.mediaTrack;
        tile.showsVideo = !info.muted && !info.held;
        this.#sizes.watch(tile.element, this.#forwarded(info));
        tile.describe(participant, { muted: false, own: '' });
      }
    }
    this.#renderSelf(wanted);
    for (const [key, tile] of [...this.#tiles]) {
      if (wanted.has(key)) continue;
      tile.remove();
      this.#tiles.delete(key);
    }
    this.#layout();
  }

  close() {
    this.#observer.disconnect();
    this.#sizes.close();
    for (const tile of this.#tiles.values()) tile.remove();
    this.#root.replaceChildren();
  }

  /**
   * @param {Participant} participant
   * @param {Set<string>} wanted
   */
  #renderPerson(participant, wanted) {
    const tile = this.#tile(participant, 'camera', wanted, this.#strip);
    const camera = participant.track('camera');
    const microphone = participant.track('microphone');
    tile.track = camera?.mediaTrack ?? null;
    tile.showsVideo = camera !== undefined && camera.mediaTrack !== null && !camera.muted && !camera.held;
    this.#sizes.watch(tile.element, camera ? this.#forwarded(camera) : null);
    tile.describe(participant, { muted: !microphone || microphone.muted || microphone.held, own: '' });
    tile.menu = this.#menuOf(participant);
  }

  /**
   * The id of a track that the SFU sends us.
   *
   * @param {TrackInfo} info
   */
  #forwarded(info) {
    return this.#room.mode === 'sfu' && info.mediaTrack && !info.id.startsWith('p2p:') ? info.id : null;
  }

  /** @param {Set<string>} wanted */
  #renderSelf(wanted) {
    const room = this.#room;
    const self = room.localParticipant;
    const tile = this.#tile(self, 'camera', wanted, this.#strip);
    const camera = room.localTrack('camera')?.mediaTrack ?? null;
    const microphone = room.localTrack('microphone');
    tile.track = camera;
    tile.showsVideo = camera !== null;
    tile.describe(self, { muted: !microphone || microphone.muted, own: 'You' });
    this.#strip.append(tile.element);
    const screen = room.localTrack('screen')?.mediaTrack;
    if (!screen) return;
    const shared = this.#tile(self, 'screen', wanted, this.#strip);
    shared.track = screen;
    shared.showsVideo = true;
    shared.describe(self, { muted: false, own: 'Your screen' });
  }

  /**
   * @param {Participant} participant
   * @param {string} source
   * @param {Set<string>} wanted
   * @param {HTMLElement} place
   */
  #tile({ id, isLocal }, source, wanted, place) {
    const key = `${id}/${source}`;
    wanted.add(key);
    let tile = this.#tiles.get(key);
    if (!tile) {
      tile = new Tile(id, source, isLocal);
      this.#tiles.set(key, tile);
      place.append(tile.element);
    }
    return tile;
  }

  #layout() {
    const root = this.#root;
    const spotlight = this.#featured.childElementCount > 0;
    root.classList.toggle('spotlight', spotlight);
    const { clientWidth: width, clientHeight: height } = root;
    const count = this.#strip.childElementCount;
    if (spotlight || count === 0 || width === 0) {
      root.style.removeProperty('--aspect');
      root.style.removeProperty('--tile-width');
      return;
    }
    const { tileWidth, aspect } = bestGrid(count, width, height);
    root.style.setProperty('--tile-width', `${Math.floor(tileWidth)}px`);
    root.style.setProperty('--aspect', String(aspect));
  }
}

/**
 * The width and shape that make the tiles largest.
 *
 * @param {number} count
 * @param {number} width px
 * @param {number} height px
 */
export function bestGrid(count, width, height) {
  let best = { tileWidth: MIN_TILE, aspect: 16 / 9, area: 0 };
  for (const aspect of width < height * 0.9 ? NARROW : WIDE) {
    for (let columns = 1; columns <= count; columns++) {
      const rows = Math.ceil(count / columns);
      const byWidth = (width - GAP * (columns - 1)) / columns;
      const byHeight = ((height - GAP * (rows - 1)) / rows) * aspect;
      const tileWidth = Math.min(byWidth, Math.max(byHeight, Math.min(MIN_TILE, byWidth)));
      const area = tileWidth * (tileWidth / aspect);
      if (area > best.area) best = { tileWidth, aspect, area };
    }
  }
  return best;
}

// @ts-check
/**
 * @import { Room } from '../sdk/caside.js'
 *
 * @typedef {{element: HTMLElement, track: string, width: number, height: number, visible: boolean, told: string}} Shown
 */

/** Tiles move about while people come and go: only what lasts is asked for. */
const SETTLE_MS = 300;
/** Sizes are rounded up to this many pixels, so that a pixel more or less is no change. */
const STEP = 40;

/** Asks for each picture in the size in which it is shown, and for none that is out of sight. */
export class Sizes {
  /** @type {Room} */ #room;
  /** @type {Map<Element, Shown>} */ #shown = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  #resized = new ResizeObserver((entries) => {
    for (const { target, contentRect } of entries) {
      const shown = this.#shown.get(target);
      if (shown) Object.assign(shown, { width: contentRect.width, height: contentRect.height });
    }
    this.#soon();
  });
  #seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      const shown = this.#shown.get(target);
      if (shown) shown.visible = isIntersecting;
    }
    this.#soon();
  });
  #hidden = () => this.#soon();

  /** @param {Room} room */
  constructor(room) {
    this.#room = room;
    document.addEventListener('visibilitychange', this.#hidden);
  }

  /**
   * @param {HTMLElement} element
   * @param {string | null} track what it shows; null when nothing that the SFU sends
   */
  watch(element, track) {
    const shown = this.#shown.get(element);
    if (track === null) {
      if (shown) this.#forget(element);
      return;
    }
    if (shown) {
      if (shown.track !== track) Object.assign(shown, { track, told: '' });
    } else {
      this.#shown.set(element, { element, track, width: 0, height: 0, visible: true, told: '' });
      this.#resized.observe(element);
      this.#seen.observe(element);
    }
    this.#soon();
  }

  close() {
    clearTimeout(this.#timer);
    this.#resized.disconnect();
    this.#seen.disconnect();
    document.removeEventListener('visibilitychange', this.#hidden);
    this.#shown.clear();
  }

  /** @param {HTMLElement} element */
  #forget(element) {
    this.#shown.delete(element);
    this.#resized.unobserve(element);
    this.#seen.unobserve(element);
  }

  #soon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#tell(), SETTLE_MS);
  }

  #tell() {
    for (const shown of [...this.#shown.values()]) {
      if (!shown.element.isConnected) {
        this.#forget(shown.element);
        continue;
      }
      const wish = wishFor(shown);
      const told = JSON.stringify(wish);
      if (told === shown.told) continue;
      shown.told = told;
      // Refused, it is asked again when the size changes; the picture comes as it came.
      this.#room.subscribe(shown.track, wish).catch(() => {});
    }
  }
}

/**
 * @param {Shown} shown
 * @returns {{quality: 'high' | 'off', maxWidth?: number, maxHeight?: number}}
 */
function wishFor({ width, height, visible }) {
  if (document.hidden || !visible) return { quality: 'off' };
  if (width === 0 || height === 0) return { quality: 'high' };
  const pixels = (/** @type {number} */ side) => Math.ceil((side * (window.devicePixelRatio || 1)) / STEP) * STEP;
  return { quality: 'high', maxWidth: pixels(width), maxHeight: pixels(height) };
}

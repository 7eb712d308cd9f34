// @ts-check
import { byId, el } from './dom.js';

/** The others' sound: one element a track, and a button when the browser wants a click before it plays. */
export class Sounds {
  /** @type {Map<string, HTMLAudioElement>} */ #elements = new Map();
  #root = byId('sounds');
  #button = byId('sound');

  constructor() {
    this.#button.onclick = () => {
      this.#button.hidden = true;
      for (const element of this.#elements.values()) this.#play(element);
    };
  }

  /**
   * @param {string} id
   * @param {MediaStreamTrack} track
   */
  add(id, track) {
    let element = this.#elements.get(id);
    if (!element) {
      element = el('audio', { autoplay: true });
      this.#elements.set(id, element);
      this.#root.append(element);
    }
    element.srcObject = new MediaStream([track]);
    this.#play(element);
  }

  /** @param {string} id */
  remove(id) {
    const element = this.#elements.get(id);
    if (!element) return;
    element.srcObject = null;
    element.remove();
    this.#elements.delete(id);
  }

  close() {
    for (const id of [...this.#elements.keys()]) this.remove(id);
    this.#button.hidden = true;
  }

  /** @param {HTMLAudioElement} element */
  #play(element) {
    element.play().catch((thrown) => {
      if (thrown instanceof DOMException && thrown.name === 'NotAllowedError') this.#button.hidden = false;
    });
  }
}

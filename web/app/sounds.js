// @ts-check
import { byId, el } from './dom.js';

/** The others' sound: one element a source, and a button when the browser wants a click before it plays. */
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
   * Plays a track in place of the one that came from there before.
   *
   * @param {string} id participant and source
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

  /**
   * @param {string} id
   * @param {MediaStreamTrack} [track] only if it is this one that plays
   */
  remove(id, track) {
    const element = this.#elements.get(id);
    const playing = /** @type {MediaStream | null | undefined} */ (element?.srcObject)?.getAudioTracks()[0];
    if (!element || (track && track !== playing)) return;
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

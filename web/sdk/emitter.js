// @ts-check

/**
 * An `EventTarget` whose events are typed: `Events` maps an event's name to what its `detail` is.
 *
 * Listeners may be added with `addEventListener` (they get a `CustomEvent`) or with `on` (they get the detail).
 *
 * @template {Record<string, any>} Events
 */
export class Emitter extends EventTarget {
  /**
   * Calls `listener` with the detail of every event of this type.
   *
   * @template {keyof Events & string} K
   * @param {K} type
   * @param {(detail: Events[K]) => void} listener
   * @returns {() => void} takes the listener away again
   */
  on(type, listener) {
    const wrapped = (/** @type {Event} */ event) => listener(/** @type {CustomEvent} */ (event).detail);
    this.addEventListener(type, wrapped);
    return () => this.removeEventListener(type, wrapped);
  }

  /**
   * @template {keyof Events & string} K
   * @param {K} type
   * @param {Events[K]} detail
   */
  emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

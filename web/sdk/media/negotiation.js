// @ts-check

/**
 * Runs one negotiation at a time, and never two where one is enough: requests that come while one runs share the next.
 */
export class NegotiationQueue {
  /** @type {() => Promise<void>} */ #negotiate;
  /** @type {Promise<void> | null} */ #running = null;
  /** @type {Promise<void> | null} */ #next = null;

  /** @param {() => Promise<void>} negotiate brings the other side up to the wishes of the moment it starts */
  constructor(negotiate) {
    this.#negotiate = negotiate;
  }

  /** The negotiation that runs now. */
  get running() {
    return this.#running;
  }

  /** Resolves when a negotiation that began after this call is done; rejects when that one failed. */
  run() {
    if (this.#next) return this.#next;
    if (!this.#running) return this.#start();
    const start = () => this.#start();
    this.#next = this.#running.then(start, start);
    return this.#next;
  }

  #start() {
    this.#next = null;
    const running = this.#negotiate().finally(() => {
      if (this.#running === running) this.#running = null;
    });
    this.#running = running;
    return running;
  }
}

/** Runs tasks one after the other in the order they came. */
export class Serial {
  /** @type {Promise<unknown>} */ #tail = Promise.resolve();

  /**
   * @template T
   * @param {() => Promise<T>} task
   * @returns {Promise<T>}
   */
  run(task) {
    const result = this.#tail.then(task);
    this.#tail = result.catch(() => {});
    return result;
  }
}

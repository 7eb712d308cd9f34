// @ts-check
import { CasideError } from '../sdk/errors.js';

const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 15_000;

/** Asks for something again and again: at its pace while it is answered, ever more rarely while it is not, and not while nobody looks. */
export class Poll {
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  #running = false;
  #failures = 0;
  #turn = 0;

  /**
   * @param {() => Promise<void>} ask
   * @param {{every: number, failed: (error: CasideError, pauseMs: number) => boolean}} options `failed` says whether to go on
   */
  constructor(ask, { every, failed }) {
    this.ask = ask;
    this.every = every;
    this.failed = failed;
    this.looked = () => !document.hidden && this.now();
  }

  start() {
    this.#running = true;
    document.addEventListener('visibilitychange', this.looked);
    this.now();
  }

  stop() {
    this.#running = false;
    this.#turn++;
    clearTimeout(this.#timer);
    document.removeEventListener('visibilitychange', this.looked);
  }

  /** Asks at once; what an earlier question still brings is not waited for. */
  async now() {
    if (!this.#running) return;
    clearTimeout(this.#timer);
    const turn = ++this.#turn;
    let pause = this.every;
    try {
      await this.ask();
      this.#failures = 0;
    } catch (thrown) {
      if (turn !== this.#turn) return;
      const error = thrown instanceof CasideError ? thrown : new CasideError('internal', String(thrown));
      pause = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.#failures++);
      // Pages that lost their node at the same moment do not come back at the same moment.
      pause *= 0.75 + Math.random() / 2;
      if (!this.failed(error, pause)) return;
    }
    if (turn !== this.#turn || !this.#running) return;
    this.#timer = setTimeout(() => !document.hidden && this.now(), pause);
  }
}

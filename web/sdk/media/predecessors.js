// @ts-check
import { until } from './health.js';

/**
 * @import { Mesh } from './mesh.js'
 * @import { RemoteTracks } from './remote.js'
 * @import { SfuLink } from './sfu-link.js'
 */

/** Media that moves is carried twice for at most this long. */
const MOVE_MS = 5_000;

/** The links that carried media before the one that does now. They stay open until nothing of theirs is missed. */
export class Predecessors {
  /** @type {Set<SfuLink>} */ #links = new Set();
  /** @type {RemoteTracks} */ #remote;

  /** @param {RemoteTracks} remote */
  constructor(remote) {
    this.#remote = remote;
  }

  /** @param {SfuLink} link which negotiates no more */
  add(link) {
    link.retire();
    // A dead one is closed at once, but what it showed stays on show.
    if (link.broken) link.shut();
    this.#links.add(link);
  }

  /**
   * Waits until a link carries all that they and a mesh did, or for as long as is reasonable, and closes them.
   *
   * @param {SfuLink} link
   * @param {Mesh | null} mesh which the caller closes
   * @returns {Promise<boolean>} false if meanwhile another link took over, which is to see to all of them
   */
  async succeededBy(link, mesh) {
    const origins = [...[...this.#links].map(({ subscriber }) => subscriber), ...(mesh?.links.values() ?? [])];
    const carries = () => link.retired || (link.sending && !origins.some((origin) => this.#remote.carriedBy(origin)));
    if (origins.length > 0) await until(carries, [[link.publisher.connection, 'connectionstatechange'], [this.#remote, 'track']], MOVE_MS);
    if (link.retired) return false;
    this.close();
    return true;
  }

  /**
   * Whether an offer is for one of them: it was made before the SFU knew that another link takes over.
   *
   * @param {string} sdp
   */
  ownOffer(sdp) {
    return [...this.#links].some(({ subscriber }) => subscriber.isOf(sdp));
  }

  close() {
    for (const link of this.#links) link.close();
    this.#links.clear();
  }
}

// @ts-check

/** How often it is looked at what became of sound. */
const INTERVAL_MS = 1_000;

/** Sound waits longer once so much of it was made up while packets were asked for again. */
const NOTICEABLE = 0.004;
/** It waits for an answer, and for a gap to be noticed and what is sent again to have its turn. */
const ROUND_TRIPS = 1.5;
const BESIDE_MS = 80;
/** While that does not do it waits longer, for another answer or for one that its publisher is asked for. */
const STEP_MS = 60;
const MAX_MS = 400;
/** After so long without a request it waits no longer than the browser thinks right. */
const CALM_MS = 20_000;

/**
 * @typedef {object} Sound
 * @property {number} samples that were played
 * @property {number} concealed of them made up, silence left out
 * @property {number} asked packets asked for again
 * @property {number} roundTripMs
 */

/**
 * How long sound waits for lost packets that were asked for again. By itself a browser keeps it as short as what arrives in order
 * permits, so that where much is lost, the answers come too late.
 */
export class Patience {
  /** @type {number | null} */ #waitMs = null;
  #calmMs = 0;
  /** @type {Sound | null} */ #before = null;

  /**
   * @param {Sound} sound sums since the connection began
   * @param {number} passedMs since it was told last
   * @returns {number | null} how long to wait, in ms; null for as long as the browser likes
   */
  observe(sound, passedMs) {
    const before = this.#before ?? sound;
    this.#before = sound;
    const asked = sound.asked - before.asked;
    const concealed = (sound.concealed - before.concealed) / Math.max(1, sound.samples - before.samples);
    this.#calmMs = asked > 0 ? 0 : this.#calmMs + passedMs;
    if (this.#calmMs >= CALM_MS) this.#waitMs = null;
    else if (asked > 0 && concealed > NOTICEABLE) {
      const answer = Math.round(ROUND_TRIPS * sound.roundTripMs);
      const longer = this.#waitMs === null ? BESIDE_MS + answer : this.#waitMs + Math.max(STEP_MS, answer);
      this.#waitMs = Math.min(MAX_MS, longer);
    }
    return this.#waitMs;
  }
}

/** @param {RTCStatsReport} report */
export function soundOf(report) {
  const sound = { samples: 0, concealed: 0, asked: 0, roundTripMs: 0 };
  for (const it of report.values()) {
    if (it.type === 'inbound-rtp' && it.kind === 'audio') {
      sound.samples += it.totalSamplesReceived ?? 0;
      sound.concealed += (it.concealedSamples ?? 0) - (it.silentConcealedSamples ?? 0);
      sound.asked += it.nackCount ?? 0;
    } else if (it.type === 'candidate-pair' && it.nominated) {
      sound.roundTripMs = Math.max(sound.roundTripMs, 1000 * (it.currentRoundTripTime ?? 0));
    }
  }
  return sound;
}

/**
 * Lets the sound of a connection wait as long as its path makes necessary, until it is closed.
 *
 * @param {RTCPeerConnection} connection that receives
 */
export function watchSound(connection) {
  if (!('jitterBufferTarget' in RTCRtpReceiver.prototype)) return;
  const patience = new Patience();
  let looked = performance.now();
  const timer = setInterval(async () => {
    if (connection.connectionState === 'closed') return clearInterval(timer);
    if (connection.connectionState !== 'connected') return;
    const report = await connection.getStats();
    // A page in the background is run less often.
    const now = performance.now();
    const target = patience.observe(soundOf(report), now - looked);
    looked = now;
    for (const receiver of connection.getReceivers()) {
      if (receiver.track.kind === 'audio' && receiver.jitterBufferTarget !== target) receiver.jitterBufferTarget = target;
    }
  }, INTERVAL_MS);
}

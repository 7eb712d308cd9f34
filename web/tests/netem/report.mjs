// One line a scenario.
import { estimate } from './call.mjs';

const ms = (value) => (value === undefined ? '' : value === null ? 'never' : `${value.toFixed(0)} ms`);
const kbps = (value) => (value === undefined ? '' : `${(value / 1000).toFixed(0)} kbit/s`);
const percent = (part) => `${(100 * part).toFixed(2)} %`;

/** Prints what was seen in a scenario. */
export function line(name, seen, { lower, higher, highest, estimate: estimated } = {}) {
  const heights = Object.entries(seen.heights).map(([height, count]) => `${height}: ${count}`);
  const parts = [
    `${seen.framesPerSecond.toFixed(1)} frames/s (${heights.join(', ')})`,
    `longest gap ${ms(seen.longestGapMs)}`,
    `${seen.freezes} freezes of ${seen.frozen.toFixed(2)} s`,
    `${seen.keyFrames} key frames`,
    `sound concealed ${percent(seen.concealed)}, ${seen.audioNacks} asked for again, ${ms(seen.audioDelayMs)} late`,
    `carried ${kbps(seen.carriedBps)}, lost ${percent(seen.lost)}, queued ${ms(seen.queuedMs.p95)}`,
    `estimate ${kbps(estimated ?? estimate(seen))}`,
    lower === undefined ? '' : `lower after ${ms(lower)}`,
    higher === undefined ? '' : `higher after ${ms(higher)}, highest after ${ms(highest)}`,
    `link late ${ms(seen.lateMs.p95)}, at most ${ms(seen.lateMs.max)}`,
  ];
  console.log(`${name}: ${parts.filter(Boolean).join('; ')}`);
}

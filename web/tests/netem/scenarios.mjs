// What links do to calls, and what is promised of calls over such links.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { estimate, firstPicture, observe, shows } from './call.mjs';
import { line } from './report.mjs';

const SECONDS = Number(process.env.CASIDE_NETEM_SECONDS ?? 20);
/** The heights of the three sizes. */
const [LOW, , HIGH] = [180, 360, 720];
/** A link without faults, as far as any is. */
const GOOD = { loss: 0, bursts: null, delay_ms: 10, jitter_ms: 0, rate: null };
const FAR = { delay_ms: 100 };
/** With a queue as short as that of a router that is meant for calls. */
const rate = (bits_per_second) => ({ bits_per_second, queue_ms: 300 });
/** One packet in twenty begins a burst of five, of which nine tenths are lost: 4 % in all. */
const BURSTS = { begin: 0.01, end: 0.2, loss: 0.9 };

const LOSSES = [
  ['5 % loss', { loss: 0.05 }, {}],
  ['15 % loss', { loss: 0.15 }, {}],
  ['bursts', { bursts: BURSTS }, {}],
  ['200 ms round trip', FAR, FAR],
  ['5 % loss, 200 ms round trip', { ...FAR, loss: 0.05 }, FAR],
  ['15 % loss, 200 ms round trip', { ...FAR, loss: 0.15 }, FAR],
];

const goesOn = (seen) => assert.ok(seen.longestGapMs < 1000, `a gap of ${seen.longestGapMs.toFixed(0)} ms`);
const sounds = (seen) => assert.ok(seen.concealed < 0.01, `${(100 * seen.concealed).toFixed(2)} % of the sound was made up`);
const near = (found, real) => assert.ok(found > 0.75 * real && found < 1.25 * real, `an estimate of ${found} for ${real} bit/s`);

/**
 * Makes the tests of a call with a bad link in it. `call` gives, once there is one, the `watcher`, the bad `link`, the `way`
 * that media takes over it, and how the path is `estimated`.
 */
export function scenarios(call) {
  const back = () => (call().way === 'down' ? 'up' : 'down');
  const set = (there, behind = {}) => call().link.set({ [call().way]: there, [back()]: behind });
  const watch = (seconds = SECONDS) => observe(call().watcher, seconds, call());
  /** The link as it is told to be, with the highest picture on show before. */
  const under = async (there, behind) => {
    await set(GOOD, GOOD);
    await shows(call().watcher, HIGH);
    await set({ ...GOOD, ...there }, { ...GOOD, ...behind });
  };

  for (const [name, there, behind] of LOSSES) {
    test(`${name}: pictures and sound go on`, async () => {
      await under(there, behind);
      const seen = await watch();
      line(`${call().way}: ${name}`, seen);
      goesOn(seen);
      sounds(seen);
    });
  }

  test('3 Mbit/s, then 300 kbit/s, then 2: a lower size at once, the highest again soon', async () => {
    const { watcher, way } = call();
    await under({ rate: rate(3_000_000) });
    const wide = await watch(SECONDS / 2);
    line(`${way}: 3 Mbit/s`, wide);

    const dropped = Date.now();
    await set({ rate: rate(300_000) });
    const narrow = await watch();
    const lower = await firstPicture(watcher, dropped, (height) => height < HIGH);
    line(`${way}: then 300 kbit/s`, narrow, { lower, estimate: estimate(narrow, 3) });

    const risen = Date.now();
    await set({ rate: rate(2_000_000) });
    const again = await watch();
    const higher = await firstPicture(watcher, risen, (height) => height > LOW);
    const highest = await firstPicture(watcher, risen, (height) => height === HIGH);
    line(`${way}: then 2 Mbit/s`, again, { higher, highest, estimate: estimate(again, 10) });

    for (const seen of [wide, narrow, again]) goesOn(seen);
    for (const seen of [wide, narrow, again]) sounds(seen);
    assert.ok(lower !== null && lower < 1000, `a lower size after ${lower} ms`);
    assert.ok(higher !== null && higher < 10_000, `a higher size after ${higher} ms`);
    near(estimate(narrow, 3), 300_000);
    near(estimate(again, 10), 2_000_000);
  });
}

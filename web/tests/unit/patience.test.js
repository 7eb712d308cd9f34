// @ts-check
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Patience, soundOf } from '../../sdk/media/patience.js';

/**
 * What is waited for after each second of a call in which so much was made up and asked for again.
 *
 * @param {{concealed: number, asked: number}[]} seconds
 */
function waits(seconds, roundTripMs = 100) {
  const patience = new Patience();
  const sound = { samples: 0, concealed: 0, asked: 0, roundTripMs };
  patience.observe({ ...sound }, 1000);
  return seconds.map(({ concealed, asked }) => {
    sound.samples += 48_000;
    sound.concealed += concealed * 48_000;
    sound.asked += asked;
    return patience.observe({ ...sound }, 1000);
  });
}

const good = { concealed: 0, asked: 0 };
const repaired = { concealed: 0, asked: 5 };
const bad = { concealed: 0.02, asked: 5 };

describe('how long sound waits', () => {
  test('is the browser’s choice while nothing is made up, or nothing was asked for', () => {
    assert.deepEqual(waits([good, repaired, { concealed: 0.5, asked: 0 }]), [null, null, null]);
  });

  test('is longer once answers come too late, and longer while they still do', () => {
    assert.deepEqual(waits([bad, repaired, bad, bad]), [230, 230, 380, 400]);
    assert.deepEqual(waits([bad, bad, bad], 20), [110, 170, 230]);
    assert.deepEqual(waits([bad, bad], 500), [400, 400], 'within bounds');
  });

  test('is the browser’s choice again after a while without a request', () => {
    const seen = waits([bad, ...Array(20).fill(good), bad]);
    assert.deepEqual(seen.slice(18), [230, 230, null, 230]);
  });

  test('is read from what the browser counts, in all tracks of sound', () => {
    const audio = { type: 'inbound-rtp', kind: 'audio', totalSamplesReceived: 100, concealedSamples: 9, silentConcealedSamples: 4, nackCount: 2 };
    const report = new Map(
      [audio, audio, { ...audio, kind: 'video' }, { type: 'candidate-pair', nominated: true, currentRoundTripTime: 0.05 }].map((it, key) => [key, it]),
    );
    assert.deepEqual(soundOf(/** @type {any} */ (report)), { samples: 200, concealed: 10, asked: 4, roundTripMs: 50 });
  });
});

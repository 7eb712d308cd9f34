// A picture that flashes and a sound that beeps at the same moments, and how far apart they are in a file.
import { run } from './harness.mjs';

/** Replaces a page's camera and microphone by a white flash and a beep of 100 ms each second. */
export async function flashAndBeep(page) {
  await page.evaluate(async () => {
    const canvas = Object.assign(document.createElement('canvas'), { width: 320, height: 240 });
    const paint = canvas.getContext('2d');
    const audio = new AudioContext();
    await audio.resume();
    const oscillator = audio.createOscillator();
    oscillator.frequency.value = 1000;
    const gain = audio.createGain();
    gain.gain.value = 0;
    const out = audio.createMediaStreamDestination();
    oscillator.connect(gain).connect(out);
    oscillator.start();
    // Both are driven by one timer, so that they are as simultaneous as a page can make them.
    let lit = false;
    let frame = 0;
    globalThis.flashTimer = setInterval(() => {
      const on = audio.currentTime % 1 < 0.1;
      if (on !== lit) {
        lit = on;
        gain.gain.setValueAtTime(on ? 0.5 : 0, audio.currentTime);
      }
      paint.fillStyle = on ? '#fff' : '#000';
      paint.fillRect(0, 0, 320, 240);
      paint.fillStyle = '#888';
      paint.fillRect((frame++ * 4) % 320, 230, 8, 8);
    }, 10);
    const picture = canvas.captureStream(30).getVideoTracks()[0];
    const sound = out.stream.getAudioTracks()[0];
    const { room } = globalThis.caside;
    // The page publishes its own two after it has joined; these take their places.
    while (room.media.locals.filter(({ id }) => id !== null).length < 2) await new Promise((done) => setTimeout(done, 20));
    await room.publish({ tracks: [{ track: picture, source: 'camera' }, { track: sound, source: 'microphone' }] });
  });
}

/**
 * How early and how late sound may be for nobody to notice (ITU-R BT.1359-1).
 *
 * How exactly a recorder keeps what a sender says is tested where the truth is known (`media/tests/it/record/flash.rs`). Here the
 * page has a skew of its own: its sound waits in the browser between its making and the packet whose sending a sender report
 * tells of, 0 to 70 ms, another in each call on a busy machine, which MediaRecorder in the page does not see.
 */
export const NOTICED_MS = { early: -45, late: 125 };

/** The median of (beep − nearest flash) over a file, in milliseconds: more than 0 where the sound is late. */
export async function flashOffsetMs(file) {
  const flashes = rises(await series(file, ['-map', '0:v', '-vf', print('signalstats', 'signalstats.YAVG')]), 120);
  const sound = 'aresample=48000,asetnsamples=480,astats=metadata=1:reset=1';
  const beeps = rises(await series(file, ['-map', '0:a', '-af', print(sound, 'astats.Overall.RMS_level', 'a')]), -30);
  const offsets = beeps
    .map((beep) => flashes.map((flash) => (beep - flash) * 1000).reduce((a, b) => (Math.abs(a) < Math.abs(b) ? a : b)))
    .sort((a, b) => a - b);
  if (flashes.length < 5 || offsets.length < 5) throw new Error(`${flashes.length} flashes and ${offsets.length} beeps`);
  return offsets[Math.floor(offsets.length / 2)];
}

/** A filter that measures, followed by one that prints what it measured. */
function print(measure, key, media = '') {
  return `${measure},${media}metadata=print:key=lavfi.${key}:file=-`;
}

/** What ffmpeg printed of each frame, as [seconds, value]. */
async function series(file, filter) {
  const text = await run('ffmpeg', ['-v', 'error', '-i', file, ...filter, '-f', 'null', '-']);
  const frames = text.matchAll(/pts_time:(\S+)\s+lavfi\.\S+=(\S+)/g);
  return Array.from(frames, ([, time, value]) => [Number(time), value === '-inf' ? -200 : Number(value)]);
}

/** The times at which a series rises above a level. */
function rises(series, level) {
  const times = [];
  for (let i = 1; i < series.length; i++) {
    if (series[i - 1][1] <= level && series[i][1] > level) times.push(series[i][0]);
  }
  return times;
}

// A call over links: one page publishes, others watch, and what they saw is measured.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after } from 'node:test';
import { run, until } from '../e2e/harness.mjs';
import { metric } from './net.mjs';

const FRAME_RATE = 15;

let material;

/** A camera whose pictures cost as many bits as real ones, and a voice that never rests: Chromium's own cost and say little. */
function devices() {
  material ??= (async () => {
    const dir = await mkdtemp(path.join(tmpdir(), 'caside-netem-'));
    after(() => rm(dir, { recursive: true, force: true }));
    const [video, audio] = [path.join(dir, 'camera.y4m'), path.join(dir, 'voice.wav')];
    const picture = `testsrc2=size=1280x720:rate=${FRAME_RATE},noise=alls=12:allf=t`;
    await run('ffmpeg', ['-v', 'error', '-f', 'lavfi', '-i', picture, '-t', '4', '-pix_fmt', 'yuv420p', video]);
    const voice = "aevalsrc='(0.2*sin(2*PI*180*t)+0.1*sin(2*PI*370*t))*(0.6+0.4*sin(2*PI*3*t))+0.02*random(0)':s=48000";
    await run('ffmpeg', ['-v', 'error', '-f', 'lavfi', '-i', voice, '-t', '10', '-ac', '1', audio]);
    return [`--use-file-for-fake-video-capture=${video}`, `--use-file-for-fake-audio-capture=${audio}`];
  })();
  return material;
}

/** A page beyond a link that is in the room. */
async function join(node, link, room, options) {
  const chromium = await link.browser(node, ...(await devices()));
  const page = await chromium.newPage();
  page.on('pageerror', (error) => console.error(error.message));
  await page.goto(new URL('/docs', node.url).href);
  await page.evaluate(
    async ([token, name, how]) => {
      const { Caside } = await import('/sdk/caside.js');
      const client = new Caside();
      await client.connect({ token });
      // Every picture that is shown: when, and how high it is.
      globalThis.pictures = [];
      globalThis.room = await client.join(name, how);
      globalThis.room.on('track', ({ track }) => {
        const element = document.createElement(track.kind);
        Object.assign(element, { autoplay: true, srcObject: new MediaStream([track]) });
        document.documentElement.append(element);
        if (track.kind !== 'video') return;
        const shown = (_, { presentationTime, height }) => {
          globalThis.pictures.push([performance.timeOrigin + presentationTime, height]);
          element.requestVideoFrameCallback(shown);
        };
        element.requestVideoFrameCallback(shown);
      });
    },
    [node.token, room, options],
  );
  return { page, link, close: () => chromium.close() };
}

/** Publishes a camera of 1280 × 720 in three sizes, and a microphone. */
export const publish = (node, link, room) =>
  join(node, link, room, {
    displayName: 'Publisher',
    publish: {
      camera: { width: 1280, height: 720, frameRate: FRAME_RATE },
      microphone: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
    },
  });

export const watch = (node, link, room) => join(node, link, room, { displayName: 'Watcher' });

/** What a page has received so far. */
async function received({ page }) {
  return page.evaluate(async () => {
    const report = await globalThis.room.media.subscribeConnection.getStats();
    const of = (kind) => [...report.values()].find((it) => it.type === 'inbound-rtp' && it.kind === kind) ?? {};
    const [video, audio] = [of('video'), of('audio')];
    return {
      decoded: video.framesDecoded ?? 0,
      keyFrames: video.keyFramesDecoded ?? 0,
      freezes: video.freezeCount ?? 0,
      frozen: video.totalFreezesDuration ?? 0,
      videoLost: video.packetsLost ?? 0,
      samples: audio.totalSamplesReceived ?? 0,
      concealed: (audio.concealedSamples ?? 0) - (audio.silentConcealedSamples ?? 0),
      audioNacks: audio.nackCount ?? 0,
      bufferDelay: audio.jitterBufferDelay ?? 0,
      emitted: audio.jitterBufferEmittedCount ?? 0,
    };
  });
}

/** Waits until a page shows pictures of this height. */
export function shows({ page }, height, ms = 60_000) {
  return until(`a picture of ${height} lines`, () => page.evaluate((lines) => globalThis.pictures.at(-1)?.[1] === lines, height), ms);
}

/** The time of the first picture after `since` of which `test` is true, in ms after it; null while there is none. */
export async function firstPicture({ page }, since, test) {
  const pictures = await page.evaluate((from) => globalThis.pictures.filter(([at]) => at >= from), since);
  const found = pictures.find(([, height]) => test(height));
  return found ? found[0] - since : null;
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** What the node makes of the path to its only receiver, in bit/s. */
export const estimateOfNode = (node) => () => metric(node, 'caside_media_estimate_bits_per_second');

/** What a publisher's browser makes of its path, in bit/s. */
export const estimateOfPage = ({ page }) => () =>
  page.evaluate(async () => {
    const report = await globalThis.room.media.publishConnection.getStats();
    return [...report.values()].find((it) => it.type === 'candidate-pair' && it.nominated)?.availableOutgoingBitrate ?? 0;
  });

/**
 * Watches a page for so long, and tells what it saw, what the bad link carried one way (`up` or `down`), and what was
 * estimated of that.
 */
export async function observe(watcher, seconds, { link, way, estimated }) {
  const since = Date.now();
  const [before, carriedBefore] = await Promise.all([received(watcher), link.set()]);
  const estimates = [];
  while (Date.now() < since + seconds * 1000) {
    estimates.push([Date.now() - since, await estimated()]);
    await pause(200);
  }
  const [after, carried] = await Promise.all([received(watcher), link.set()]);
  const end = Date.now();
  const pictures = await watcher.page.evaluate((from) => globalThis.pictures.filter(([at]) => at >= from), since);
  // What was shown before counts for the first gap, and what is not shown yet for the last.
  const times = [since, ...pictures.map(([at]) => at).filter((at) => at <= end), end];
  const gaps = times.slice(1).map((at, place) => at - times[place]);
  const heights = {};
  for (const [, height] of pictures) heights[height] = (heights[height] ?? 0) + 1;
  const passedBits = 8 * (carried[way].passed.bytes - carriedBefore[way].passed.bytes);
  return {
    seconds: (end - since) / 1000,
    framesPerSecond: (after.decoded - before.decoded) / ((end - since) / 1000),
    longestGapMs: Math.max(...gaps),
    freezes: after.freezes - before.freezes,
    frozen: after.frozen - before.frozen,
    keyFrames: after.keyFrames - before.keyFrames,
    heights,
    concealed: (after.concealed - before.concealed) / Math.max(1, after.samples - before.samples),
    audioDelayMs: (1000 * (after.bufferDelay - before.bufferDelay)) / Math.max(1, after.emitted - before.emitted),
    audioNacks: after.audioNacks - before.audioNacks,
    estimates,
    carriedBps: (1000 * passedBits) / (carried.at_ms - carriedBefore.at_ms),
    queuedMs: carried[way].queued_ms,
    lateMs: carried[way].late_ms,
    lost: lostPart(carriedBefore[way], carried[way]),
  };
}

/** What part of the packets did not pass. */
function lostPart(before, after) {
  const of = (it) => it.lost + it.lost_in_bursts + it.overflowed;
  return (of(after) - of(before)) / Math.max(1, after.offered.packets - before.offered.packets);
}

/** The median of the estimates from one second of an observation to another. */
export function estimate({ estimates }, from = 0, to = Infinity) {
  const values = estimates.filter(([at]) => at >= from * 1000 && at < to * 1000).map(([, value]) => value);
  return values.sort((a, b) => a - b)[values.length >> 1];
}

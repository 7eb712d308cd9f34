// Layers in real Chromium: what a receiver asks for, and what a publisher need not send.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Node, browser, until } from './harness.mjs';

let node;
let chromium;
let token;

before(async () => {
  node = await Node.start();
  chromium = await browser();
  token = await node.login();
});

after(async () => {
  await chromium?.close();
  await node?.stop();
});

/** A page that joins by the SDK, without the demo's own wishes for sizes. */
async function join(context, room, options) {
  const page = await context.newPage();
  page.on('pageerror', (error) => console.error(error.message));
  await page.goto(new URL('/docs', node.url).href);
  await page.evaluate(
    async ([bearer, name, how]) => {
      const { Caside } = await import('/sdk/caside.js');
      const client = new Caside();
      await client.connect({ token: bearer });
      globalThis.room = await client.join(name, how);
    },
    [token, room, options],
  );
  return page;
}

/** Publishes a camera of 1280 × 720; few frames, for three encoders share two cores with everything else. */
const publisher = (context, room, video = {}) =>
  join(context, room, { displayName: 'Publisher', video, publish: { camera: { width: 1280, height: 720, frameRate: 15 } } });

const watcher = (context, room) => join(context, room, { displayName: 'Watcher' });

/** What the watcher decodes. */
function picture(page) {
  return page.evaluate(async () => {
    const connection = globalThis.room.media.subscribeConnection;
    const report = await connection?.getStats();
    const mids = connection?.getTransceivers().filter((it) => it.currentDirection === 'recvonly').map(({ mid }) => mid);
    const video = [...(report?.values() ?? [])].find((s) => s.type === 'inbound-rtp' && s.kind === 'video' && mids.includes(s.mid));
    return video && { width: video.frameWidth ?? 0, frames: video.framesDecoded, freezes: video.freezeCount, frozen: video.totalFreezesDuration };
  });
}

/** What the publisher sends, by the width of each encoding that runs. */
function sent(page) {
  return page.evaluate(async () => {
    const report = await globalThis.room.media.publishConnection.getStats();
    const streams = [...report.values()].filter((s) => s.type === 'outbound-rtp' && s.kind === 'video');
    const rows = streams.map((s) => ({ rid: s.rid, active: s.active, width: s.frameWidth, frames: s.framesSent, mode: s.scalabilityMode, codec: report.get(s.codecId)?.mimeType }));
    return rows.sort((a, b) => (a.width ?? 0) - (b.width ?? 0));
  });
}

/** Asks for the publisher's picture in a quality, and waits for the width that it has. */
async function ask(page, how, width, source = 'camera') {
  let last;
  let asked;
  const start = Date.now();
  const what = `${JSON.stringify(how)} to be ${width} wide`;
  const probe = async () => {
    // A track that was published anew has another id, of which we hear in a moment.
    asked = await page.evaluate(
      async ([wish, which, before]) => {
        const track = [...globalThis.room.participants.values()].map((other) => other.track(which)).find(Boolean);
        if (track && track.id !== before) await globalThis.room.subscribe(track, wish);
        return track?.id;
      },
      [how, source, asked],
    );
    return (last = await picture(page))?.width === width;
  };
  await until(what, probe, 45_000).catch((error) => {
    throw new Error(`${error.message}; last ${JSON.stringify(last)}`);
  });
  console.log(`${JSON.stringify(how)}: ${width} wide after ${Date.now() - start} ms`);
  return last;
}

test('a receiver goes from low to high to low without a freeze', async (t) => {
  const context = await chromium.newContext();
  t.after(() => context.close());
  const sender = await publisher(context, 'simulcast');
  const page = await watcher(context, 'simulcast');
  await until('the first picture', async () => (await picture(page))?.frames > 0);
  assert.deepEqual((await sent(sender)).map(({ rid }) => rid).sort(), ['f', 'h', 'q']);
  await ask(page, { quality: 'high' }, 1280);
  const before = await ask(page, { quality: 'low' }, 320);
  await ask(page, { quality: 'medium' }, 640);
  await ask(page, { quality: 'high' }, 1280);
  await ask(page, { quality: 'high', maxWidth: 600, maxHeight: 340 }, 640);
  const end = await ask(page, { quality: 'low' }, 320);
  assert.ok(end.frames > before.frames);
  const frozen = end.frozen - before.frozen;
  console.log(`${end.freezes - before.freezes} freezes of ${frozen.toFixed(2)} s over five switches`);
  assert.ok(frozen < 3, `${frozen} s frozen`);
});

test('encodings that nobody watches are paused at the publisher, and come back', async (t) => {
  const context = await chromium.newContext();
  t.after(() => context.close());
  const sender = await publisher(context, 'dynacast');
  const page = await watcher(context, 'dynacast');
  await ask(page, { quality: 'high' }, 1280);
  const active = async () => Object.fromEntries((await sent(sender)).map((row) => [row.rid, row.active]));
  assert.deepEqual(await active(), { q: true, h: true, f: true });
  await ask(page, { quality: 'low' }, 320);
  await until('the upper encodings to pause', async () => {
    const { q, h, f } = await active();
    return q && !h && !f;
  });
  const framesOf = async (rid) => (await sent(sender)).find((row) => row.rid === rid).frames;
  const [q, f] = [await framesOf('q'), await framesOf('f')];
  await until('the lowest to go on', async () => (await framesOf('q')) > q + 10);
  assert.equal(await framesOf('f'), f, 'nothing is encoded that is not sent');
  await ask(page, { quality: 'high' }, 1280);
  assert.deepEqual(await active(), { q: true, h: true, f: true });
  await page.close();
  await until('all but the lowest to pause when nobody is left', async () => {
    const { q: low, h, f: full } = await active();
    return low && !h && !full;
  }, 30_000);
});

/** Publishes a camera of this width, or changes the one there is to it. */
const publishCamera = (page, width) =>
  page.evaluate((size) => globalThis.room.publish({ camera: { width: size, height: (size * 9) / 16, frameRate: 15 } }), width);

/** The widths of the encodings that run, smallest first. */
const widths = async (page) => (await sent(page)).filter(({ active, width }) => active && width).map(({ width }) => width);

/** Waits until the encodings that run are of these widths. */
async function encodes(page, expected) {
  let last;
  await until(`encodings of ${expected}`, async () => String((last = await widths(page))) === String(expected), 45_000).catch((error) => {
    throw new Error(`${error.message}; they are of ${last}`);
  });
}

test('a camera that is published again in another size goes out in the encodings of that size', async (t) => {
  const context = await chromium.newContext();
  t.after(() => context.close());
  const sender = await publisher(context, 'again');
  const page = await watcher(context, 'again');
  const again = (width) =>
    sender.evaluate(async (size) => {
      await globalThis.room.unpublish('camera');
      await globalThis.room.publish({ camera: { width: size, height: (size * 9) / 16, frameRate: 15 } });
    }, width);
  await ask(page, { quality: 'high' }, 1280);
  await again(320);
  await ask(page, { quality: 'high' }, 320);
  await encodes(sender, [320]);
  await again(640);
  await ask(page, { quality: 'high' }, 640);
  await ask(page, { quality: 'low' }, 320);
  await again(1280);
  await ask(page, { quality: 'high' }, 1280);
  await encodes(sender, [320, 640, 1280]);
  await again(320);
  await ask(page, { quality: 'high' }, 320);
  const mLines = await sender.evaluate(() => globalThis.room.media.publishConnection.getTransceivers().length);
  assert.equal(mLines, 3, 'the m-line of one size is used again for the like');
});

test('a camera that changes its size goes on in the encodings of that size', async (t) => {
  const context = await chromium.newContext();
  t.after(() => context.close());
  const sender = await publisher(context, 'changed');
  const page = await watcher(context, 'changed');
  await ask(page, { quality: 'high' }, 1280);
  const trackOf = () => page.evaluate(() => [...globalThis.room.participants.values()][0].track('camera').id);
  const track = await trackOf();
  await publishCamera(sender, 320);
  await ask(page, { quality: 'high' }, 320);
  await encodes(sender, [320]);
  await publishCamera(sender, 640);
  await ask(page, { quality: 'high' }, 640);
  assert.equal(await trackOf(), track, 'the m-line has room for it');
  await ask(page, { quality: 'low' }, 320);
});

test('a camera that grows beyond its encodings gets those of its size', async (t) => {
  const context = await chromium.newContext();
  t.after(() => context.close());
  const sender = await watcher(context, 'grown');
  const page = await watcher(context, 'grown');
  await publishCamera(sender, 320);
  await ask(page, { quality: 'high' }, 320);
  await publishCamera(sender, 1280);
  const settings = await sender.evaluate(() => globalThis.room.localTrack('camera').mediaTrack.getSettings());
  assert.deepEqual([settings.width, settings.height], [1280, 720], 'the browser held it at the size in which it ran');
  await ask(page, { quality: 'high' }, 1280);
  await encodes(sender, [320, 640, 1280]);
  await ask(page, { quality: 'low' }, 320);
});

test('a screen after a camera goes out whole, and for its sharpness', async (t) => {
  const context = await chromium.newContext();
  t.after(() => context.close());
  const sender = await publisher(context, 'screen');
  const page = await watcher(context, 'screen');
  await ask(page, { quality: 'low' }, 320);
  const hint = await sender.evaluate(async () => {
    await globalThis.room.unpublish('camera');
    const canvas = Object.assign(document.createElement('canvas'), { width: 1280, height: 720 });
    const brush = canvas.getContext('2d');
    setInterval(() => {
      brush.fillStyle = `hsl(${performance.now() / 10} 80% 50%)`;
      brush.fillRect(0, 0, 1280, 720);
    }, 100);
    const [track] = canvas.captureStream(10).getVideoTracks();
    await globalThis.room.publish({ tracks: [{ track, source: 'screen' }] });
    return track.contentHint;
  });
  assert.equal(hint, 'detail');
  await ask(page, { quality: 'low' }, 1280, 'screen');
  await encodes(sender, [1280]);
});

for (const codec of ['vp9', 'av1']) {
  test(`${codec} carries its sizes in one stream`, async (t) => {
    const context = await chromium.newContext();
    t.after(() => context.close());
    const sender = await publisher(context, codec, { codec });
    const page = await watcher(context, codec);
    await until('the first picture', async () => (await picture(page))?.frames > 0, 25_000);
    const streams = await sent(sender);
    assert.equal(streams.length, 1);
    assert.equal(streams[0].codec.toLowerCase(), `video/${codec}`);
    console.log(streams);
    assert.equal(streams[0].mode, 'L3T3_KEY');
    await ask(page, { quality: 'high' }, 1280);
    await ask(page, { quality: 'low' }, 320);
    const low = await picture(page);
    await until('frames to go on', async () => (await picture(page)).frames > low.frames + 10);
    await ask(page, { quality: 'medium' }, 640);
    await ask(page, { quality: 'high' }, 1280);
  });
}

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
    const report = await globalThis.room.media.subscribeConnection?.getStats();
    const video = [...(report?.values() ?? [])].find((s) => s.type === 'inbound-rtp' && s.kind === 'video');
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

/** Asks for the publisher's camera in a quality, and waits for the width that it has. */
async function ask(page, how, width) {
  await page.evaluate(async (wish) => {
    const [other] = globalThis.room.participants.values();
    await globalThis.room.subscribe(other.track('camera'), wish);
  }, how);
  let last;
  const start = Date.now();
  const what = `${JSON.stringify(how)} to be ${width} wide`;
  await until(what, async () => (last = await picture(page))?.width === width, 25_000).catch((error) => {
    throw new Error(`${error.message}; last ${JSON.stringify(last)}`);
  });
  console.log(`${JSON.stringify(how)}: ${width} wide after ${Date.now() - start} ms`);
  return last;
}

test('a receiver goes from low to high to low without a freeze', async () => {
  const context = await chromium.newContext();
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
  await context.close();
});

test('encodings that nobody watches are paused at the publisher, and come back', async () => {
  const context = await chromium.newContext();
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
  await context.close();
});

for (const codec of ['vp9', 'av1']) {
  test(`${codec} carries its sizes in one stream`, async () => {
    const context = await chromium.newContext();
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
    await context.close();
  });
}

// Calls through the SFU in real Chromium.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Node, browser, decodes, inbound, joinPage, median, picture, until } from './harness.mjs';

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

const SECONDS = Number(process.env.CASIDE_E2E_SECONDS ?? 30);

test('three pages see and hear each other; a late joiner and a reloaded page too', async () => {
  const context = await chromium.newContext({ viewport: { width: 1280, height: 800 } });
  const pages = [];
  for (const name of ['Ada', 'Grace', 'Edsger']) pages.push(await joinPage(context, node, { room: 'three', name, token }));
  await Promise.all(pages.map((page) => decodes(page, 2)));

  const before = await Promise.all(pages.map(inbound));
  await new Promise((resolve) => setTimeout(resolve, SECONDS * 1000));
  const after = await Promise.all(pages.map(inbound));
  for (const [index, rows] of after.entries()) {
    const videos = rows.filter((row) => row.kind === 'video');
    const sounds = rows.filter((row) => row.kind === 'audio');
    assert.equal(videos.length, 2);
    assert.equal(sounds.length, 2);
    for (const video of videos) {
      const earlier = before[index].find((row) => row.mid === video.mid);
      const rate = (video.frames - earlier.frames) / SECONDS;
      console.log(`receiver ${index} mid ${video.mid}: ${rate.toFixed(1)} frames/s, ${video.lost} lost, ${video.freezes} freezes`);
      assert.ok(rate >= 20, `${rate} frames/s`);
    }
    for (const sound of sounds) {
      const earlier = before[index].find((row) => row.mid === sound.mid);
      assert.ok(sound.energy > earlier.energy, 'sound is heard');
    }
  }
  await picture(pages[0], 'call-three');

  const late = await joinPage(context, node, { room: 'three', name: 'Late', token });
  await decodes(late, 3);
  await pages[1].reload();
  await pages[1].waitForFunction(() => globalThis.caside?.room, null, { timeout: 15_000 });
  await decodes(pages[1], 3);
  await until('the others to see the reloaded page', async () => {
    const rows = await inbound(pages[0]);
    return rows.filter((row) => row.kind === 'video').length >= 3;
  });
  assert.deepEqual(pages[0].errors, []);
  await context.close();
});

test('join to first decoded frame', async () => {
  const context = await chromium.newContext();
  const first = await joinPage(context, node, { room: 'speed', name: 'First', token });
  const times = [];
  for (let i = 0; i < 7; i++) {
    const page = await context.newPage();
    await page.goto(node.url);
    // From the page's own call of `join`, with the SDK loaded, to its first decoded frame.
    const ms = await page.evaluate(async ([bearer]) => {
      const { Caside } = await import('/sdk/caside.js');
      const client = new Caside();
      await client.connect({ token: bearer });
      const start = performance.now();
      const room = await client.join('speed', { displayName: 'Timer' });
      for (;;) {
        const report = await room.media.subscribeConnection?.getStats();
        for (const s of report?.values() ?? []) {
          if (s.type === 'inbound-rtp' && s.kind === 'video' && s.framesDecoded > 0) return performance.now() - start;
        }
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    }, [token]);
    times.push(ms);
    await page.close();
  }
  console.log(`join to first decoded frame: median ${median(times).toFixed(0)} ms of ${times.map((t) => t.toFixed(0))}`);
  assert.ok(times.every((t) => t < 10_000));
  assert.deepEqual(first.errors, []);
  await context.close();
});

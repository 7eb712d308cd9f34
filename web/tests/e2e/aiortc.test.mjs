// A client that nobody here wrote, in one room with Chromium.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Node, browser, decodes, inbound, joinPage, run, until } from './harness.mjs';

let node;
let chromium;

before(async () => {
  node = await Node.start();
  chromium = await browser();
});

after(async () => {
  await chromium?.close();
  await node?.stop();
});

test('aiortc and Chromium see and hear each other', async () => {
  const token = await node.login();
  const context = await chromium.newContext();
  const page = await joinPage(context, node, { room: 'interop', name: 'Chromium', token });
  const client = fileURLToPath(new URL('aiortc_client.py', import.meta.url));
  const [printed] = await Promise.all([
    run('python3', [client, node.url, token, 'interop', '12']),
    decodes(page, 1, 30_000).then(async () => {
      await until('sound of aiortc', async () => (await inbound(page)).some(({ kind, packets }) => kind === 'audio' && packets > 0));
      const before = await inbound(page);
      await new Promise((resolve) => setTimeout(resolve, 4000));
      for (const row of await inbound(page)) {
        const earlier = before.find((s) => s.mid === row.mid);
        if (row.kind === 'video') assert.ok(row.frames - earlier.frames >= 4 * 15, 'pictures of aiortc');
        else assert.ok(row.energy > earlier.energy, 'sound of aiortc');
      }
    }),
  ]);
  const received = JSON.parse(printed.trim().split('\n').at(-1));
  console.log('aiortc received', received);
  assert.ok(received.video >= 8 * 15, `${received.video} pictures of Chromium`);
  assert.ok(received.audio >= 8 * 40, `${received.audio} blocks of sound of Chromium`);
  assert.ok(received.peak > 1000, 'the sound is not silence');
  assert.deepEqual(page.errors, []);
});

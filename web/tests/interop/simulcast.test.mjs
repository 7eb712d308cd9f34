// Cameras in several sizes from one browser to another: the node knows the sizes, and a receiver is switched between them.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Node } from '../e2e/harness.mjs';
import { Party } from './party.mjs';

let node;
let token;

before(async () => {
  node = await Node.start();
  token = await node.login();
});

after(() => node?.stop());

const stacks = (process.env.INTEROP ?? 'chromium,firefox').split(',');

for (const publisher of stacks.filter((stack) => ['chromium', 'firefox'].includes(stack))) {
  for (const watcher of stacks.filter((stack) => ['chromium', 'firefox'].includes(stack))) {
    // Chromium with itself is what web/tests/e2e/layers.test.mjs is about.
    if (publisher === 'chromium' && watcher === 'chromium') continue;
    test(`${watcher} is switched between the sizes of ${publisher}`, async () => {
      const room = `simulcast-${publisher}-${watcher}`;
      const parties = [];
      try {
        const source = await Party.start(publisher, 'simulcast', `${node.url}/${room}`, token, 'VP8');
        parties.push(source);
        const sink = await Party.start(watcher, 'watch', `${node.url}/${room}`, token, 'VP8');
        parties.push(sink);
        await source.until('to send three sizes', (it) => String(Object.values(it.sent).sort((a, b) => a - b)) === '320,640,1280');
        const { items } = await node.json('GET', `/rooms/${room}/participants`, token);
        const [track] = items.flatMap((participant) => participant.tracks);
        assert.deepEqual(track.layers, ['q', 'h', 'f']);
        for (const [quality, width] of [['high', 1280], ['low', 320], ['medium', 640], ['high', 1280]]) {
          await sink.tell({ quality });
          await sink.until(`to see ${quality} quality`, (it) => it.width === width);
          const { frames } = sink;
          await sink.until(`to go on in ${quality} quality`, (it) => it.width === width && it.frames > frames + 10);
        }
      } finally {
        await Promise.all(parties.reverse().map((party) => party.end()));
      }
    });
  }
}

// Stacks that nobody here wrote, each with each: one publishes by WHIP, the others view by WHEP, codec by codec.
//
// What a stack cannot do is left out: aiortc has VP8 and H.264 alone; Debian's GStreamer has no RTP payloader for AV1; Firefox
// has H.264 by a plugin that it downloads. INTEROP names the stacks to try, separated by commas; all are the default.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Node } from '../e2e/harness.mjs';
import { Party, STACKS } from './party.mjs';

/**
 * What is left out beside that. Firefox 153 gets every frame of VP9 that GStreamer 1.22 makes, and decodes the key frames
 * alone; Chromium decodes all of the same stream.
 */
const UNSEEN = [['VP9', 'gstreamer', 'firefox']];
/** Pictures that a viewer must have decoded. */
const FRAMES = 30;

let node;
let token;

before(async () => {
  node = await Node.start();
  token = await node.login();
});

after(() => node?.stop());

const stacks = (process.env.INTEROP ?? Object.keys(STACKS).join(',')).split(',');

for (const codec of ['VP8', 'H264', 'VP9', 'AV1']) {
  const able = stacks.filter((stack) => STACKS[stack].codecs.includes(codec));
  for (const publisher of able) {
    const unseen = (viewer) => UNSEEN.some((it) => it[0] === codec && it[1] === publisher && it[2] === viewer);
    const viewers = able.filter((stack) => stack !== publisher && !unseen(stack));
    if (viewers.length === 0) continue;
    test(`${codec} of ${publisher} is seen by ${viewers.join(', ')}`, async () => {
      const room = `${codec}-${publisher}`.toLowerCase();
      const parties = [];
      try {
        const source = await Party.start(publisher, 'publish', `${node.url}/whip/${room}`, token, codec);
        parties.push(source);
        await source.until('to be connected', (it) => it.ready);
        for (const viewer of viewers) {
          const sink = await Party.start(viewer, 'view', `${node.url}/whep/${room}`, token, codec);
          parties.push(sink);
          await sink.until(`to see ${FRAMES} pictures`, (it) => it.frames >= FRAMES);
        }
        const { items } = await node.json('GET', `/rooms/${room}/participants`, token);
        const tracks = items.flatMap((participant) => participant.tracks);
        assert.equal(tracks.find((track) => track.kind === 'video').codec, codec);
      } finally {
        await Promise.all(parties.reverse().map((party) => party.end()));
      }
    });
  }
}

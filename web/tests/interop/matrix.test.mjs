// Stacks that nobody here wrote, each with each: one publishes by WHIP, the others view by WHEP, codec by codec.
//
// What a stack cannot do is left out: aiortc has VP8 and H.264 alone; Debian's GStreamer has no RTP payloader for AV1; Firefox
// has H.264 by a plugin that it downloads. INTEROP names the stacks to try, separated by commas; all are the default.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Node, until } from '../e2e/harness.mjs';
import { party as chromium } from './chromium_party.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
/**
 * What is left out beside that. Firefox 153 gets every frame of VP9 that GStreamer 1.22 makes, and decodes the key frames
 * alone; Chromium decodes all of the same stream.
 */
const UNSEEN = [['VP9', 'gstreamer', 'firefox']];
/** Pictures that a viewer must have decoded. */
const FRAMES = 30;

/** The codecs of each stack, and how it is started. */
const STACKS = {
  chromium: { codecs: ['VP8', 'H264', 'VP9', 'AV1'], start: chromium },
  firefox: { codecs: ['VP8', 'VP9', 'AV1'], start: program('python', 'firefox_party.py') },
  aiortc: { codecs: ['VP8', 'H264'], start: program('python', 'aiortc_party.py') },
  // GStreamer's bindings are the system's.
  gstreamer: { codecs: ['VP8', 'H264', 'VP9'], start: program('/usr/bin/python3', 'gstreamer_party.py') },
};

function program(interpreter, script) {
  return async (role, url, token, codec, say) => {
    const child = spawn(interpreter, [path.join(here, script), role, url, token, codec], { stdio: 'pipe' });
    const errors = [];
    createInterface({ input: child.stderr }).on('line', (line) => errors.push(line));
    createInterface({ input: child.stdout }).on('line', (line) => say(JSON.parse(line)));
    const exited = once(child, 'exit');
    exited.then(([code]) => code && say({ error: `${script} ended with ${code}\n${errors.slice(-20).join('\n')}` }));
    return async () => {
      child.stdin.end();
      const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
      await exited;
      clearTimeout(timer);
    };
  };
}

/** A stack's side of a call, and what it has said so far. */
class Party {
  static async start(stack, role, url, token, codec) {
    const party = new Party();
    Object.assign(party, { stack, role, ready: false, frames: 0 });
    party.end = await STACKS[stack].start(role, url, token, codec, (what) => Object.assign(party, what));
    return party;
  }

  async until(what, probe) {
    await until(`${this.stack} (${this.role}) ${what}`, () => {
      if (this.error) throw new Error(this.error);
      return probe(this);
    }, 45_000);
  }
}

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

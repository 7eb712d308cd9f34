// Bots that watch one camera over paths of different kinds: a bad path is its owner's own trouble.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { run } from '../e2e/harness.mjs';
import { Link, startNode } from './net.mjs';

const SECONDS = Number(process.env.CASIDE_NETEM_SECONDS ?? 20);
const EACH = 20;

let node;

before(async () => {
  node = await startNode();
});

after(() => node?.stop());

/** Bots beyond a link, each with an address of its own there; what they say, second by second. */
function crowd(link, ...options) {
  const network = `10.78.${link.number}.0`;
  const ready = (async () => {
    await run('ip', ['route', 'add', `${network}/24`, 'dev', `link${link.number}`]);
    await link.run('ip', ['route', 'add', 'local', `${network}/24`, 'dev', 'lo']);
  })();
  return ready.then(() => {
    const bots = path.join(path.dirname(process.env.CASIDE_BIN), 'caside-bots');
    const args = ['guests', '--at', new URL(node.url).host, '--token', node.token, '--network', network, ...options];
    const child = spawn('nsenter', [`--net=${link.namespace}`, bots, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
    const lines = [];
    createInterface({ input: child.stdout }).on('line', (line) => lines.push(JSON.parse(line)));
    const ended = new Promise((resolve) => child.on('exit', resolve));
    return { lines, ended, kill: () => child.kill() };
  });
}

const mean = (lines, key) => lines.reduce((sum, line) => sum + line[key], 0) / lines.length;

test('receivers on good paths get everything while others lose much', async () => {
  const [source, good, lossy, narrow] = await Promise.all([1, 2, 3, 4].map((seed) => Link.open({ seed })));
  for (const link of [source, good, lossy, narrow]) await link.set({ up: { delay_ms: 10 }, down: { delay_ms: 10 } });
  // A camera of about 1.2 Mbit/s, for longer than anybody watches.
  const publisher = await crowd(source, '--publishers', '1', '--packets', '4', '--seconds', String(SECONDS + 60));
  const watch = (link) => crowd(link, '--subscribers', String(EACH), '--seconds', String(SECONDS));
  const crowds = await Promise.all([good, lossy, narrow].map(watch));
  // All have joined over good paths; then two of the paths turn bad.
  const began = setInterval(async () => {
    if (!crowds.every(({ lines }) => lines.length > 1)) return;
    clearInterval(began);
    await lossy.set({ down: { loss: 0.15, delay_ms: 100 } });
    // A twentieth of what so many want.
    await narrow.set({ down: { rate: { bits_per_second: 1_200_000, queue_ms: 300 } } });
  }, 100);
  const codes = await Promise.all(crowds.map(({ ended }) => ended));
  publisher.kill();
  assert.deepEqual(codes, [0, 0, 0]);
  const [calm, losing, thin] = crowds.map(({ lines }) => lines.slice(4));
  for (const [name, lines] of [['good', calm], ['15 % loss', losing], ['1.2 Mbit/s for all', thin]]) {
    const [loss, p50, p99] = ['loss', 'delay_p50_ms', 'delay_p99_ms'].map((key) => mean(lines, key));
    console.log(
      `${EACH} bots, ${name}: ${mean(lines, 'packets').toFixed(0)} packets/s, lost ${(100 * loss).toFixed(2)} %, delay p50 ${p50.toFixed(0)} ms, p99 ${p99.toFixed(0)} ms`,
    );
  }
  assert.equal(mean(calm, 'loss'), 0);
  for (const bad of [losing, thin]) assert.ok(mean(bad, 'packets') < 0.9 * mean(calm, 'packets'), 'the bad paths were bad');
});

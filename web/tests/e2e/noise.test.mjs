// Bystanders beside a peer that says 5,000 messages a second and a storm of logins: what both are refused, and what those notice who
// are in other rooms.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { Client } from '../cluster/socket.mjs';
import { Node } from './harness.mjs';

const SECONDS = Number(process.env.NOISE_S ?? 6);
const PAIRS = 10;
const EVERY_MS = 50;

let node;
let admin;

before(async () => {
  node = await Node.start();
  admin = await node.login();
});

after(() => node?.stop());

/** A token for one room. */
async function token(user, room) {
  return (await node.json('POST', '/auth/token', admin, { user, room, role: 'participant', ttl_s: 600 })).token;
}

async function refused(reason) {
  const page = await (await fetch(new URL('/metrics', node.url))).text();
  return Number(new RegExp(`caside_refused_total\\{reason="${reason}"\\} (\\d+)`).exec(page)[1]);
}

/** Delays of what the pairs say to each other for a while, in ms. */
async function relayed(pairs) {
  const delays = [];
  for (const { receiver } of pairs) {
    receiver.heard = ({ type, payload }) => type === 'data' && delays.push(performance.now() - payload.value.at);
  }
  let sent = 0;
  const end = performance.now() + SECONDS * 1000;
  while (performance.now() < end) {
    for (const { sender, receiver } of pairs) {
      sender.say('data', { topic: 't', value: { at: performance.now(), text: 'x'.repeat(1000) }, to: receiver.id });
      sent += 1;
    }
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }
  const patience = Date.now() + 10_000;
  while (delays.length < sent && Date.now() < patience) await new Promise((resolve) => setTimeout(resolve, 20));
  delays.sort((a, b) => a - b);
  const at = (part) => delays[Math.min(delays.length - 1, Math.floor(part * delays.length))];
  return { sent, heard: delays.length, p50: at(0.5), p99: at(0.99) };
}

test('a noisy peer and a storm of logins are refused, and bystanders hear everything', { timeout: 120_000 }, async () => {
  const pairs = [];
  for (let n = 0; n < PAIRS; n++) {
    const room = `quiet-${n}`;
    const sender = await Client.open(node.url, await token(`sender-${n}`, room));
    const receiver = await Client.open(node.url, await token(`receiver-${n}`, room));
    await node.json('POST', '/rooms', admin, { id: room });
    await sender.join(room);
    await receiver.join(room);
    pairs.push({ sender, receiver });
  }
  await node.json('POST', '/rooms', admin, { id: 'noise' });
  const quiet = await relayed(pairs);
  const workerData = { url: node.url, token: await token('noisy', 'noise'), messages: 5000, logins: 200 };
  const noise = new Worker(new URL('./noise.mjs', import.meta.url), { workerData });
  const noisy = await relayed(pairs);
  noise.postMessage('stop');
  const [made] = await once(noise, 'message');
  const after = await relayed(pairs);
  const shown = ({ p50, p99 }) => `p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(2)} ms`;
  console.log(`quiet ${shown(quiet)}; with noise ${shown(noisy)}; quiet again ${shown(after)}; noise: ${JSON.stringify(made)}`);
  for (const { sent, heard } of [quiet, noisy, after]) assert.equal(heard, sent, 'bystanders hear everything');
  // What is beyond its rate is refused a hundred times a second, and then not read.
  assert.ok(made.messages > 1000 * SECONDS, JSON.stringify(made));
  assert.ok((await refused('messages_connection')) >= 100 * (SECONDS / 2));
  assert.ok(made.refused > 0 && made.refused >= made.logins - 25, JSON.stringify(made));
  assert.equal((await refused('logins_address')) + (await refused('requests_address')), made.refused);
  for (const pair of pairs) for (const client of Object.values(pair)) await client.close();
});

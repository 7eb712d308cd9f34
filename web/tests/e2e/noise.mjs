// The noise of noise.test.mjs, in a thread of its own: one peer that says far more than it may, and logins from one address.
import { parentPort, workerData } from 'node:worker_threads';
import { Client } from '../cluster/socket.mjs';

const { url, token, messages, logins } = workerData;
const TICK_MS = 10;
const sent = { messages: 0, closed: 0, logins: 0, refused: 0 };
let stopped = false;

parentPort.once('message', () => (stopped = true));

/** Calls `act` so often a second. */
async function often(rate, act) {
  const begin = performance.now();
  for (let n = 0; !stopped; ) {
    const due = Math.floor(((performance.now() - begin) / 1000) * rate);
    for (; n < due; n++) act();
    await new Promise((resolve) => setTimeout(resolve, TICK_MS));
  }
}

async function shout() {
  while (!stopped) {
    const peer = await Client.open(url, token);
    peer.heard = () => {};
    await peer.join('noise');
    const begin = performance.now();
    for (let n = 0; !stopped && peer.closed === undefined; ) {
      const due = Math.floor(((performance.now() - begin) / 1000) * messages);
      for (; n < due; n++, sent.messages++) peer.say('data', { topic: 'noise', value: 'x'.repeat(300) });
      await new Promise((resolve) => setTimeout(resolve, TICK_MS));
    }
    if (peer.closed !== undefined) sent.closed += 1;
    peer.cut();
  }
}

async function guess() {
  const body = JSON.stringify({ username: 'demo', password: 'a guess' });
  const headers = { 'content-type': 'application/json', 'x-forwarded-for': '203.0.113.9' };
  const pending = new Set();
  await often(logins, () => {
    if (pending.size > 64) return;
    const one = fetch(new URL('/login', url), { method: 'POST', headers, body })
      .then((answer) => {
        sent.logins += 1;
        if (answer.status === 429) sent.refused += 1;
        return answer.arrayBuffer();
      })
      .catch(() => {})
      .finally(() => pending.delete(one));
    pending.add(one);
  });
  await Promise.all(pending);
}

await Promise.all([shout(), guess()]);
parentPort.postMessage(sent);

// Nodes that stop in good order, one and then all of them, under calls and people who come.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { browser, mayTake } from '../e2e/harness.mjs';
import { Cluster, shown, token, until } from './harness.mjs';
import { Party, gaps, line, places, together } from './party.mjs';
import { Client } from './socket.mjs';

const LIMIT_MS = Number(process.env.LIMIT_MS ?? 1_000);
mayTake(15);

let cluster;
let chromium;

before(async () => {
  [cluster, chromium] = await Promise.all([Cluster.start(), browser()]);
});

after(async () => {
  await chromium?.close();
  await cluster?.stop();
});

/** Joins rooms through the balancer, one after the other, until it is told to stop; what failed. */
function joiner(rooms) {
  const outcome = { joined: 0, failed: [], stop: false };
  outcome.done = (async () => {
    for (let n = 0; !outcome.stop; n++) {
      try {
        const client = await Client.open(cluster.balancer.url, token(`joiner-${n}`));
        await client.join(rooms[n % rooms.length], { subscribe: 'manual' });
        outcome.joined++;
        await client.close();
      } catch (error) {
        outcome.failed.push(`${new Date().toISOString()} ${error.message}`);
      }
    }
  })();
  return outcome;
}

/** Two pages in a room, their sockets on two nodes, which the balancer finds others for. */
async function call(room, [one, two]) {
  const ada = await Party.join(chromium, cluster.balancer.at(one), { room, name: 'Ada', role: 'host' });
  const grace = await Party.join(chromium, cluster.balancer.at(two), { room, name: 'Grace' });
  await together([ada, grace], { forMs: 2_000 });
  return [ada, grace];
}

/** Nobody missed anything but for a moment. */
async function unharmed(parties, before, since, what) {
  await together(parties, { forMs: 1_000 });
  const measured = await gaps(parties, since);
  console.log(`${what}: ${measured.map(({ receiver, sender, ms }) => `${receiver} missed ${sender} for ${ms.toFixed(0)} ms`).join(', ')}`);
  assert.deepEqual(await Promise.all(parties.map((party) => party.state())), before);
  for (const party of parties) {
    party.assertNumbers();
    assert.deepEqual(party.told('peer-left').filter(({ payload }) => parties.some(({ id }) => id === payload.participant_id)), []);
    const { events, tilesRemoved } = await party.seen();
    assert.deepEqual(events.filter(({ type, at }) => at >= since && ['track-removed', 'left', 'error'].includes(type)), []);
    assert.equal(tilesRemoved, 0);
  }
  return measured.map(({ ms }) => ms);
}

test('a node that is stopped moves its rooms first: the call goes on, and whoever comes gets in', shown(() => cluster, async () => {
  const room = 'drained';
  const parties = await call(room, ['n1', 'n2']);
  const owner = await cluster.owner(room);
  const before = await Promise.all(parties.map((party) => party.state()));
  const coming = joiner([room, 'another', 'third']);
  await until('people to come', () => coming.joined >= 3);
  const since = Date.now();
  const code = await cluster.member(owner).terminate();
  console.log(`drained in ${Date.now() - since} ms`);
  assert.equal(code, 0);
  for (const party of parties) {
    const moved = party.told('room-moved').filter(({ at }) => at >= since);
    assert.deepEqual(moved.map(({ payload }) => payload.reason), ['drain'], `${party.name} is told once`);
  }
  const measured = await unharmed(parties, before, since, 'drain');
  coming.stop = true;
  await coming.done;
  console.log(`${coming.joined} joined meanwhile`);
  assert.deepEqual(coming.failed, []);
  assert.ok(places(measured).max <= LIMIT_MS, line(places(measured)));
  await Promise.all(parties.map((party) => party.leave()));
  await cluster.heal();
}));

test('all nodes are stopped and started, one after the other', shown(() => cluster, async () => {
  const rooms = ['rolling-1', 'rolling-2'];
  const calls = [];
  for (const room of rooms) calls.push(await call(room, ['n2', 'n3']));
  const before = await Promise.all(calls.map((parties) => Promise.all(parties.map((party) => party.state()))));
  const coming = joiner(['one', 'two', 'three']);
  const all = [];
  for (const member of cluster.members) {
    const since = Date.now();
    assert.equal(await member.terminate(), 0);
    for (const [n, parties] of calls.entries()) all.push(...(await unharmed(parties, before[n], since, `${member.id} stopped, ${rooms[n]}`)));
    await member.start();
    await cluster.complete();
  }
  coming.stop = true;
  await coming.done;
  console.log(`${coming.joined} joined meanwhile; gaps: ${line(places(all))}`);
  assert.deepEqual(coming.failed, []);
  assert.ok(places(all).max <= LIMIT_MS, line(places(all)));
}));

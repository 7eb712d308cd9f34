// Nodes that stop in good order, one and then all of them, under calls and people who come. ROOMS=50 for the full drill.
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { browser, mayTake } from '../e2e/harness.mjs';
import { loyal, missed } from './bots.mjs';
import { Cluster, shown, token, until } from './harness.mjs';
import { Party, gaps, line, places, states, together } from './party.mjs';
import { Client } from './socket.mjs';

/** So long after one another people come. */
const COMING_MS = 150;
/** With two bots each, beside the pages' room. */
const ROOMS = Number(process.env.ROOMS ?? 6);
const LIMIT_MS = Number(process.env.LIMIT_MS ?? 4_000);
mayTake(15);

let cluster;
let chromium;
let joining;

before(async () => {
  [cluster, chromium] = await Promise.all([Cluster.start(), browser()]);
});

afterEach(() => joining?.stop());

after(async () => {
  await chromium?.close();
  await cluster?.stop();
});

/** Joins rooms through the balancer, one after the other, until it is told to stop; what failed. */
function joiner(rooms) {
  const outcome = { joined: 0, failed: [] };
  let stopped = false;
  const work = (async () => {
    for (let n = 0; !stopped; n++) {
      try {
        const client = await Client.open(cluster.balancer.url, token(`joiner-${n}`));
        await client.join(rooms[n % rooms.length], { subscribe: 'manual' });
        outcome.joined++;
        await client.close();
      } catch (error) {
        outcome.failed.push(`${new Date().toISOString()} ${error.message}`);
      }
      await new Promise((resolve) => setTimeout(resolve, COMING_MS));
    }
  })();
  outcome.stop = () => {
    stopped = true;
    return work;
  };
  joining = outcome;
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
  assert.deepEqual(await states(parties), before);
  for (const party of parties) {
    party.assertNumbers();
    const ids = parties.map(({ id }) => id);
    assert.deepEqual(party.told('peer-left').filter(({ payload }) => ids.includes(payload.participant_id)), []);
    const { events, tilesRemoved } = await party.seen();
    assert.deepEqual(events.filter(({ type, at }) => at >= since && ['track-removed', 'left', 'error'].includes(type)), []);
    assert.deepEqual(tilesRemoved.filter((id) => ids.includes(id)), []);
  }
  return measured.map(({ ms }) => ms);
}

test('a node that is stopped moves its rooms first: the call goes on, and whoever comes gets in', shown(() => cluster, async () => {
  const room = 'drained';
  const parties = await call(room, ['n1', 'n2']);
  const owner = await cluster.owner(room);
  const before = await states(parties);
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
  await coming.stop();
  console.log(`${coming.joined} joined meanwhile`);
  assert.deepEqual(coming.failed, []);
  assert.ok(places(measured).max <= LIMIT_MS, line(places(measured)));
  await Promise.all(parties.map((party) => party.leave()));
  await cluster.heal();
}));

test('all nodes are stopped and started, one after the other', shown(() => cluster, async () => {
  const parties = await call('rolling', ['n2', 'n3']);
  const rooms = Array.from({ length: ROOMS }, (_, n) => `rolling-${n}`);
  const bots = await loyal(cluster.members.map(({ id }) => cluster.balancer.at(id)), rooms, 2);
  const before = await states(parties);
  const coming = joiner(['one', 'two', 'three']);
  const [pages, others] = [[], []];
  const began = Date.now();
  for (const member of cluster.members) {
    const since = Date.now();
    bots.say('mark');
    assert.equal(await member.terminate(), 0);
    console.log(`${member.id} drained in ${Date.now() - since} ms`);
    pages.push(...(await unharmed(parties, before, since, `${member.id} stopped`)));
    const { gaps: theirs, ...rest } = await missed(bots);
    console.log(`bots: ${line(places(theirs))}; ${JSON.stringify(rest)}`);
    others.push(...theirs);
    await member.start();
    await cluster.complete();
  }
  console.log(`all of them, with ${ROOMS} rooms, in ${((Date.now() - began) / 1000).toFixed(1)} s`);
  await coming.stop();
  await bots.quit();
  console.log(`${coming.joined} joined meanwhile; gaps: pages ${line(places(pages))}; bots ${line(places(others))}`);
  assert.deepEqual(coming.failed, []);
  assert.ok(places([...pages, ...others]).max <= LIMIT_MS, line(places([...pages, ...others])));
}));

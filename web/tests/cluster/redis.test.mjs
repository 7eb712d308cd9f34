// Redis is away, and comes back with nothing. DOWN_S=420 for the full drill.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { browser, mayTake } from '../e2e/harness.mjs';
import { Cluster, shown, token, until } from './harness.mjs';
import { Party, gaps, states, together } from './party.mjs';
import { Client } from './socket.mjs';

const DOWN_MS = Number(process.env.DOWN_S ?? 15) * 1000;
const HEALED_MS = 10_000;
/** Nothing that Redis does may be seen. */
const UNSEEN_MS = 2_000;
mayTake(10 + DOWN_MS / 60_000);

let cluster;
let chromium;
let parties;
let still;

before(async () => {
  [cluster, chromium] = await Promise.all([Cluster.start(), browser()]);
  const ada = await Party.join(chromium, cluster.member('n1').url, { room: 'known', name: 'Ada', role: 'host' });
  const grace = await Party.join(chromium, cluster.member('n2').url, { room: 'known', name: 'Grace' });
  parties = [ada, grace];
  // A session on every node, in a room of its own.
  still = await Promise.all(cluster.members.map(async ({ id, url }) => {
    const client = await Client.open(url, token(`still-${id}`));
    await client.join(`quiet-${id}`);
    return client;
  }));
  await together(parties, { forMs: 1_000 });
});

after(async () => {
  await chromium?.close();
  await cluster?.stop();
});

/** Every node says that the same one has the room. */
async function owned(room) {
  const said = await Promise.all(cluster.members.map(async (member) => (await member.json('GET', `/rooms/${room}`)).node));
  assert.equal(new Set(said).size, 1, `${room} is on ${said}`);
  return said[0];
}

/** Whoever comes to any node is with the others there: nobody has a room of the same name for themselves. */
async function joinsEverywhere(room, name) {
  const clients = [];
  for (const { id, url } of cluster.members) {
    const client = await Client.open(url, token(`${name}-${id}`));
    const { room_state } = await client.join(room);
    const others = room_state.participants.map(({ participant_id }) => participant_id);
    assert.ok(clients.every((it) => others.includes(it.id)), `${room}, joined on ${id}`);
    clients.push(client);
  }
  await clients[0].request('chat', { text: 'all' });
  await Promise.all(clients.slice(1).map((client) => client.event('chat')));
  await Promise.all(clients.map((client) => client.close()));
}

/** Every page and session is as it was: connected, told of no end, and with a picture all the time. */
async function unharmed(since, before) {
  for (const party of parties) {
    assert.equal(party.sockets.length, 1, `${party.name} kept its socket`);
    assert.ok(party.sockets[0].open);
    party.assertNumbers();
    assert.deepEqual((await party.seen()).events.filter(({ type, at }) => at >= since && ['track-removed', 'left', 'error', 'reconnecting'].includes(type)), []);
  }
  for (const client of still) assert.equal(client.closed, undefined, 'nobody is disconnected');
  assert.deepEqual(await states(parties), before);
  for (const { receiver, sender, ms } of await gaps(parties, since)) assert.ok(ms < UNSEEN_MS, `${receiver} missed ${sender} for ${ms} ms`);
}

test(`Redis is away for ${DOWN_MS / 1000} s`, shown(() => cluster, async () => {
  const before = await states(parties);
  const owner = await owned('known');
  const since = Date.now();
  await cluster.redis.down();
  for (let n = 0; Date.now() - since < DOWN_MS; n++) {
    await joinsEverywhere('known', `guest-${n}`);
    await joinsEverywhere(`new-${n}`, 'founder');
    const round = Date.now();
    await until('the next round', () => Date.now() - round > Math.min(5_000, DOWN_MS / 3), 10_000);
  }
  await unharmed(since, before);
  await cluster.redis.up();
  const back = Date.now();
  await until('all nodes to be ready again', async () => (await Promise.all(cluster.members.map((member) => member.isReady()))).every(Boolean), HEALED_MS);
  await until('rooms to be claimed again', () => joinsEverywhere('after', 'founder').then(() => true, () => false), HEALED_MS - (Date.now() - back));
  console.log(`healed after ${Date.now() - back} ms`);
  assert.equal(await owned('known'), owner);
  await until('the leases to have had their turn', () => Date.now() - back > 5_000);
  assert.equal(await owned('known'), owner, 'nobody takes the room over afterwards');
  await unharmed(since, before);
}));

test('Redis forgets everything: no room is had twice, and calls go on', shown(() => cluster, async () => {
  const before = await states(parties);
  const owner = await owned('known');
  const since = Date.now();
  assert.equal(await cluster.redis.command('FLUSHALL'), 'OK');
  await joinsEverywhere('known', 'flushed');
  for (const id of ['n1', 'n2', 'n3']) await joinsEverywhere(`quiet-${id}`, 'visitor');
  await until('the leases to have had their turn', () => Date.now() - since > 5_000);
  assert.equal(await owned('known'), owner);
  await joinsEverywhere('flushed', 'founder');
  await unharmed(since, before);
}));

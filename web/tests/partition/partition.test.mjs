// The node that has a room is cut off, from everybody or from the other nodes and Redis alone, and comes back:
// `unshare --net node --test partition.test.mjs`.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { browser, mayTake } from '../e2e/harness.mjs';
import { Cluster, admin, shown, until } from '../cluster/harness.mjs';
import { Network } from './network.mjs';
import { Party, gaps, states, together } from '../cluster/party.mjs';

const AWAY_MS = Number(process.env.AWAY_S ?? 12) * 1000;
/** A lease of 3 s and what media takes; LIMIT_MS=4500 is the goal on a machine that does nothing else. */
const BACK_MS = Number(process.env.LIMIT_MS ?? 10_000);
/** For so long after a node is back it might still do something. */
const AFTERWARDS_MS = 5_000;
mayTake(10);

let network;
let cluster;
let chromium;

before(async () => {
  network = await Network.open();
  cluster = await Cluster.start({ network, objects: true });
  chromium = await browser();
});

after(async () => {
  await chromium?.close();
  await cluster?.stop();
  await network?.remove();
});

/** Two pages in a room that is recorded, on the nodes that are named by what is asked of the owner. */
async function call(room, places) {
  const at = (node, name, role) => Party.join(chromium, cluster.balancer.at(node), { room, name, role });
  const first = await at('n1', 'Ada', 'host');
  const owner = await cluster.owner(room);
  const [one, two] = places(owner);
  const grace = await at(two, 'Grace');
  let ada = first;
  if (first.node !== one) {
    await first.leave();
    ada = await at(one, 'Ada', 'host');
  }
  await together([ada, grace], { forMs: 2_000 });
  const recording = await cluster.member(owner).json('POST', `/rooms/${room}/recording/start`);
  return { parties: [ada, grace], owner, recording };
}

const told = (party, type, since) => party.told(type).filter(({ at }) => at >= since);

/** What the database says of the room. */
const rows = () => Promise.all(['calls', 'participants'].map((table) => cluster.postgres.query(`select * from ${table} order by 1`)));

async function drill(room, places, cut, mend) {
  const { parties, owner, recording } = await call(room, places);
  const [one] = cluster.others(owner);
  const before = await states(parties);
  await until('some of it to be recorded', async () => (await cluster.member(owner).json('GET', `/recordings/${recording.id}`)).participants.length === 2);
  await new Promise((resolve) => setTimeout(resolve, 3_000));

  const since = Date.now();
  await cut(cluster.member(owner).place);
  await until('the room to move', () => parties.every((party) => told(party, 'room-moved', since).length > 0), 20_000);
  await together(parties, { forMs: 1_500 });
  const measured = await gaps(parties, since);
  for (const { receiver, sender, ms } of measured) console.log(`${receiver} missed ${sender} for ${ms.toFixed(0)} ms`);
  assert.ok(Math.max(...measured.map(({ ms }) => ms)) <= BACK_MS);
  const asked = () => one.json('GET', `/rooms/${room}`);
  const heir = (await asked()).node;
  assert.notEqual(heir, owner);
  assert.deepEqual(await states(parties), before, 'participants and tracks keep their ids');

  await until('the node to have been away for long', () => Date.now() - since >= AWAY_MS, AWAY_MS + 5_000);
  const marks = parties.map((party) => party.events.length);
  const written = await rows();
  const back = Date.now();
  await mend(cluster.member(owner).place);
  await cluster.complete();
  console.log(`healed ${Date.now() - back} ms after it was back`);
  await until('what it might still do', () => Date.now() - back > AFTERWARDS_MS);
  assert.equal((await cluster.member(owner).json('GET', `/rooms/${room}`)).node, heir, 'the old owner knows who has the room');
  assert.equal((await asked()).node, heir);
  for (const [n, party] of parties.entries()) {
    const quiet = ['active-speakers', 'connection-quality', 'publish-layers'];
    assert.deepEqual(party.events.slice(marks[n]).filter(({ type }) => !quiet.includes(type)), [], `${party.name} is told nothing`);
    party.assertNumbers();
    assert.deepEqual(told(party, 'peer-left', since), []);
  }
  assert.deepEqual(await states(parties), before);
  assert.deepEqual(await rows(), written, 'it wrote nothing to the database');
  for (const { receiver, sender, ms } of await gaps(parties, back)) assert.ok(ms < 2_000, `${receiver} missed ${sender} for ${ms} ms as it came back`);

  // The recording went on with the room, and what the old owner had spooled of it harms nothing.
  await one.json('POST', `/rooms/${room}/recording/stop`, admin());
  const made = await until('the files', async () => {
    const seen = await one.json('GET', `/recordings/${recording.id}`);
    assert.notEqual(seen.state, 'failed', seen.error);
    return seen.state === 'ready' && seen;
  }, 60_000);
  assert.equal(new Set(made.files.map((file) => file.participant_id)).size, 2);
  const length = (Date.now() - since) / 1000;
  for (const file of made.files) {
    console.log(`${file.name}: ${(file.duration_ms / 1000).toFixed(1)} s from ${(file.offset_ms / 1000).toFixed(1)} s; ${length.toFixed(1)} s since it was cut off`);
    assert.ok(file.offset_ms + file.duration_ms > AWAY_MS, 'it goes on after the cut');
  }
  await Promise.all(parties.map((party) => party.leave()));
}

test('the owner is cut off from everybody', shown(() => cluster, () => drill('unplugged', (owner) => cluster.others(owner).map(({ id }) => id), (place) => place.unplug(), (place) => place.plug())));

test('the owner is cut off from Redis and the other nodes, but not from its clients', shown(() => cluster, () => {
  const addresses = (place) => [network.redis, ...cluster.members.map((member) => member.place.address).filter((address) => address !== place.address)];
  return drill('alone', (owner) => [owner, cluster.others(owner)[0].id], (place) => place.drop(addresses(place)), (place) => place.heal());
}));

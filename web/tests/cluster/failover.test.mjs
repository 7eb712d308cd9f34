// The node that has a room is killed. RUNS=50 for the full drill; LIMIT_MS: the longest gap that is tolerated; BOTS: how many are
// in the room beside two pages.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { browser, mayTake } from '../e2e/harness.mjs';
import { loyal, missed } from './bots.mjs';
import { Cluster, shown, until } from './harness.mjs';
import { Party, gaps, line, places, states, together } from './party.mjs';

const RUNS = Number(process.env.RUNS ?? 2);
const LIMIT_MS = Number(process.env.LIMIT_MS ?? 6_000);
const BOTS = Number(process.env.BOTS ?? 6);
const RECORD = process.env.RECORD === '1';
mayTake(10 + 2 * RUNS);

let cluster;
let chromium;

before(async () => {
  [cluster, chromium] = await Promise.all([Cluster.start({ objects: RECORD }), browser()]);
});

after(async () => {
  await chromium?.close();
  await cluster?.stop();
});

/** Two pages in a room, one of them with its socket on the node that owns the room, or none. */
async function call(room, onOwner) {
  const join = (name, node) => Party.join(chromium, cluster.balancer.at(node), { room, name, role: name === 'Ada' ? 'host' : undefined });
  let ada = await join('Ada', 'n1');
  const owner = await cluster.owner(room);
  const [one, other] = cluster.others(owner).map(({ id }) => id);
  const grace = await join('Grace', one);
  const wanted = onOwner ? owner : other;
  if (ada.node !== wanted) {
    await ada.leave();
    ada = await join('Ada', wanted);
  }
  assert.equal(await cluster.owner(room), owner);
  assert.deepEqual([ada.node, grace.node], [wanted, one]);
  return { ada, grace, owner };
}

async function drill(room, onOwner) {
  const { ada, grace, owner } = await call(room, onOwner);
  const parties = [ada, grace];
  // Their sockets are on all nodes, the one that is killed among them.
  const bots = BOTS > 0 ? await loyal(cluster.members.map(({ id }) => cluster.balancer.at(id)), [room], BOTS) : null;
  await together(parties, { forMs: 2_000 });
  const recording = RECORD && (await cluster.others(owner)[0].json('POST', `/rooms/${room}/recording/start`));
  const before = await states(parties);
  const marks = parties.map((party) => party.events.length);
  const seen = await Promise.all(parties.map((party) => party.seen()));

  bots?.say('mark');
  const killed = Date.now();
  await cluster.member(owner).kill9();
  await until('the room to move', () => parties.every((party) => party.told('room-moved').some(({ at }) => at >= killed)), 20_000);
  await together(parties, { forMs: 1_500 });
  const measured = await gaps(parties, killed);
  const beside = bots ? await missed(bots) : { gaps: [] };

  assert.notEqual(await cluster.owner(room, { except: owner }), owner);
  assert.deepEqual(await states(parties), before, 'participants and tracks keep their ids');
  for (const [n, party] of parties.entries()) {
    party.assertNumbers();
    assert.deepEqual(party.events.slice(marks[n]).filter(({ type }) => ['peer-left', 'peer-joined', 'track-unpublished'].includes(type)), []);
    const now = await party.seen();
    const told = now.events.slice(seen[n].events.length).filter(({ type }) => type !== 'reconnecting' && type !== 'reconnected');
    assert.deepEqual(told, [], `the page of ${party.name} is told nothing`);
    assert.deepEqual(now.tilesRemoved, seen[n].tilesRemoved, 'no tile goes away');
  }
  await Promise.all(parties.map((party) => party.page.evaluate(() => globalThis.caside.room.chat('still here'))));
  await until('what is said afterwards', () => parties.every((party) => party.told('chat').length >= 1));
  if (recording) await whole(room, recording.id, owner);
  await Promise.all([...parties.map((party) => party.leave()), bots?.quit()]);
  await cluster.heal();
  return { measured, beside };
}

/** The recording went on, and ends as ever. */
async function whole(room, id, except) {
  const [member] = cluster.others(except);
  await member.json('POST', `/rooms/${room}/recording/stop`);
  const recording = await until('the files', async () => {
    const seen = await member.json('GET', `/recordings/${id}`);
    assert.notEqual(seen.state, 'failed', seen.error);
    return seen.state === 'ready' && seen;
  }, 60_000);
  assert.equal(new Set(recording.files.map((file) => file.participant_id)).size, 2 + BOTS);
}

for (const [onOwner, where] of [[false, 'no page’s socket'], [true, 'a page’s socket, too']]) {
  test(`kill -9 of the room’s node, which has ${where}`, shown(() => cluster, async () => {
    const [pages, others] = [[], []];
    for (let run = 1; run <= RUNS; run++) {
      const { measured, beside } = await drill(`killed-${onOwner ? 'with' : 'without'}-${run}`, onOwner);
      const seen = measured.map(({ receiver, sender, ms }) => `${receiver} missed ${sender} for ${ms.toFixed(0)} ms`).join(', ');
      console.log(`run ${run}: ${seen}; bots: ${line(places(beside.gaps))}`);
      pages.push(...measured.map(({ ms }) => ms));
      others.push(...beside.gaps);
    }
    console.log(`${where}, ${RUNS} runs: pages ${line(places(pages))}; bots ${line(places(others))}`);
    assert.ok(places([...pages, ...others]).max <= LIMIT_MS, line(places([...pages, ...others])));
  }));
}

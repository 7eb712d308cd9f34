// Ten thousand rooms on one node: what others notice of them, and how long they take to be had by others when it dies:
// `node rooms.bench.mjs` with CASIDE_BIN, ROOMS and RATE. Prints, asserts nothing.
import { readFile } from 'node:fs/promises';
import { Bots, botToken } from './bots.mjs';
import { Cluster, token } from './harness.mjs';

const ROOMS = Number(process.env.ROOMS ?? 10_000);
const RATE = Number(process.env.RATE ?? 500);

const cluster = await Cluster.start({ env: { CASIDE_MAX_CONNECTIONS: String(ROOMS + 100) } });
const [first, ...others] = cluster.members;

async function memory({ node }) {
  const status = await readFile(`/proc/${node.process.pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+)/.exec(status)[1]);
}

const say = async (when) => console.log(`${when}: resident ${(await Promise.all(cluster.members.filter(({ runs }) => runs).map(async (it) => `${it.id} ${((await memory(it)) / 1024).toFixed(1)} MiB`))).join(', ')}`);

/** Rooms that each node says it has. */
async function rooms() {
  const running = cluster.members.filter(({ runs }) => runs);
  return Promise.all(running.map((member) => member.metric('caside_rooms')));
}

/** All rooms on the first: the others are not there while they are made. */
for (const other of others) await other.terminate();
await say('one node');
const bots = Bots.start('hold', { at: new URL(first.url).host, token: botToken, rooms: ROOMS, rate: RATE });
const joined = await bots.next();
console.log(`${joined.joined} rooms: join p50 ${joined.p50_ms.toFixed(1)} ms, p99 ${joined.p99_ms.toFixed(1)} ms`);
await say(`${ROOMS} rooms on it`);

for (const other of others) {
  // Ready is what the node says of itself; linked is what the first says of it.
  const began = performance.now();
  await other.start();
  const ready = performance.now() - began;
  await cluster.complete();
  console.log(`${other.id} is ready after ${ready.toFixed(0)} ms from its process’s start, all linked after ${(performance.now() - began).toFixed(0)} ms`);
}
await new Promise((resolve) => setTimeout(resolve, 5_000));
await say('all nodes, after 5 s');

const killed = performance.now();
await first.kill9();
let had;
do {
  // Asking costs the nodes time, too.
  await new Promise((resolve) => setTimeout(resolve, 50));
  had = (await rooms()).reduce((sum, count) => sum + count, 0);
} while (had < ROOMS && performance.now() - killed < 30_000);
console.log(`${had} of ${ROOMS} rooms are had by others ${(performance.now() - killed).toFixed(0)} ms after the kill`);
await say('afterwards');
bots.process.kill('SIGKILL');
await cluster.stop();
process.exit(0);

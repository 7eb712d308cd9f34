// What it costs to say something to somebody on another node: `node routing.bench.mjs` with CASIDE_BIN. Prints, asserts nothing.
// RATE messages of BYTES a second for SECONDS, by many pairs, for a connection may say a hundred things a second.
import { Cluster, token } from './harness.mjs';
import { Bots, botToken } from './bots.mjs';
import { Client } from './socket.mjs';

const RATE = Number(process.env.RATE ?? 5_000);
const BYTES = Number(process.env.BYTES ?? 1_500);
const SECONDS = Number(process.env.SECONDS ?? 10);
/** Messages that a pair says in a second. */
const EACH = 80;

const cluster = await Cluster.start();
const ids = cluster.members.map(({ id }) => id);

/** Seconds of processor time of each node so far. */
async function cpu() {
  const used = await Promise.all(cluster.members.map((member) => member.cpu()));
  return Object.fromEntries(ids.map((id, place) => [id, used[place]]));
}

/** Rooms that a node has, by trying names. */
async function roomsOf(owner, count) {
  const rooms = [];
  for (let n = 0; rooms.length < count; n++) {
    const room = `bench-${owner}-${n}`;
    const client = await Client.open(cluster.member(owner).url, botToken);
    await client.join(room);
    if ((await cluster.member(owner).json('GET', `/rooms/${room}`)).node === owner) rooms.push(room);
    await client.close();
  }
  return rooms;
}

async function measure(what, owner, from, to) {
  const rooms = await roomsOf(owner, Math.ceil(RATE / EACH));
  // Whoever has it stays in it, so that it stays there.
  const keepers = [];
  for (const room of rooms) {
    const keeper = await Client.open(cluster.member(owner).url, token(`keeper-${room}`));
    await keeper.join(room, { subscribe: 'manual' });
    keepers.push(keeper);
  }
  const at = (id) => new URL(cluster.member(id).url).host;
  const bots = Bots.start('relay', { from: at(from), to: at(to), token: botToken, rooms: rooms.join(','), rate: RATE, bytes: BYTES, seconds: SECONDS });
  await bots.next();
  const before = await cpu();
  const report = await bots.next();
  await bots.exited;
  const after = await cpu();
  const each = ids.map((id) => `${id} ${(((after[id] - before[id]) * 1e6) / report.sent).toFixed(0)}`).join(', ');
  console.log(`${what}: ${report.sent} sent, ${report.heard} heard, delay p50 ${report.p50_ms.toFixed(2)} ms, p99 ${report.p99_ms.toFixed(2)} ms, max ${report.max_ms.toFixed(0)} ms; µs of processor time a message: ${each}`);
  await Promise.all(keepers.map((client) => client.close()));
}

await measure('both on the room’s node', 'n1', 'n1', 'n1');
await measure('sender on the room’s node, receiver on another', 'n1', 'n1', 'n2');
await measure('sender on another, receiver on the room’s node', 'n1', 'n2', 'n1');
await measure('each on another node than the room’s', 'n1', 'n2', 'n3');
await cluster.stop();
process.exit(0);

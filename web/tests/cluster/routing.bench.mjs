// What it costs to say something to somebody on another node: `node routing.bench.mjs` with CASIDE_BIN. Prints, asserts nothing.
// RATE messages of BYTES a second for SECONDS, by many pairs, for a connection may say a hundred things a second.
import { readFile } from 'node:fs/promises';
import { Cluster, token } from './harness.mjs';
import { Client } from './socket.mjs';

const RATE = Number(process.env.RATE ?? 5_000);
const BYTES = Number(process.env.BYTES ?? 1_500);
const SECONDS = Number(process.env.SECONDS ?? 10);
const EACH = 80;
const TICK_MS = 5;

const cluster = await Cluster.start();
const ids = cluster.members.map(({ id }) => id);

/** Seconds of processor time of each node so far. */
async function cpu() {
  const used = await Promise.all(cluster.members.map(async ({ node }) => {
    const fields = (await readFile(`/proc/${node.process.pid}/stat`, 'utf8')).split(') ')[1].split(' ');
    return (Number(fields[11]) + Number(fields[12])) / 100;
  }));
  return Object.fromEntries(ids.map((id, place) => [id, used[place]]));
}

/** Rooms that a node has, by trying names. */
async function roomsOf(owner, count) {
  const rooms = [];
  for (let n = 0; rooms.length < count; n++) {
    const room = `bench-${owner}-${n}`;
    const client = await Client.open(cluster.member(owner).url, token(`scout-${owner}-${n}`));
    await client.join(room);
    if ((await cluster.member(owner).json('GET', `/rooms/${room}`)).node === owner) rooms.push(room);
    await client.close();
  }
  return rooms;
}

async function measure(what, owner, from, to) {
  const pairs = [];
  for (const room of await roomsOf(owner, Math.ceil(RATE / EACH))) {
    // Whoever has it stays in it, so that it stays there.
    const keeper = await Client.open(cluster.member(owner).url, token(`keeper-${room}`));
    await keeper.join(room);
    const sender = await Client.open(cluster.member(from).url, token(`sender-${room}`));
    await sender.join(room);
    const receiver = await Client.open(cluster.member(to).url, token(`receiver-${room}`));
    await receiver.join(room);
    pairs.push({ keeper, sender, receiver });
  }
  const delays = [];
  for (const { receiver } of pairs) {
    receiver.heard = ({ type, payload }) => type === 'data' && delays.push(performance.now() - payload.value.at);
  }
  const padding = 'x'.repeat(BYTES - 150);
  const before = await cpu();
  const begin = performance.now();
  let sent = 0;
  while (performance.now() - begin < SECONDS * 1000) {
    const due = Math.floor(((performance.now() - begin) / 1000) * RATE);
    for (; sent < due; sent++) {
      const { sender, receiver } = pairs[sent % pairs.length];
      sender.say('data', { topic: 'bench', value: { at: performance.now(), padding }, to: receiver.id });
    }
    await new Promise((resolve) => setTimeout(resolve, TICK_MS));
  }
  await new Promise((resolve) => setTimeout(resolve, 500));
  const after = await cpu();
  delays.sort((a, b) => a - b);
  const at = (part) => delays[Math.min(delays.length - 1, Math.floor(part * delays.length))]?.toFixed(2);
  const each = ids.map((id) => `${id} ${(((after[id] - before[id]) * 1e6) / sent).toFixed(0)}`).join(', ');
  console.log(`${what}: ${sent} sent, ${delays.length} heard, delay p50 ${at(0.5)} ms, p99 ${at(0.99)} ms; µs of processor time a message: ${each}`);
  await Promise.all(pairs.flatMap((pair) => Object.values(pair)).map((client) => client.close()));
}

await measure('both on the room’s node', 'n1', 'n1', 'n1');
await measure('sender on the room’s node, receiver on another', 'n1', 'n1', 'n2');
await measure('sender on another, receiver on the room’s node', 'n1', 'n2', 'n1');
await measure('each on another node than the room’s', 'n1', 'n2', 'n3');
await cluster.stop();
process.exit(0);

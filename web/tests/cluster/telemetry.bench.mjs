// What telemetry costs a node under load: `node telemetry.bench.mjs` with CASIDE_BIN. RATE messages of BYTES a second for SECONDS
// between members of one node's rooms, in turns without a collector and with one that takes everything; ROUNDS of each. Prints,
// asserts nothing.
import { createServer } from 'node:http';
import { once } from 'node:events';
import { Bots, botToken } from './bots.mjs';
import { Cluster } from './harness.mjs';

const RATE = Number(process.env.RATE ?? 3_000);
const BYTES = Number(process.env.BYTES ?? 1_500);
const SECONDS = Number(process.env.SECONDS ?? 10);
const ROUNDS = Number(process.env.ROUNDS ?? 3);
/** Messages that a pair says in a second. */
const EACH = 80;

/** A collector that takes everything. */
const taken = { requests: 0, bytes: 0 };
const collector = createServer((request, response) => {
  taken.requests++;
  request.on('data', (chunk) => (taken.bytes += chunk.length));
  request.on('end', () => response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end());
});
collector.listen(0, '127.0.0.1');
await once(collector, 'listening');
const endpoint = `http://127.0.0.1:${collector.address().port}`;

async function measure(env) {
  const cluster = await Cluster.start({ nodes: 1, env });
  const [node] = cluster.members;
  const rooms = Array.from({ length: Math.ceil(RATE / EACH) }, (_, n) => `bench-${n}`);
  const at = new URL(node.url).host;
  const bots = Bots.start('relay', { from: at, to: at, token: botToken, rooms: rooms.join(','), rate: RATE, bytes: BYTES, seconds: SECONDS });
  await bots.next();
  const before = await node.cpu();
  const report = await bots.next();
  const used = (await node.cpu()) - before;
  await bots.exited;
  await cluster.stop();
  return { each: (used * 1e6) / report.sent, p99: report.p99_ms };
}

const ways = {
  'without a collector': {},
  'all signals, every trace': { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint },
  'all signals, one trace in a hundred': { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_TRACES_SAMPLER: 'parentbased_traceidratio', OTEL_TRACES_SAMPLER_ARG: '0.01' },
};
const measured = Object.fromEntries(Object.keys(ways).map((way) => [way, []]));
for (let round = 0; round < ROUNDS; round++) for (const [way, env] of Object.entries(ways)) measured[way].push(await measure(env));
const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
const base = median(measured['without a collector'].map(({ each }) => each));
for (const [way, runs] of Object.entries(measured)) {
  const each = median(runs.map((run) => run.each));
  console.log(`${way}: ${each.toFixed(1)} µs of processor time a message (${((each / base - 1) * 100).toFixed(1)} % more), delay p99 ${median(runs.map(({ p99 }) => p99)).toFixed(2)} ms`);
}
console.log(`the collector took ${taken.requests} requests with ${(taken.bytes / 1e6).toFixed(1)} MB`);
process.exit(0);

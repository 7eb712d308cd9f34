// Debian's Prometheus asks three nodes: every query of the dashboards has data, and so has every metric of a rule.
import assert from 'node:assert/strict';
import { readFile, readdir } from 'node:fs/promises';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { loyal } from './bots.mjs';
import { Cluster, shown, until } from './harness.mjs';
import { Prometheus } from './prometheus.mjs';

const deploy = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../../deploy');
/** Long enough for two readings a second apart, with a busy machine between them. */
const SPAN = '15s';

let cluster;
let prometheus;

before(async () => {
  cluster = await Cluster.start({ objects: true });
  prometheus = await Prometheus.start(path.join(deploy, 'prometheus'), cluster.members);
  // Two rooms, with members on every node and a recording: something of everything.
  await loyal(cluster.members.map(({ url }) => url), ['one', 'two'], 3);
  await cluster.members[0].json('POST', '/rooms/one/recording/start');
});

after(async () => {
  await prometheus?.remove();
  await cluster?.stop();
});

/** As Grafana asks: for all nodes. What only shows trouble is asked for without that condition. */
const asked = (expression) => expression.replaceAll('$node', '.*').replaceAll('$__rate_interval', SPAN).replace(/\[\d+m\]/g, `[${SPAN}]`).replace(/ > 0$/, '');

async function queries() {
  const folder = path.join(deploy, 'grafana/dashboards');
  const dashboards = await Promise.all((await readdir(folder)).sort().map(async (name) => JSON.parse(await readFile(path.join(folder, name), 'utf8'))));
  return dashboards.flatMap(({ title, panels }) => panels.flatMap((panel) => panel.targets.map(({ expr }) => ({ of: `${title}: ${panel.title}`, expression: asked(expr) }))));
}

test('every query of the dashboards has data', shown(() => cluster, async () => {
  // The balancer is another's to show.
  const all = (await queries()).filter(({ expression }) => !expression.startsWith('haproxy_'));
  assert.ok(all.length >= 80, `${all.length} queries`);
  let empty;
  await until('every query to have data', async () => {
    const answers = await Promise.all(all.map(async (query) => ({ ...query, series: await prometheus.query(query.expression) })));
    empty = answers.filter(({ series }) => series.length === 0);
    return empty.length === 0;
  }, 40_000).catch((error) => assert.fail(`${error.message}: ${empty.map(({ of, expression }) => `${of}: ${expression}`).join('\n')}`));
  console.log(`${all.length} queries`);
}));

test('a series comes from each node, under its name', async () => {
  const named = await prometheus.query('caside_lease_held == 1');
  assert.deepEqual(named.map(({ metric }) => metric.node).sort(), ['n1', 'n2', 'n3']);
});

test('all rules work, and none is in the way of a cluster that is well', async () => {
  await until('the rules to be evaluated', async () => (await prometheus.rules()).every(({ lastEvaluation }) => !lastEvaluation.startsWith('0001')));
  const rules = await prometheus.rules();
  assert.ok(rules.length >= 15, `${rules.length} rules`);
  assert.deepEqual(rules.filter(({ health }) => health !== 'ok'), []);
  // A rule of what nobody tells is well, and silent for ever.
  const named = [...new Set(rules.flatMap(({ query }) => query.match(/\bcaside_\w+/g) ?? []))];
  const told = await Promise.all(named.map((name) => prometheus.query(name)));
  assert.deepEqual(named.filter((_, place) => told[place].length === 0), []);
  assert.deepEqual(rules.filter(({ state }) => state === 'firing').map(({ name }) => name), []);
});

test('a node that dies is told', shown(() => cluster, async () => {
  await cluster.members[2].kill9();
  const pending = async () => (await prometheus.rules()).filter(({ state }) => state !== 'inactive').map(({ name }) => name);
  await until('the alert to wait for its time', async () => (await pending()).includes('CasideNodeDown'), 20_000);
}));

// What goes wrong with nodes and Redis is named within five seconds too: by any node's `caside inspect call`, and to the clients.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { causeIn, inspectCall } from '../e2e/inspect.mjs';
import { Cluster, shown, token, until } from './harness.mjs';
import { Client } from './socket.mjs';

const WITHIN_MS = 5_000;

let cluster;

before(async () => {
  cluster = await Cluster.start();
});

after(() => cluster?.stop());

/** As an operator asks on that node's machine. */
const inspect = (member, id) => inspectCall({ url: member.url, dir: member.dir }, id, member.env);

/** The cause is named by this node and to the client. */
async function named(code, { by, room, client, began }) {
  const left = () => Math.max(1, began + WITHIN_MS - Date.now());
  const heard = () => client.told('connection-quality').some(({ participant_id, cause }) => participant_id === client.id && cause === code);
  const seen = causeIn(() => inspect(by, room), code, left());
  await Promise.all([seen, until(`the client to be told ${code}`, heard, left())]);
  console.log(`${code}: named after ${Date.now() - began} ms`);
}

test('the node that has the room dies', shown(() => cluster, async () => {
  await cluster.complete();
  const owner = await (async () => {
    const first = await Client.open(cluster.member('n1').url, token('eve'));
    await first.join('orphaned');
    const id = await cluster.owner('orphaned');
    await first.close();
    return id;
  })();
  // A room that ended may go to another node with its next call: the client is on one that does not have it.
  const client = await Client.open(cluster.others(owner)[0].url, token('ada'));
  await client.join('orphaned');
  const now = await cluster.owner('orphaned');
  const [by] = cluster.others(now).filter(({ id }) => id === client.node);
  assert.ok(by, 'the client is on another node than its room');
  const began = Date.now();
  await cluster.member(now).kill9();
  await named('owner_lost', { by, room: 'orphaned', client, began });
  const moved = client.told('room-moved').at(-1);
  assert.equal(moved.reason, 'failover');
  await client.close();
}));

test('who was turned away elsewhere is known to every node', shown(() => cluster, async () => {
  const [here, there] = cluster.members.filter(({ runs }) => runs);
  const client = await Client.open(here.url, token('mallory', { room: 'hers' }));
  await assert.rejects(client.join('guarded'), { code: 'forbidden' });
  const cause = await causeIn(() => inspect(there, 'guarded'), 'no_grant', WITHIN_MS);
  assert.equal(cause.user, 'mallory');
  await client.close();
}));

test('Redis is away', shown(() => cluster, async () => {
  const [here, there] = cluster.members.filter(({ runs }) => runs);
  const client = await Client.open(here.url, token('ada'));
  const { call_id: call } = await client.join('cached');
  const owner = await cluster.owner('cached');
  const began = Date.now();
  await cluster.redis.down();
  await named('directory_away', { by: there, room: 'cached', client, began });
  const explained = await inspect(there, call);
  assert.deepEqual([explained.room, explained.node, explained.status], ['cached', owner, 'active']);
  assert.equal(client.closed, undefined, 'the call goes on');
  await client.close();
}));

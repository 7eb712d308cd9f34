// One room whose participants have their sockets on three nodes.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { browser, inbound } from '../e2e/harness.mjs';
import { Cluster, shown, token, until } from './harness.mjs';
import { Party, together } from './party.mjs';
import { Client } from './socket.mjs';

let cluster;
let chromium;
let aiortc;
let ada;
let grace;
const logged = (body) => shown(() => cluster, body);

before(async () => {
  [cluster, chromium] = await Promise.all([Cluster.start({ objects: true }), browser()]);
  // It comes first: with several others there already it never starts its checks on the connection that receives.
  aiortc = await stranger('wide', 30);
  ada = await Party.join(chromium, cluster.member('n1').url, { room: 'wide', name: 'Ada', role: 'host' });
  grace = await Party.join(chromium, cluster.member('n2').url, { room: 'wide', name: 'Grace' });
});

after(async () => {
  await chromium?.close();
  await cluster?.stop();
});

/** A participant of another make on the third node, who stays for so long; what it received then. */
async function stranger(room, seconds) {
  const client = fileURLToPath(new URL('../e2e/aiortc_client.py', import.meta.url));
  const started = spawn('python3', [client, cluster.member('n3').url, token('aiortc'), room, String(seconds)], { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = [];
  createInterface({ input: started.stdout }).on('line', (line) => lines.push(line));
  const exited = once(started, 'exit');
  await until('aiortc to publish', () => lines.includes('published'));
  return {
    received: async () => {
      assert.deepEqual(await exited, [0, null]);
      return JSON.parse(lines.at(-1));
    },
  };
}

/** Calls something of a page's room. */
const inRoom = (party, work, ...given) => party.page.evaluate(`(${work})(globalThis.caside.room, ...${JSON.stringify(given)})`);

test('all see and hear all: two pages and aiortc, each on a node of its own', logged(async () => {
  assert.deepEqual([ada.node, grace.node], ['n1', 'n2']);
  await together([ada, grace], { forMs: 1_000 });
  await until('the pages to receive two others', async () => {
    const rows = await Promise.all([ada, grace].map(({ page }) => inbound(page)));
    return rows.every((of) => of.filter(({ kind, frames }) => kind === 'video' && frames > 30).length >= 2 && of.filter(({ kind, energy }) => kind === 'audio' && energy > 0).length >= 2);
  }, 30_000);
  const received = await aiortc.received();
  console.log('aiortc received', received);
  assert.ok(received.video >= 2 * 8 * 15, `${received.video} pictures of two senders`);
  assert.ok(received.peak > 1000, 'the sound is not silence');
}));

test('chat and data arrive once, to all or to one', logged(async () => {
  await inRoom(ada, (room) => room.chat('to all'));
  await inRoom(ada, (room, to) => room.chat('to one', { to }), grace.id);
  await inRoom(grace, (room) => room.data('topic', { n: 1 }));
  await until('the messages', () => grace.told('chat').length >= 2 && ada.told('data').length >= 1);
  assert.deepEqual(grace.told('chat').map(({ payload }) => payload.text), ['to all', 'to one']);
  assert.deepEqual(ada.told('data').map(({ payload }) => payload.value), [{ n: 1 }]);
}));

test('a moderator mutes who is on another node', logged(async () => {
  await inRoom(ada, (room, id) => room.muteParticipant(id, room.participants.get(id).track('microphone')), grace.id);
  await until('Grace to be muted', () => inRoom(grace, (room) => room.localTrack('microphone').muted));
  await until('Ada to be told', () => inRoom(ada, (room, id) => room.participants.get(id).track('microphone').muted, grace.id));
  await inRoom(grace, (room) => room.setMuted('microphone', false));
  await until('Ada to be told', async () => !(await inRoom(ada, (room, id) => room.participants.get(id).track('microphone').muted, grace.id)));
}));

test('REST moderates on every node', logged(async () => {
  const owner = await cluster.owner('wide');
  for (const member of cluster.members) {
    assert.equal((await member.json('GET', '/rooms/wide')).node, owner);
    const { participant_id, role } = await member.json('POST', `/rooms/wide/participants/${grace.id}/role`, undefined, { role: member.id === 'n2' ? 'participant' : 'moderator' });
    assert.equal(participant_id, grace.id);
    await until('Grace to be told', () => inRoom(grace, (room, given) => room.localParticipant.role === given, role));
    const { items } = await member.json('GET', '/rooms/wide/participants');
    assert.ok(items.some((it) => it.participant_id === ada.id && it.display_name === 'Ada'));
  }
}));

test('a recording is started on one node, stopped on another, and read on the third', logged(async () => {
  const [one, two, three] = cluster.members;
  const { id } = await one.json('POST', '/rooms/wide/recording/start');
  await until('both to be told', () => [ada, grace].every((party) => party.told('recording-started').length === 1));
  const start = Date.now();
  await until('five seconds of it', () => Date.now() - start > 5_000);
  await two.json('POST', '/rooms/wide/recording/stop');
  const recording = await until('the files', async () => {
    const seen = await three.json('GET', `/recordings/${id}`);
    assert.notEqual(seen.state, 'failed', seen.error);
    return seen.state === 'ready' && seen;
  }, 30_000);
  assert.equal(recording.files.length, 2);
  for (const { duration_ms, url } of recording.files) {
    assert.ok(duration_ms > 3_500, `${duration_ms} ms`);
    assert.equal((await fetch(new URL(url, three.url))).status, 200);
  }
}));

test('users on different nodes call and invite each other', logged(async () => {
  const kim = await Client.open(cluster.member('n1').url, token('kim'));
  const lee = await Client.open(cluster.member('n3').url, token('lee'));
  await assert.rejects(kim.request('call', { to_user: 'nobody' }), { code: 'user_offline' });
  const { invite_id, room } = await kim.request('call', { to_user: 'lee' });
  await kim.join(room);
  const ringing = (await lee.event('invite')).payload;
  assert.deepEqual([ringing.invite_id, ringing.kind, ringing.from.id], [invite_id, 'call', 'kim']);
  const joined = await lee.request('accept', { invite_id });
  assert.equal(joined.room_state.room, room);
  assert.equal((await kim.event('invite-answered')).payload.answer, 'accepted');
  await kim.event('peer-joined');
  // Whoever is not there is told when they come, wherever that is.
  const invited = await kim.request('invite', { user: 'max' });
  const max = await Client.open(cluster.member('n2').url, token('max'));
  assert.equal((await max.event('invite')).payload.invite_id, invited.invite_id);
  await max.request('decline', { invite_id: invited.invite_id });
  await kim.event('invite-answered', ({ answer }) => answer === 'declined');
  await Promise.all([kim, lee, max].map((client) => client.close()));
}));

test('a session goes on on another node: the same participant, what was missed once and in order', logged(async () => {
  const [one, two, three] = cluster.members;
  const kim = await Client.open(one.url, token('kim'));
  const { participant_id } = await kim.join('resumed');
  const lee = await Client.open(two.url, token('lee'));
  await lee.join('resumed');
  await lee.request('chat', { text: 'before' });
  await kim.event('chat');
  kim.cut();
  await lee.event('connection-quality', ({ participant_id: id, quality }) => id === participant_id && quality === 'lost');
  const texts = Array.from({ length: 20 }, (_, n) => `missed ${n}`);
  for (const text of texts) await lee.request('chat', { text });
  const again = await Client.open(three.url);
  const resumed = await again.resume(kim);
  assert.deepEqual([resumed.participant_id, resumed.reset], [participant_id, false]);
  await again.event('chat', ({ text }) => text === texts.at(-1));
  assert.deepEqual(again.told('chat').map(({ text }) => text), texts);
  again.assertNumbers(kim.lastSeq);
  await lee.event('connection-quality', ({ participant_id: id, quality }) => id === participant_id && quality === 'good');
  assert.deepEqual(lee.told('peer-left'), []);
  await again.request('chat', { text: 'after' });
  await lee.event('chat', ({ text }) => text === 'after');
  const stale = await Client.open(one.url);
  await assert.rejects(stale.resume(kim), { code: 'resume_expired' }, 'a token is good once');
  await Promise.all([again, lee, stale].map((client) => client.close()));
}));

test('nobody left, and every event came once', () => {
  for (const party of [ada, grace]) {
    party.assertNumbers();
    assert.deepEqual(party.page.errors, []);
  }
});

// What hostile clients get, while a call beside them goes on as if nothing were.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import dgram from 'node:dgram';
import { after, before, test } from 'node:test';
import { Node, browser, decodes, inbound, joinPage, until } from './harness.mjs';

let node;
let chromium;
let token;
let bystander;

before(async () => {
  node = await Node.start();
  chromium = await browser();
  token = await node.login();
  const context = await chromium.newContext();
  await joinPage(context, node, { room: 'bystanders', name: 'Grace', token });
  bystander = await joinPage(context, node, { room: 'bystanders', name: 'Ada', token });
  await decodes(bystander, 1);
  await steady();
});

/** Waits until the picture has not frozen for a while: browsers that have just begun have much to do. */
async function steady() {
  const freezes = async () => (await inbound(bystander)).reduce((sum, row) => sum + (row.freezes ?? 0), 0);
  let [last, since] = [await freezes(), Date.now()];
  await until('the picture to be steady', async () => {
    const now = await freezes();
    if (now !== last) [last, since] = [now, Date.now()];
    return Date.now() - since >= 3_000;
  }, 30_000);
}

after(async () => {
  await chromium?.close();
  await node?.stop();
});

/** Runs an attack; the bystander's picture and sound must go on during it. */
async function unharmed(attack) {
  const before = await inbound(bystander);
  const start = Date.now();
  await attack();
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, 3000 - (Date.now() - start))));
  const seconds = (Date.now() - start) / 1000;
  for (const row of await inbound(bystander)) {
    const earlier = before.find((s) => s.mid === row.mid);
    assert.equal(row.lost - earlier.lost, 0, 'no packet of the bystander is lost');
    assert.equal(row.freezes, earlier.freezes, 'no freeze');
    if (row.kind === 'video') assert.ok((row.frames - earlier.frames) / seconds >= 15, 'pictures go on');
    else assert.ok(row.energy > earlier.energy, 'sound goes on');
  }
}

/** Opens a socket in a page of its own, sends frames, and gives the answers and how it closed. */
async function socket(frames, { query = `?token=${token}`, wait = 1000, protocol = 'caside.json.v1' } = {}) {
  // What is no page may load nothing, by the node's policy, which no attacker would heed.
  const page = await chromium.newPage({ bypassCSP: true });
  await page.goto(`${node.url}/health`);
  const result = await page.evaluate(
    async ([where, list, ms, name]) => {
      const answers = [];
      const ws = new WebSocket(where, name);
      ws.binaryType = 'arraybuffer';
      const closed = new Promise((resolve) => ws.addEventListener('close', (e) => resolve({ code: e.code, reason: e.reason })));
      const opened = new Promise((resolve) => ws.addEventListener('open', () => resolve(true)));
      ws.addEventListener('message', (e) => answers.push(typeof e.data === 'string' ? JSON.parse(e.data) : 'binary'));
      if ((await Promise.race([opened, closed])) !== true) return { answers, closed: await closed };
      for (const frame of list) ws.send(frame.binary ? Uint8Array.from(frame.binary) : frame);
      const pause = new Promise((resolve) => setTimeout(() => resolve(null), ms));
      const end = await Promise.race([closed, pause]);
      ws.close();
      return { answers, closed: end };
    },
    [`${node.url.replace('http', 'ws')}/ws${query}`, frames, wait, protocol],
  );
  await page.close();
  return result;
}

const codes = (answers) => answers.filter((a) => a.type === 'error').map((a) => a.payload.code);

test('malformed messages are answered, and end the socket only after sixteen in a row', async () => {
  await unharmed(async () => {
    const some = await socket(['', 'null', '{"type":1}', '[[[[', '{"type":"dance"}', '{"type":"join","payload":{"room":"../.."}}']);
    assert.deepEqual(codes(some.answers), [
      'invalid_payload', 'invalid_payload', 'invalid_payload', 'invalid_payload', 'unknown_type', 'invalid_payload',
    ]);
    assert.equal(some.closed, null);
    const many = await socket(Array(16).fill('nonsense'));
    assert.equal(many.closed.code, 1008);
    const wrongKind = await socket([{ binary: [1, 2, 3] }]);
    assert.deepEqual(codes(wrongKind.answers), ['invalid_payload']);
  });
});

test('an oversized message closes with 1009', async () => {
  await unharmed(async () => {
    const { closed } = await socket([JSON.stringify({ type: 'chat', payload: { text: 'x'.repeat(70_000) } })]);
    assert.equal(closed.code, 1009);
  });
});

test('without a token nothing but auth works, and a wrong one is refused', async () => {
  await unharmed(async () => {
    const anonymous = await socket(['{"type":"join","id":1,"payload":{"room":"bystanders"}}'], { query: '' });
    assert.deepEqual(codes(anonymous.answers), ['unauthorized']);
    assert.equal(anonymous.closed, null);
    const wrong = await socket(['{"type":"auth","id":1,"payload":{"token":"e30.e30.e30"}}'], { query: '' });
    assert.equal(wrong.closed.code, 4401);
    const refused = await socket([], { query: '?token=e30.e30.e30' });
    assert.equal(refused.answers.length, 0);
    assert.notEqual(refused.closed, null);
  });
});

test('a token for another room does not open this one', async () => {
  await unharmed(async () => {
    const minted = await node.json('POST', '/auth/token', token, { user: 'mallory', room: 'elsewhere', role: 'participant' });
    const { answers } = await socket(['{"type":"join","id":1,"payload":{"room":"bystanders"}}'], { query: `?token=${minted.token}` });
    assert.deepEqual(codes(answers), ['forbidden']);
    const response = await fetch(`${node.url}/rooms/bystanders/recording/start`, {
      method: 'POST',
      headers: { authorization: `Bearer ${minted.token}` },
    });
    assert.equal(response.status, 403);
  });
});

test('a resume token is good once, a refresh token too', async () => {
  await unharmed(async () => {
    const { answers } = await socket([]);
    const { resume_token } = answers[0].payload;
    const resume = JSON.stringify({ type: 'resume', id: 1, payload: { resume_token, last_seq: 0 } });
    const first = await socket([resume], { query: '' });
    const second = await socket([resume], { query: '' });
    assert.equal(first.answers[0].type === 'resumed' || codes(first.answers)[0] === 'resume_expired', true);
    assert.deepEqual(codes(second.answers), ['resume_expired']);
    const login = await node.json('POST', '/login', undefined, { username: 'demo', password: node.password });
    const refresh = { refresh_token: login.refresh_token };
    const next = await node.json('POST', '/auth/token', undefined, refresh);
    const replay = await fetch(`${node.url}/auth/token`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(refresh),
    });
    assert.equal(replay.status, 401);
    const family = await fetch(`${node.url}/auth/token`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ refresh_token: next.refresh_token }),
    });
    assert.equal(family.status, 401, 'a replay revokes the family');
  });
});

test('a flood of messages is limited and hurts nobody', async () => {
  await unharmed(async () => {
    const { answers } = await socket(Array(3000).fill('{"type":"ping","id":1}'), { wait: 2500 });
    const refused = codes(answers).filter((code) => code === 'rate_limited').length;
    console.log(`of 3000 pings ${answers.length - refused} were answered and ${refused} refused; the others were left unread`);
    // 400 at once and 100 a second are answered, 100 a second refused; whoever sends more is not read.
    assert.ok(refused >= 100 && refused <= 500, `${refused} refusals`);
    assert.ok(answers.length - refused <= 800, `${answers.length - refused} answers`);
  });
});

test('a flood of garbage at the media port hurts nobody', async () => {
  await unharmed(async () => {
    const target = await bystander.evaluate(() => {
      const { sdp } = globalThis.caside.room.media.subscribeConnection.remoteDescription;
      const found = [...sdp.matchAll(/^a=candidate:\S+ 1 udp \d+ (127\.0\.0\.1) (\d+) /gm)];
      return { address: found[0][1], port: Number(found[0][2]) };
    });
    const sender = dgram.createSocket('udp4');
    const kinds = [
      () => randomBytes(1 + Math.floor(Math.random() * 1200)),
      () => Buffer.concat([Buffer.from([0x80, 0x60]), randomBytes(100)]),
      () => Buffer.concat([Buffer.from([22, 254, 253]), randomBytes(60)]),
      () => Buffer.concat([Buffer.from([0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]), randomBytes(12)]),
      () => Buffer.concat([Buffer.from([0x80, 200, 0, 6]), randomBytes(24)]),
    ];
    for (let i = 0; i < 20_000; i++) {
      sender.send(kinds[i % kinds.length](), target.port, target.address);
      if (i % 100 === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    }
    sender.close();
  });
});

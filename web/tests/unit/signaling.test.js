// @ts-check
import assert from 'node:assert/strict';
import { beforeEach, describe, mock, test } from 'node:test';
import { aboutMs, backoffMs } from '../../sdk/backoff.js';
import { Signaling } from '../../sdk/signaling.js';
import { FakeSocket } from './fake-socket.js';

const WELCOME = { session: 's', resume_token: 'r1', user: { id: 'u', name: 'Ada' }, ice_servers: [], heartbeat_ms: 10_000, server: {} };

/** Lets every promise that can settle do so. */
const settle = () => new Promise((resolve) => setImmediate(resolve));

/** @param {{token?: (refresh: boolean) => string | Promise<string>}} [options] */
async function connected({ token = () => 'T' } = {}) {
  const signaling = new Signaling({ url: 'ws://x/ws', token, random: () => 0.5, WebSocket: /** @type {any} */ (FakeSocket) });
  /** @type {any[]} */
  const events = [];
  signaling.on('message', (message) => events.push(message.payload.n ?? message.type));
  const opened = signaling.open();
  FakeSocket.last.open();
  await settle();
  FakeSocket.last.answer('auth', 'welcome', WELCOME);
  await opened;
  return { signaling, events, socket: FakeSocket.last };
}

/** Drops the socket, waits for the next one and lets it open. */
async function reconnect() {
  FakeSocket.last.drop();
  mock.timers.tick(200);
  FakeSocket.last.open();
  await settle();
  return FakeSocket.last;
}

/** @param {number} seq */
const event = (seq) => ({ type: 'chat', seq, payload: { n: seq } });

beforeEach(() => {
  FakeSocket.all = [];
  mock.timers.reset();
  mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'] });
});

describe('opening', () => {
  test('offers the JSON subprotocol and authenticates first', async () => {
    const { socket, signaling } = await connected();
    assert.deepEqual(socket.protocols, ['caside.json.v1']);
    assert.deepEqual(socket.sent[0].payload, { token: 'T' });
    assert.equal(signaling.state, 'open');
  });

  test('a wrong token rejects with the server’s code and is not tried again', async () => {
    const signaling = new Signaling({ url: 'ws://x/ws', token: () => 'T', WebSocket: /** @type {any} */ (FakeSocket) });
    const opened = signaling.open();
    FakeSocket.last.open();
    await settle();
    FakeSocket.last.answer('auth', 'error', { code: 'unauthorized', message: 'no' });
    await assert.rejects(opened, { name: 'CasideError', code: 'unauthorized', retryable: false });
    mock.timers.tick(60_000);
    assert.equal(FakeSocket.all.length, 1);
  });

  test('an unreachable server rejects with a retryable error', async () => {
    const signaling = new Signaling({ url: 'ws://x/ws', token: () => 'T', WebSocket: /** @type {any} */ (FakeSocket) });
    const opened = signaling.open();
    FakeSocket.last.drop();
    await assert.rejects(opened, { code: 'connection_failed', retryable: true });
  });

  test('a server that accepts and then says nothing is given up', async () => {
    const signaling = new Signaling({ url: 'ws://x/ws', token: () => 'T', WebSocket: /** @type {any} */ (FakeSocket) });
    const opened = signaling.open();
    FakeSocket.last.open();
    await settle();
    mock.timers.tick(10_000);
    await assert.rejects(opened, { code: 'connection_failed' });
  });
});

describe('requests', () => {
  test('answers find their request whatever their order', async () => {
    const { signaling, socket } = await connected();
    const first = signaling.request('a', {});
    const second = signaling.request('b', {});
    socket.answer('b', 'ok', { n: 2 });
    socket.answer('a', 'ok', { n: 1 });
    assert.equal((await first).payload.n, 1);
    assert.equal((await second).payload.n, 2);
  });

  test('an error answer becomes a typed error', async () => {
    const { signaling, socket } = await connected();
    const request = signaling.request('chat', {});
    socket.answer('chat', 'error', { code: 'rate_limited', message: 'slow down', retryable: true, retry_after_ms: 300 });
    await assert.rejects(request, { code: 'rate_limited', retryable: true, retryAfterMs: 300, message: 'slow down' });
  });

  test('an unanswered request times out, and its late answer is ignored', async () => {
    const { signaling, socket } = await connected();
    const request = signaling.request('slow', {}, { timeoutMs: 1_000 });
    mock.timers.tick(1_000);
    await assert.rejects(request, { code: 'timeout', retryable: true });
    socket.answer('slow', 'ok');
  });

  test('a message over the server’s limit is refused here, not by a closed socket', async () => {
    const { signaling, socket } = await connected();
    await assert.rejects(signaling.request('chat', { text: 'ä'.repeat(33_000) }), { code: 'too_large' });
    assert.equal(socket.sent.length, 1);
  });

  test('no more than 256 wait', async () => {
    const { signaling } = await connected();
    const waiting = Array.from({ length: 256 }, () => signaling.request('a', {}).catch(() => {}));
    await assert.rejects(signaling.request('a', {}), { code: 'overloaded' });
    signaling.close();
    await Promise.all(waiting);
  });

  test('the answer is seen before an event that follows it', async () => {
    const { signaling, events, socket } = await connected();
    const request = signaling.request('join', {}, { onAnswer: () => events.push('answer') });
    socket.answer('join', 'joined');
    socket.say(event(1));
    await request;
    assert.deepEqual(events, ['answer', 1]);
  });
});

describe('requests to a room that moves', () => {
  const refusal = (/** @type {string} */ code) => /** @type {const} */ (['error', { code, message: 'not now', retryable: true }]);

  test('are asked again until they are taken, later and later', async () => {
    const { signaling, socket } = await connected();
    const request = signaling.request('chat', { text: 'hi' });
    for (let n = 1; n <= 4; n++) {
      socket.answer('chat', ...refusal('moving'));
      mock.timers.tick(1_200);
      assert.equal(socket.sent.filter(({ type }) => type === 'chat').length, n + 1);
    }
    socket.answer('chat', 'ok', { message_id: 'm' });
    assert.equal((await request).payload.message_id, 'm');
    mock.timers.tick(10_000);
    assert.equal(socket.sent.filter(({ type }) => type === 'chat').length, 5);
  });

  test('fail with what they were refused with once their time is over', async () => {
    const { signaling, socket } = await connected();
    const request = signaling.request('chat', {}, { timeoutMs: 2_000 });
    socket.answer('chat', 'error', { code: 'moving', message: 'not now', retryable: true, retry_after_ms: 5_000 });
    mock.timers.tick(2_000);
    await assert.rejects(request, { code: 'moving', retryable: true });
  });

  test('are asked again for an overload or an outage, too, as long as it moves', async () => {
    const { signaling, socket } = await connected();
    for (const code of ['overloaded', 'dependency_unavailable']) {
      const refused = signaling.request('chat', {});
      socket.answer('chat', ...refusal(code));
      await assert.rejects(refused, { code });
      signaling.patient = true;
      const taken = signaling.request('chat', {});
      socket.answer('chat', ...refusal(code));
      mock.timers.tick(200);
      socket.answer('chat', 'ok');
      await taken;
      signaling.patient = false;
    }
  });

  test('are not asked again when they are no longer wanted', async () => {
    const { signaling, socket } = await connected();
    let wanted = true;
    const request = signaling.request('offer', {}, { wanted: () => wanted });
    socket.answer('offer', ...refusal('moving'));
    wanted = false;
    mock.timers.tick(200);
    await assert.rejects(request, { code: 'closed' });
    assert.equal(socket.sent.filter(({ type }) => type === 'offer').length, 1);
  });

  test('that were refused go over the next socket', async () => {
    const { signaling, socket } = await connected();
    const request = signaling.request('chat', {});
    socket.answer('chat', ...refusal('moving'));
    const next = await reconnect();
    next.answer('resume', 'resumed', { resume_token: 'r2', reset: false });
    next.answer('chat', 'ok');
    await request;
    mock.timers.tick(2_000);
    assert.equal(next.sent.length, 2);
  });
});

describe('resuming', () => {
  test('each event is handed out once and in order, over two drops', async () => {
    const { events, socket } = await connected();
    socket.say(event(1));
    socket.say(event(2));
    const second = await reconnect();
    assert.deepEqual(second.sent[0].payload, { resume_token: 'r1', last_seq: 2 });
    second.answer('resume', 'resumed', { resume_token: 'r2', reset: false });
    for (const seq of [2, 3, 4]) second.say(event(seq));
    const third = await reconnect();
    assert.deepEqual(third.sent[0].payload, { resume_token: 'r2', last_seq: 4 });
    third.answer('resume', 'resumed', { resume_token: 'r3', reset: false });
    for (const seq of [3, 4, 5]) third.say(event(seq));
    assert.deepEqual(events, [1, 2, 3, 4, 5]);
  });

  test('a gap is not skipped: the missing event is fetched by a resume', async () => {
    const { events, socket } = await connected();
    socket.say(event(1));
    socket.say(event(3));
    assert.equal(socket.closeCode, 4000);
    mock.timers.tick(200);
    const next = FakeSocket.last;
    next.open();
    await settle();
    assert.equal(next.sent[0].payload.last_seq, 1);
    next.answer('resume', 'resumed', { resume_token: 'r2', reset: false });
    next.say(event(2));
    next.say(event(3));
    assert.deepEqual(events, [1, 2, 3]);
  });

  test('a gap that the server cannot fill does not loop', async () => {
    const { events, socket } = await connected();
    socket.say(event(1));
    socket.say(event(3));
    mock.timers.tick(200);
    FakeSocket.last.open();
    await settle();
    FakeSocket.last.answer('resume', 'resumed', { resume_token: 'r2', reset: false });
    FakeSocket.last.say(event(3));
    assert.deepEqual(events, [1, 3]);
    assert.equal(FakeSocket.all.length, 2);
  });

  test('after a reset the next event counts, whatever its number', async () => {
    const { signaling, events, socket } = await connected();
    socket.say(event(1));
    /** @type {any[]} */
    const resumed = [];
    signaling.on('resumed', (payload) => resumed.push(payload));
    const next = await reconnect();
    next.answer('resume', 'resumed', { resume_token: 'r2', reset: true, room_state: { room: 'x' } });
    next.say(event(9));
    next.say(event(10));
    assert.deepEqual(resumed[0].room_state, { room: 'x' });
    assert.deepEqual(events, [1, 9, 10]);
  });

  test('what was not sent or may be sent twice goes over the new socket; the rest fails', async () => {
    const { signaling, socket } = await connected();
    const chat = signaling.request('chat', {});
    const mute = signaling.request('mute', {}, { idempotent: true });
    socket.drop();
    await assert.rejects(chat, { code: 'connection_lost', retryable: true });
    const late = signaling.request('data', {});
    mock.timers.tick(200);
    const next = FakeSocket.last;
    next.open();
    await settle();
    assert.deepEqual(next.sent.map(({ type }) => type), ['resume']);
    next.answer('resume', 'resumed', { resume_token: 'r2', reset: false });
    assert.deepEqual(next.sent.map(({ type }) => type), ['resume', 'mute', 'data']);
    next.answer('mute', 'ok');
    next.answer('data', 'ok');
    await Promise.all([mute, late]);
  });

  test('a session that cannot be resumed is opened anew on the same socket, its numbers from the start', async () => {
    const { signaling, events, socket } = await connected();
    socket.say(event(1));
    socket.say(event(2));
    const waiting = signaling.request('mute', {}, { idempotent: true });
    const welcomes = mock.fn();
    signaling.on('welcome', welcomes);
    const next = await reconnect();
    next.answer('resume', 'error', { code: 'resume_expired', message: 'too late' });
    await settle();
    next.answer('auth', 'welcome', { ...WELCOME, resume_token: 'r9' });
    await assert.rejects(waiting, { code: 'connection_lost' });
    assert.equal(welcomes.mock.calls[0]?.arguments[0].renewed, true);
    next.say(event(1));
    assert.deepEqual(events, [1, 2, 1]);
  });

  test('a session whose node died is asked for again on the same socket until it is taken over', async () => {
    const { signaling, events, socket } = await connected();
    socket.say(event(1));
    const chat = signaling.request('mute', {}, { idempotent: true });
    const next = await reconnect();
    for (let n = 0; n < 4; n++) {
      next.answer('resume', 'error', { code: 'moving', message: 'soon', retryable: true, retry_after_ms: 400 });
      mock.timers.tick(399);
      assert.equal(next.sent.length, n + 1);
      mock.timers.tick(1);
      assert.deepEqual(next.sent.map(({ payload }) => payload.resume_token), Array(n + 2).fill('r1'));
    }
    assert.equal(signaling.state, 'reconnecting');
    next.answer('resume', 'resumed', { resume_token: 'r2', reset: false });
    next.say(event(2));
    next.answer('mute', 'ok');
    await chat;
    assert.deepEqual(events, [1, 2]);
    assert.equal(FakeSocket.all.length, 2);
  });

  test('a session that nobody takes over within 10 s is given up', async () => {
    const { signaling } = await connected();
    const welcomes = mock.fn();
    signaling.on('welcome', welcomes);
    const next = await reconnect();
    for (let passed = 0; passed < 10_000; passed += 1_000) {
      next.answer('resume', 'error', { code: 'moving', retryable: true, retry_after_ms: 1_000 });
      mock.timers.tick(1_000);
    }
    assert.ok(next.sent.every(({ type }) => type === 'resume'));
    next.answer('resume', 'error', { code: 'moving', retryable: true, retry_after_ms: 1_000 });
    await settle();
    assert.equal(next.sent.at(-1).type, 'auth');
    next.answer('auth', 'welcome', { ...WELCOME, resume_token: 'r9' });
    assert.equal(welcomes.mock.calls[0]?.arguments[0].renewed, true);
  });

  test('a socket that drops while a session is waited for is replaced, and the session asked for again', async () => {
    await connected();
    const next = await reconnect();
    next.answer('resume', 'error', { code: 'moving', retryable: true, retry_after_ms: 5_000 });
    next.drop();
    mock.timers.tick(500);
    FakeSocket.last.open();
    assert.equal(FakeSocket.all.length, 3);
    assert.equal(FakeSocket.last.sent[0].payload.resume_token, 'r1');
    mock.timers.tick(5_000);
    assert.equal(next.sent.length, 1);
  });

  test('a room that moved without all that was told goes on from its own number', async () => {
    const { events, socket } = await connected();
    socket.say(event(1));
    socket.say({ type: 'room-moved', seq: 9, payload: { reset: true, n: 'moved' } });
    socket.say(event(10));
    socket.say({ type: 'room-moved', seq: 9, payload: { reset: true, n: 'again' } });
    assert.deepEqual(events, [1, 'moved', 10]);
    assert.equal(FakeSocket.all.length, 1);
  });

  test('a session taken over elsewhere is not fought for', async () => {
    const { signaling, socket } = await connected();
    const closed = mock.fn();
    signaling.on('closed', closed);
    socket.drop(4001);
    mock.timers.tick(60_000);
    assert.equal(closed.mock.calls[0]?.arguments[0].code, 'replaced');
    assert.equal(FakeSocket.all.length, 1);
  });

  test('a refused token is renewed once, then it is over', async () => {
    const token = mock.fn((/** @type {boolean} */ refresh) => (refresh ? 'T2' : 'T'));
    const { signaling } = await connected({ token });
    const closed = mock.fn();
    signaling.on('closed', closed);
    const next = await reconnect();
    next.answer('resume', 'error', { code: 'resume_expired' });
    await settle();
    next.answer('auth', 'error', { code: 'token_expired' });
    mock.timers.tick(1_000);
    FakeSocket.last.open();
    await settle();
    assert.equal(FakeSocket.last.sent[0].payload.token, 'T2');
    FakeSocket.last.answer('auth', 'error', { code: 'token_expired' });
    assert.equal(closed.mock.calls[0]?.arguments[0].code, 'token_expired');
  });
});

describe('reconnecting', () => {
  test('the first attempt comes within 200 ms, later ones ever later up to 10 s', () => {
    for (const random of [() => 0, () => 0.999]) {
      assert.ok(backoffMs(0, random) <= 200);
      let before = 0;
      for (let attempt = 1; attempt < 40; attempt++) {
        const delay = backoffMs(attempt, random);
        assert.ok(delay >= before && delay <= 10_000, `${attempt}: ${delay}`);
        before = delay;
      }
    }
    assert.ok(backoffMs(3, () => 0) < backoffMs(3, () => 0.9), 'jittered');
  });

  test('goes on for as long as the server is away', async () => {
    const { signaling } = await connected();
    /** @type {number[]} */
    const delays = [];
    signaling.on('reconnecting', ({ delayMs }) => delays.push(delayMs));
    for (let n = 0; n < 6; n++) {
      FakeSocket.last.drop();
      mock.timers.tick(10_000);
    }
    assert.equal(FakeSocket.all.length, 7);
    assert.deepEqual(delays, [100, 250, 500, 1_000, 2_000, 4_000]);
  });

  for (const code of [1006, 1011, 1012, 1001]) {
    test(`a close with ${code} is answered at once`, async () => {
      const { signaling, socket } = await connected();
      /** @type {number[]} */
      const delays = [];
      signaling.on('reconnecting', ({ delayMs }) => delays.push(delayMs));
      socket.drop(code);
      assert.ok((delays[0] ?? Infinity) <= 200);
      mock.timers.tick(200);
      assert.equal(FakeSocket.all.length, 2);
    });
  }

  test('what the server asks is spread over ± 20 %, and holds once', async () => {
    assert.deepEqual([0, 0.5, 1].map((at) => Math.round(aboutMs(1_000, () => at))), [800, 1_000, 1_200]);
    const { signaling, socket } = await connected();
    /** @type {number[]} */
    const delays = [];
    signaling.on('reconnecting', ({ delayMs }) => delays.push(delayMs));
    socket.say({ type: 'goodbye', seq: 1, payload: { reason: 'draining', retry_after_ms: 5_000 } });
    socket.drop(1001);
    mock.timers.tick(5_000);
    FakeSocket.last.drop();
    assert.deepEqual(delays, [5_000, 250]);
  });

  test('waits as long as the server’s goodbye asks', async () => {
    const { socket } = await connected();
    socket.say({ type: 'goodbye', seq: 1, payload: { reason: 'draining', retry_after_ms: 1_500 } });
    socket.drop(1001);
    mock.timers.tick(1_499);
    assert.equal(FakeSocket.all.length, 1);
    mock.timers.tick(1);
    assert.equal(FakeSocket.all.length, 2);
  });

  test('a silent socket is asked for a sign of life, then given up', async () => {
    const { signaling, socket } = await connected();
    mock.timers.tick(10_000);
    assert.equal(socket.sent.at(-1).type, 'ping');
    socket.answer('ping', 'pong');
    mock.timers.tick(10_000);
    mock.timers.tick(5_000);
    await settle();
    assert.equal(signaling.state, 'reconnecting');
    assert.equal(socket.closeCode, 4000);
  });

  test('closing ends it: clean code, waiting requests rejected, no further socket', async () => {
    const { signaling, socket } = await connected();
    const request = signaling.request('a', {});
    signaling.close();
    await assert.rejects(request, { code: 'closed', retryable: false });
    assert.equal(socket.closeCode, 1000);
    mock.timers.tick(60_000);
    assert.equal(FakeSocket.all.length, 1);
  });

  test('what is no envelope is passed over', async () => {
    const { events, socket } = await connected();
    for (const data of ['', '{', 'null', '[]', '{"type":5}', new ArrayBuffer(4)]) socket.onmessage?.({ data });
    socket.say(event(1));
    assert.deepEqual(events, [1]);
  });
});

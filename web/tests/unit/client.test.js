// @ts-check
import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { Caside } from '../../sdk/caside.js';
import { FakeSocket } from './fake-socket.js';

const realWebSocket = globalThis.WebSocket;
/** @type {Caside} */
let client;

/** Lets every promise that can settle do so. */
const settle = () => new Promise((resolve) => setImmediate(resolve));

beforeEach(() => {
  FakeSocket.all = [];
  mock.timers.reset();
  mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'] });
  globalThis.WebSocket = /** @type {any} */ (FakeSocket);
  client = new Caside({ url: 'https://calls.example' });
});

afterEach(async () => {
  await client.close();
  globalThis.WebSocket = realWebSocket;
});

/** @param {{token?: string, room?: string}} options */
function dial(options) {
  client.connect(options).catch(() => {});
  return FakeSocket.last;
}

test('a socket’s address names the room that will be joined, for balancers that keep rooms together', () => {
  assert.equal(dial({ token: 't', room: 'team:a b' }).url, 'wss://calls.example/ws?room=team%3Aa+b');
});

test('without a room it names none', () => {
  assert.equal(dial({ token: 't' }).url, 'wss://calls.example/ws');
});

test('the next socket is for the room that was joined', async () => {
  const first = dial({ token: 't', room: 'lobby' });
  first.open();
  await settle();
  first.answer('auth', 'welcome', { user: { id: 'u', name: 'U' }, resume_token: 'r', ice_servers: [], heartbeat_ms: 10_000, server: {} });
  await settle();
  client.join('standup', { mode: 'p2p' }).catch(() => {});
  await settle();
  first.drop();
  mock.timers.tick(1_000);
  assert.equal(FakeSocket.all.length, 2);
  assert.equal(FakeSocket.last.url, 'wss://calls.example/ws?room=standup');
});

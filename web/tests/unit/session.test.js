// @ts-check
import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { Session } from '../../sdk/session.js';

/** @type {{path: string, headers: Record<string, string>, body: any}[]} */
let asked = [];
/** @type {(path: string, body: any) => [number, any]} */
let answer = () => [200, {}];
const realFetch = globalThis.fetch;

const NOW = 1_000_000_000_000;
const signedIn = () => ({ token: 'old', refreshToken: 'r1', expiresAt: NOW + 3_600_000 });
/** @param {number} n */
const renewed = (n) => /** @type {[number, any]} */ ([200, { token: `t${n}`, token_type: 'Bearer', expires_in: 3600, refresh_token: `r${n}` }]);

beforeEach(() => {
  asked = [];
  mock.timers.reset();
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: NOW });
  globalThis.fetch = /** @type {any} */ (async (/** @type {string} */ url, /** @type {any} */ { headers, body }) => {
    const path = new URL(url).pathname;
    asked.push({ path, headers, body: body && JSON.parse(body) });
    const [status, json] = answer(path, body && JSON.parse(body));
    return new Response(JSON.stringify(json), { status });
  });
});

afterEach(() => {
  globalThis.fetch = realFetch;
});

test('a wrong password is the server’s error, and nobody is signed in', async () => {
  answer = () => [401, { error: { code: 'invalid_credentials', message: 'no', request_id: 'q7' } }];
  const session = new Session('http://x');
  await assert.rejects(session.login('ada', 'wrong'), { code: 'invalid_credentials', requestId: 'q7', retryable: false });
  assert.equal(session.signedIn, false);
});

test('signing in keeps the tokens and requests bear them', async () => {
  answer = (path) => (path === '/login' ? renewed(1) : [200, { items: [] }]);
  const saved = mock.fn();
  const session = new Session('http://x', { store: { load: () => null, save: saved } });
  await session.login('ada', 'right');
  await session.request('GET', '/recordings');
  assert.equal(saved.mock.calls[0]?.arguments[0].refreshToken, 'r1');
  assert.equal(asked[1]?.headers.authorization, 'Bearer t1');
});

test('a token about to run out is renewed once, however many ask', async () => {
  answer = () => renewed(2);
  const session = new Session('http://x', { tokens: { ...signedIn(), expiresAt: NOW + 30_000 } });
  assert.deepEqual(await Promise.all([session.token(), session.token(), session.token()]), ['t2', 't2', 't2']);
  assert.deepEqual(asked.map(({ path, body }) => [path, body.refresh_token]), [['/auth/token', 'r1']]);
});

test('the token is renewed by itself before it runs out', async () => {
  answer = () => renewed(2);
  const session = new Session('http://x', { tokens: signedIn() });
  const told = new Promise((resolve) => (session.onRenewed = resolve));
  mock.timers.tick(3_600_000 - 60_000 + 1);
  assert.equal(await told, 't2');
});

test('a refresh token that another tab has used already is not used again', async () => {
  answer = () => [401, { error: { code: 'unauthorized', message: 'replayed' } }];
  const other = { token: 'theirs', refreshToken: 'r9', expiresAt: NOW + 3_600_000 };
  let stored = /** @type {any} */ ({ ...signedIn(), expiresAt: NOW + 1_000 });
  const session = new Session('http://x', { store: { load: () => stored, save: (tokens) => (stored = tokens) } });
  stored = other;
  assert.equal(await session.token(), 'theirs');
  assert.deepEqual(asked, []);
});

test('a request with an expired token is made again with a new one', async () => {
  answer = (path) => (path === '/auth/token' ? renewed(2) : asked.length === 1 ? [401, { error: { code: 'token_expired' } }] : [200, { id: 'x' }]);
  const session = new Session('http://x', { tokens: signedIn() });
  assert.deepEqual(await session.request('GET', '/rooms/x'), { id: 'x' });
  assert.deepEqual(asked.map(({ path }) => path), ['/rooms/x', '/auth/token', '/rooms/x']);
});

test('a revoked family signs out; a server that is away does not', async () => {
  answer = () => [503, { error: { code: 'dependency_unavailable', message: 'database', retryable: true } }];
  const session = new Session('http://x', { tokens: signedIn() });
  await assert.rejects(session.token(true), { code: 'dependency_unavailable', retryable: true });
  assert.equal(session.signedIn, true);
  answer = () => [401, { error: { code: 'unauthorized', message: 'revoked' } }];
  await assert.rejects(session.token(true), { code: 'unauthorized' });
  assert.equal(session.signedIn, false);
});

test('an answer that is no JSON is a failure of the connection, not of the page', async () => {
  globalThis.fetch = /** @type {any} */ (async () => new Response('<html>proxy</html>', { status: 502 }));
  const session = new Session('http://x', { tokens: { token: 'T' } });
  await assert.rejects(session.request('GET', '/rooms'), { name: 'CasideError', code: 'connection_failed', retryable: true });
});

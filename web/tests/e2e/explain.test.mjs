// Twelve things that go wrong, one after the other: within five seconds of it, of a page from its join on, `caside inspect call`
// names the cause, and so does what the client is told. What needs several nodes is in ../cluster/explain.test.mjs.
import assert from 'node:assert/strict';
import { createHmac, randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { request } from 'node:http';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { Client } from '../cluster/socket.mjs';
import { causeIn, inspectCall } from './inspect.mjs';
import { Node, browser, decodes, joinPage, until } from './harness.mjs';
import { checksOnly } from './stun.mjs';

const WITHIN_MS = 5_000;
const JWT_SECRET = randomBytes(32).toString('hex');
const fixture = (name) => readFile(new URL(`../../../media/tests/fixtures/sdp/${name}.sdp`, import.meta.url), 'utf8');

let node;
let chromium;

before(async () => {
  [node, chromium] = await Promise.all([start(), browser()]);
});

after(async () => {
  await chromium?.close();
  await node?.stop();
});

function start(env = {}) {
  return Node.start({ password: 'none', env: { JWT_SECRET, ...env } });
}

/** A token that the nodes take. */
function token(user, claims = {}) {
  const now = Math.floor(Date.now() / 1000);
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const body = { iss: 'caside', sub: user, name: user, scope: 'user', iat: now, exp: now + 3_600, ...claims };
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(body)}`;
  return `${signed}.${createHmac('sha256', JWT_SECRET).update(signed).digest('base64url')}`;
}

/** The cause is named by the command line and to the client, both soon enough. */
async function named(code, { at = node, call, told, began }) {
  const left = () => Math.max(1, began + WITHIN_MS - Date.now());
  const seen = causeIn(() => inspectCall(at, call, { JWT_SECRET }), code, left());
  const heard = told && until(`the client to be told ${code}`, told, left());
  const [cause] = await Promise.all([seen, heard]).catch(async (error) => {
    console.error(await inspectCall(at, call, { JWT_SECRET }, { json: false }).catch(String));
    throw error;
  });
  console.log(`${code}: named after ${Date.now() - began} ms`);
  assert.ok(cause.says.length > 0 && cause.do.length > 0);
  return cause;
}

/** A page in a call of its own; what it is told of its own connection is kept. */
async function page(room, { prepare, at = node } = {}) {
  // Tests bring workers of their own, which the page's policy forbids.
  const context = await chromium.newContext({ bypassCSP: true });
  if (prepare) await context.addInitScript(prepare);
  const joined = await joinPage(context, at, { room, name: 'Ada', token: token('ada') });
  joined.began = Date.now();
  joined.causes = await joined.evaluateHandle(() => {
    const { room } = globalThis.caside;
    const told = [room.localParticipant.qualityCause];
    room.on('connection-quality', ({ isLocal, qualityCause }) => isLocal && told.push(qualityCause));
    return told;
  });
  joined.wasTold = (code) => joined.causes.evaluate((told, wanted) => told.includes(wanted), code);
  joined.end = () => context.close();
  return joined;
}

/** Lets a page hear only of these candidates of the server. */
const hearsOf = {
  none: () => {
    const plain = RTCPeerConnection.prototype.setRemoteDescription;
    RTCPeerConnection.prototype.setRemoteDescription = function ({ type, sdp }) {
      return plain.call(this, { type, sdp: sdp.replace(/a=candidate:[^\r\n]*\r\n/g, '') });
    };
  },
  tcp: () => {
    const plain = RTCPeerConnection.prototype.setRemoteDescription;
    RTCPeerConnection.prototype.setRemoteDescription = function ({ type, sdp }) {
      return plain.call(this, { type, sdp: sdp.replace(/a=candidate:\S+ 1 udp [^\r\n]*\r\n/g, '') });
    };
  },
};

const observer = async (room, at = node) => {
  const client = await Client.open(at.url, token('eve'));
  await client.join(room);
  return client;
};

test('UDP is blocked, and TCP too: others reach the node', async () => {
  const well = await page('blocked');
  const reached = async () => (await inspectCall(node, 'blocked', { JWT_SECRET })).timeline.some(({ what }) => what === 'secured');
  // There is no such call before the page has joined.
  await until('somebody to reach the node', () => reached().catch(() => false));
  const cut = await page('blocked', { prepare: hearsOf.none });
  const cause = await named('udp_blocked', { call: 'blocked', told: () => cut.wasTold('udp_blocked'), began: cut.began });
  assert.equal(cause.participant_id, await cut.evaluate(() => globalThis.caside.room.localParticipant.id));
  await until('a sentence for the person', () => cut.getByText('Your network blocks UDP').count());
  await Promise.all([cut.end(), well.end()]);
});

test('UDP is blocked, and TCP carries the media', async () => {
  const cut = await page('by-tcp', { prepare: hearsOf.tcp });
  await named('udp_blocked', { call: 'by-tcp', told: () => cut.wasTold('udp_blocked'), began: cut.began });
  assert.equal(await cut.evaluate(() => globalThis.caside.room.localParticipant.quality), 'good');
  await cut.end();
});

test('the announced address leads nowhere', async () => {
  const lost = await start({ CASIDE_MEDIA_IP: '192.0.2.1' });
  const cut = await page('nowhere', { at: lost });
  await named('address_unreachable', { at: lost, call: 'nowhere', told: () => cut.wasTold('address_unreachable'), began: cut.began });
  const { timeline } = await inspectCall(lost, 'nowhere', { JWT_SECRET });
  assert.ok(timeline.some(({ what, detail }) => what === 'client reports' && detail.includes('checking')), 'the page says what it sees');
  await cut.end();
  // The call has ended, and what was wrong with it is in the database.
  const ended = await until('the call to end', async () => {
    const explained = await inspectCall(lost, 'nowhere', { JWT_SECRET });
    return explained.status === 'ended' && explained;
  }, 30_000);
  assert.ok(ended.causes.some(({ code }) => code === 'address_unreachable'));
  assert.equal((await inspectCall(lost, ended.call, { JWT_SECRET })).call, ended.call);
  await lost.stop();
});

test('the token has expired', async () => {
  const began = Date.now();
  const past = Math.floor(began / 1000) - 60;
  const old = token('ada', { room: 'late', iat: past - 60, exp: past });
  const client = await Client.open(node.url);
  const refusal = await client.request('auth', { token: old }).catch((error) => error);
  assert.equal(refusal.code, 'token_expired');
  const cause = await named('token_expired', { call: 'late', told: () => client.closed === 4401, began });
  assert.equal(cause.user, 'ada');
});

test('the token is for another room', async () => {
  const began = Date.now();
  const client = await Client.open(node.url, token('ada', { room: 'mine' }));
  const refusal = await client.join('theirs').catch((error) => error);
  assert.equal(refusal.code, 'forbidden');
  assert.match(refusal.message, /another room/);
  const cause = await named('no_grant', { call: 'theirs', began });
  assert.equal(cause.user, 'ada');
  await client.close();
});

test('no codec in common', async () => {
  const began = Date.now();
  const client = await Client.open(node.url, token('ada'));
  await client.join('codecs');
  const camera = (await fixture('chromium_camera')).replace(/a=rtpmap:(\d+) (?!rtx|red|ulpfec)[\w-]+\//g, 'a=rtpmap:$1 NONESUCH/');
  const refusal = await client.request('offer', { target: 'publish', sdp: camera }).catch((error) => error);
  assert.equal(refusal.code, 'no_common_codec');
  const cause = await named('codec_mismatch', { call: 'codecs', began });
  assert.equal(cause.participant_id, client.id);
  await client.close();
});

test('the certificate is not the one signaled', async () => {
  const cut = await page('forged', {
    prepare: () => {
      const plain = WebSocket.prototype.send;
      WebSocket.prototype.send = function (frame) {
        return plain.call(this, frame.replace(/(a=fingerprint:sha-256 )(..)/g, (_, name, byte) => name + (byte === '00' ? '01' : '00')));
      };
    },
  });
  await named('fingerprint_mismatch', { call: 'forged', told: () => cut.wasTold('fingerprint_mismatch'), began: cut.began });
  await cut.end();
});

test('ICE works and DTLS does not come', async () => {
  const began = Date.now();
  const client = await Client.open(node.url, token('ada'));
  await client.join('stopped');
  const offer = await fixture('chromium_camera');
  const { sdp } = await client.request('offer', { target: 'publish', sdp: offer });
  const stop = await checksOnly(offer, sdp);
  const told = () => client.told('connection-quality').some(({ participant_id, cause }) => participant_id === client.id && cause === 'dtls_blocked');
  await named('dtls_blocked', { call: 'stopped', told, began });
  stop();
  await client.close();
});

test('pictures come without a key frame', async () => {
  const watching = await observer('keyless');
  const cut = await page('keyless', {
    prepare: () => {
      const worker = `onrtctransform = ({ transformer }) => {
        const drop = { transform: (frame, controller) => frame.type !== 'key' && controller.enqueue(frame) };
        transformer.readable.pipeThrough(new TransformStream(drop)).pipeTo(transformer.writable);
      };`;
      const url = URL.createObjectURL(new Blob([worker], { type: 'text/javascript' }));
      const add = RTCPeerConnection.prototype.addTransceiver;
      RTCPeerConnection.prototype.addTransceiver = function (...parameters) {
        const transceiver = add.apply(this, parameters);
        transceiver.sender.transform = new RTCRtpScriptTransform(new Worker(url), {});
        return transceiver;
      };
    },
  });
  const told = () => cut.wasTold('no_key_frame');
  const { track } = await named('no_key_frame', { call: 'keyless', told, began: cut.began });
  const seen = watching.told('connection-quality').filter(({ cause }) => cause === 'no_key_frame');
  assert.equal(seen.length, 1, 'who watches is told too');
  assert.ok(track);
  await cut.end();
  await watching.close();
});

test('a source is muted, or nothing comes of it', async () => {
  const watching = await observer('quiet');
  const well = await page('quiet');
  await until('sound and picture', async () => watching.told('track-published').length === 2);
  let began = Date.now();
  await well.getByTestId('mute').click();
  const muted = () => watching.told('track-updated').some((track) => track.source === 'microphone' && track.muted);
  await named('source_muted', { call: 'quiet', told: muted, began });
  await well.getByTestId('mute').click();
  await until('it to be over', async () => (await inspectCall(node, 'quiet', { JWT_SECRET })).causes.every(({ code, until: end }) => code !== 'source_muted' || end));

  began = Date.now();
  await well.evaluate(() => {
    const { publishConnection } = globalThis.caside.room.media;
    const sender = publishConnection.getSenders().find(({ track }) => track?.kind === 'audio');
    return sender.replaceTrack(null);
  });
  const silent = await named('source_muted', { call: 'quiet', told: () => well.wasTold('source_muted'), began });
  assert.match(silent.detail, /no packet comes/);
  await well.end();
  await watching.close();
});

test('the node is full', async () => {
  const full = await start({ CASIDE_MAX_CONNECTIONS: '1' });
  const first = await Client.open(full.url, token('ada'));
  await first.join('crowded');
  const began = Date.now();
  const status = await upgrade(full, token('bob', { room: 'crowded' }));
  assert.equal(status, 503);
  // A browser's page does not see that; the SDK finds it out.
  const context = await chromium.newContext();
  const late = await context.newPage();
  await late.goto(new URL('/docs', full.url).href);
  const told = await late.evaluate(async (bearer) => {
    const { Caside } = await import('/sdk/caside.js');
    return new Caside().connect({ token: bearer }).then(() => 'connected', (error) => error.code);
  }, token('bob'));
  assert.equal(told, 'too_many_connections');
  await named('node_full', { at: full, call: 'crowded', began });
  const { causes } = await inspectCall(full, 'crowded', { JWT_SECRET });
  assert.ok(causes.some(({ code, user }) => code === 'node_full' && user === 'bob'));
  await context.close();
  await first.close();
  await full.stop();
});

test('a call that goes well has no cause, and is readable', async () => {
  const ada = await page('well');
  const bob = await page('well');
  await Promise.all([decodes(ada, 1), decodes(bob, 1)]);
  const explained = await inspectCall(node, 'well', { JWT_SECRET });
  assert.deepEqual(explained.causes, []);
  const own = explained.timeline.filter(({ participant_id }) => participant_id === explained.participants[0].participant_id);
  const steps = ['joined', 'negotiated', 'first check', 'connected', 'begun', 'secured', 'first packet', 'first key frame'];
  const places = steps.map((step) => own.findIndex(({ what }) => what === step));
  assert.ok(places.every((place) => place >= 0), `${places}`);
  const text = await inspectCall(node, 'well', { JWT_SECRET }, { json: false });
  assert.match(text, /nothing is known to be wrong/);
  assert.match(text, /first key frame/);
  await Promise.all([ada.end(), bob.end()]);
});

test('a call that nobody knows is not found', async () => {
  await assert.rejects(inspectCall(node, 'never-was', { JWT_SECRET }), /call_not_found/);
});

/** The status of a WebSocket upgrade that is refused. */
async function upgrade(at, bearer) {
  const headers = { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': randomBytes(16).toString('base64') };
  const [response] = await once(request(new URL(`/ws?token=${bearer}`, at.url), { headers, agent: false }).end(), 'response');
  response.resume();
  return response.statusCode;
}

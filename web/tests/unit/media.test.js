// @ts-check
import assert from 'node:assert/strict';
import { beforeEach, describe, mock, test } from 'node:test';
import { Room } from '../../sdk/room.js';
import { Signaling } from '../../sdk/signaling.js';
import { FakePeer, install } from './fake-peer.js';
import { FakeSocket } from './fake-socket.js';

/** Lets every promise that can settle do so. */
async function settle() {
  for (let n = 0; n < 5; n++) await new Promise((resolve) => setImmediate(resolve));
}

/** Lets time pass, and what becomes of it happen. */
async function pass(ms = 0) {
  mock.timers.tick(ms);
  await settle();
}

const peer = { participant_id: 'p2', user: 'grace', display_name: 'Grace', role: 'host', joined_at: '2026-01-01T00:00:00Z', connection: 'connected', tracks: [] };
const camera = { track: 'c2', participant_id: 'p2', kind: 'video', source: 'camera', label: null, codec: 'vp8', muted: false, held: false, layers: [] };
const state = (/** @type {any[]} */ participants) => ({ room: 'x', mode: 'sfu', locked: false, recording: null, participants, active_speakers: [] });

const microphone = () => /** @type {any} */ (Object.assign(new EventTarget(), { kind: 'audio', label: '', enabled: true, readyState: 'live', stop() {} }));

/** What was sent of a type, oldest first. */
const sent = (/** @type {string} */ type, socket = FakeSocket.last) => socket.sent.filter((message) => message.type === type).map(({ payload }) => payload);
const published = () => sent('offer').filter(({ target }) => target === 'publish');
const asked = () => sent('offer').filter(({ target }) => target === 'subscribe');

/** A room that we are in, publish a microphone in as `m1`, and receive a camera as `c2` in. */
async function called() {
  const signaling = new Signaling({ url: 'ws://x/ws', token: () => 'T', random: () => 0.5, WebSocket: /** @type {any} */ (FakeSocket) });
  const opened = signaling.open();
  const socket = FakeSocket.last;
  socket.open();
  await settle();
  socket.answer('auth', 'welcome', { resume_token: 'r1', heartbeat_ms: 1e9 });
  await opened;
  const room = new Room('x', signaling, [], {});
  /** @type {string[]} */
  const told = [];
  for (const type of /** @type {const} */ (['participant-joined', 'participant-left', 'track', 'track-removed', 'error', 'left'])) room.on(type, () => told.push(type));
  let seq = 0;
  signaling.on('message', (message) => room.handle(message));
  signaling.on('resumed', (resumed) => room.resumed(/** @type {any} */ (resumed)));
  const say = async (/** @type {string} */ type, /** @type {any} */ payload) => {
    FakeSocket.last.say({ type, seq: ++seq, payload });
    await settle();
  };
  const entered = room.enter();
  socket.answer('join', 'joined', { participant_id: 'p1', call_id: 'c', role: 'host', room_state: state([{ ...peer, tracks: [camera] }]) });
  await entered;
  const added = room.media.add([{ source: 'microphone', track: microphone() }]);
  await settle();
  await answer({ 0: 'm1' });
  await added;
  await say('offer', subscription('sfu1'));
  socket.answer('answer', 'ok');
  connect();
  await settle();
  told.length = 0;
  return { room, signaling, socket, told, say, local: /** @type {any} */ (room.localTrack('microphone')) };
}

/** What the SFU offers of Grace's camera. */
const subscription = (/** @type {string} */ ufrag) => ({
  target: 'subscribe',
  sdp: `v=0\r\na=ice-ufrag:${ufrag}\r\na=mid:0\r\n`,
  tracks: { 0: { track: 'c2', participant_id: 'p2', source: 'camera' } },
});

/** Answers the last offer to publish. */
async function answer(/** @type {any} */ tracks) {
  const request = FakeSocket.last.sent.findLast(({ type, payload }) => type === 'offer' && payload.target === 'publish');
  FakeSocket.last.say({ type: 'answer', id: request.id, payload: { target: 'publish', sdp: 'v=0\r\n', tracks } });
  await settle();
}

/** Everything that is open connects. */
function connect() {
  for (const it of FakePeer.all) if (it.connectionState === 'new') it.become('connected');
}

const open = () => FakePeer.all.filter(({ connectionState }) => connectionState !== 'closed').length;

/** Refuses the last request of a type. */
async function refuse(/** @type {string} */ code, type = 'offer') {
  FakeSocket.last.answer(type, 'error', { code, message: 'not now', retryable: true });
  await settle();
}

beforeEach(() => {
  FakeSocket.all = [];
  install();
  mock.timers.reset();
  mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'] });
});

describe('a room that moves', () => {
  test('gets what we publish over another connection, under the same ids, and the one before stays until it carries all', async () => {
    const { room, say, local, told } = await called();
    const before = room.media.subscribeConnection;
    await say('room-moved', { node: 'n2', epoch: 2, reason: 'failover' });
    await pass();
    assert.equal(asked().length, 1);
    FakeSocket.last.answer('offer', 'ok');
    await settle();
    assert.deepEqual(published().at(-1).tracks, { 0: { source: 'microphone', track: 'm1' } });
    assert.equal(local.id, 'm1');
    await answer({ 0: 'm1' });
    await say('offer', subscription('sfu2'));
    connect();
    await settle();
    assert.equal(open(), 4, 'nothing came over the new one yet');
    assert.notEqual(room.media.subscribeConnection, before);
    /** @type {any} */ (room.media.subscribeConnection).getReceivers()[0].track.dispatchEvent(new Event('unmute'));
    await settle();
    assert.equal(open(), 2);
    assert.deepEqual(told, ['track']);
    assert.equal(local.id, 'm1');
    await room.media.add([]);
    assert.equal(published().length, 2, 'and nothing is published twice');
  });

  test('may have offered on the connection before in the last moment, which nobody answers', async () => {
    const { room, say } = await called();
    await say('room-moved', { node: 'n2', epoch: 2, reason: 'failover' });
    await pass();
    const subscriber = room.media.subscribeConnection;
    await say('offer', subscription('sfu1'));
    assert.equal(sent('answer').length, 1);
    await say('offer', subscription('sfu2'));
    assert.equal(sent('answer').length, 2);
    assert.equal(room.media.subscribeConnection, subscriber);
  });

  test('may give other ids; then the old one ends without further ado', async () => {
    const { room, say, local, told } = await called();
    await say('room-moved', { node: 'n2', epoch: 2, reason: 'failover' });
    await pass();
    FakeSocket.last.answer('offer', 'ok');
    await settle();
    await say('track-unpublished', { track: 'm1', participant_id: 'p1' });
    assert.equal(local.id, null);
    await answer({ 0: 'm9' });
    await say('track-unpublished', { track: 'm1', participant_id: 'p1' });
    await pass(2_000);
    assert.equal(local.id, 'm9');
    assert.equal(asked().length, 1, 'nothing is opened anew');
    assert.deepEqual(told, []);
    connect();
    await say('track-unpublished', { track: 'm9', participant_id: 'p1' });
    await pass(60);
    assert.equal(asked().length, 2, 'but for a track that ends later');
    assert.equal(room.left, false);
  });

  test('and moves again at once goes to the last place only', async () => {
    const { room, say, local } = await called();
    await say('room-moved', { node: 'n2', epoch: 2, reason: 'failover' });
    await pass();
    FakeSocket.last.answer('offer', 'ok');
    await settle();
    await refuse('moving');
    await say('room-moved', { node: 'n3', epoch: 3, reason: 'failover' });
    await pass();
    assert.equal(asked().length, 2);
    FakeSocket.last.answer('offer', 'ok');
    await settle();
    assert.equal(published().length, 3);
    await answer({ 0: 'm1' });
    await pass(12_000);
    assert.equal(published().length, 3, 'the superseded offer is not made again');
    assert.equal(published().at(-1).tracks[0].track, 'm1');
    assert.equal(local.id, 'm1');
    await say('offer', subscription('sfu3'));
    connect();
    await pass(5_000);
    assert.equal(open(), 2);
    assert.equal(room.media.state, 'connected');
  });

  for (const code of ['moving', 'overloaded', 'dependency_unavailable']) {
    test(`is asked again when it says ${code}`, async () => {
      const { say, local, told } = await called();
      await say('room-moved', { node: 'n2', epoch: 2, reason: 'failover' });
      await pass();
      for (let n = 1; n <= 3; n++) {
        await refuse(code);
        await pass(1_200);
        assert.equal(asked().length, n + 1);
      }
      FakeSocket.last.answer('offer', 'ok');
      await settle();
      for (let n = 1; n <= 3; n++) {
        await refuse(code);
        await pass(1_200);
        assert.equal(published().length, 1 + n + 1);
      }
      await answer({ 0: 'm1' });
      await say('offer', subscription('sfu2'));
      await refuse(code, 'answer');
      await pass(200);
      assert.equal(sent('answer').length, 3);
      assert.equal(local.id, 'm1');
      assert.deepEqual(told, []);
    });
  }

  test('tells what is muted, and what was unmuted meanwhile, once it knows the track', async () => {
    const { room, say } = await called();
    await room.setMuted('microphone', false);
    const muting = room.setMuted('microphone', true);
    FakeSocket.last.answer('mute', 'ok');
    await muting;
    await say('room-moved', { node: 'n2', epoch: 2, reason: 'failover' });
    await pass();
    FakeSocket.last.answer('offer', 'ok');
    await settle();
    await room.setMuted('microphone', false);
    assert.equal(sent('unmute').length, 0);
    await answer({ 0: 'm1' });
    assert.deepEqual(sent('unmute'), [{ track: 'm1' }]);
  });

  test('without all that was told is brought up to date, and who is still there stays', async () => {
    const { room, say, told, local } = await called();
    const grace = room.participants.get('p2');
    const alan = { ...peer, participant_id: 'p3', display_name: 'Alan' };
    await say('room-moved', { node: 'n2', epoch: 2, reason: 'failover', reset: true, room_state: state([{ ...peer, tracks: [camera] }, alan]), you: { ...peer, participant_id: 'p1', role: 'moderator' } });
    await pass();
    assert.equal(room.participants.get('p2'), grace);
    assert.deepEqual(told, ['participant-joined']);
    assert.equal(room.localParticipant.role, 'moderator');
    assert.equal(asked().length, 1);
    FakeSocket.last.answer('offer', 'ok');
    await settle();
    assert.equal(published().at(-1).tracks[0].track, 'm1', 'our ids are named even if it does not list them');
    assert.equal(local.id, 'm1');
    await say('room-moved', { node: 'n3', epoch: 3, reason: 'failover', reset: true, room_state: state([alan]) });
    assert.deepEqual(told.slice(1), ['track-removed', 'participant-left']);
  });

  test('and does not list a track that is shown keeps it on show until its connection ends', async () => {
    const { room, say, told } = await called();
    await say('room-moved', { node: 'n2', epoch: 2, reason: 'failover', reset: true, room_state: state([peer]) });
    await pass();
    const grace = /** @type {any} */ (room.participants.get('p2'));
    assert.equal(grace.track('camera').id, 'c2');
    assert.deepEqual(told, []);
    await say('track-published', { ...camera, track: 'c9' });
    assert.equal(grace.track('camera').id, 'c2', 'what can be shown');
    FakeSocket.last.answer('offer', 'ok');
    await settle();
    await answer({ 0: 'm1' });
    connect();
    await pass(5_000);
    assert.deepEqual(told, ['track-removed']);
    assert.deepEqual([...grace.tracks.keys()], ['c9']);
  });

  test('is told again how a track is to be received', async () => {
    const { room, say } = await called();
    const subscribed = room.subscribe('c2', { maxWidth: 320 });
    FakeSocket.last.answer('subscribe', 'ok');
    await subscribed;
    await say('room-moved', { node: 'n2', epoch: 2, reason: 'failover' });
    await pass();
    await say('offer', subscription('sfu2'));
    await pass(2_000);
    assert.deepEqual(sent('subscribe').map(({ track, max_width }) => [track, max_width]), [['c2', 320], ['c2', 320]]);
  });
});

describe('a connection that broke', () => {
  test('is opened anew, its tracks under new ids', async () => {
    const { say, local } = await called();
    FakePeer.all[0]?.become('failed');
    await pass(150);
    assert.equal(asked().length, 1);
    FakeSocket.last.answer('offer', 'ok');
    await settle();
    assert.deepEqual(published().at(-1).tracks, { 0: { source: 'microphone' } });
    await answer({ 0: 'm2' });
    assert.equal(local.id, 'm2');
    await say('track-unpublished', { track: 'm1', participant_id: 'p1' });
    await pass(60);
    assert.equal(asked().length, 1);
  });

  test('because its room moves is opened there only, its tracks under the old ids', async () => {
    const { say, local } = await called();
    FakePeer.all[0]?.become('failed');
    await pass(100);
    await say('room-moved', { node: 'n2', epoch: 2, reason: 'failover' });
    await pass(500);
    assert.equal(asked().length, 1);
    FakeSocket.last.answer('offer', 'ok');
    await settle();
    assert.equal(published().at(-1).tracks[0].track, 'm1');
    assert.equal(local.id, 'm1');
  });

  test('and is opened anew when the room turns out to move goes to the new place', async () => {
    const { say, local } = await called();
    FakePeer.all[0]?.become('failed');
    await pass(150);
    await refuse('moving');
    await pass(1_000);
    await refuse('moving');
    await say('room-moved', { node: 'n2', epoch: 2, reason: 'failover' });
    await pass(2_000);
    assert.equal(asked().length, 3, 'what was asked of the old place is not asked again');
    FakeSocket.last.answer('offer', 'ok');
    await settle();
    assert.equal(published().at(-1).tracks[0].track, 'm1');
    assert.equal(local.id, 'm1');
  });

  test('while signaling is away is opened after the resume, where the room is by then', async () => {
    const { say, socket } = await called();
    socket.drop();
    FakePeer.all[0]?.become('failed');
    await pass(200);
    FakeSocket.last.open();
    await settle();
    FakeSocket.last.answer('resume', 'resumed', { resume_token: 'r2', reset: false, participant_id: 'p1' });
    await say('room-moved', { node: 'n2', epoch: 2, reason: 'failover' });
    await pass(300);
    assert.equal(asked().length, 1);
    FakeSocket.last.answer('offer', 'ok');
    await settle();
    assert.equal(published().at(-1).tracks[0].track, 'm1');
  });
});

test('what the SFU has no room for is offered again by itself until it has', async () => {
  const { room, told, local } = await called();
  const adding = room.media.add([{ source: 'screen-audio', track: microphone() }]);
  const failed = assert.rejects(adding, { code: 'overloaded' });
  await settle();
  for (let n = 0; n < 5; n++) {
    await refuse('overloaded');
    await pass(2_500);
  }
  await failed;
  assert.equal(published().length, 6);
  await pass(10_000);
  assert.equal(published().length, 7);
  await answer({ 0: 'm1', 1: 'a1' });
  assert.equal(room.localTrack('screen-audio')?.id, 'a1');
  assert.equal(local.id, 'm1');
  await pass(60_000);
  assert.equal(published().length, 7);
  assert.deepEqual(told, []);
});

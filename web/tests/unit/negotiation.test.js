// @ts-check
import assert from 'node:assert/strict';
import { describe, mock, test } from 'node:test';
import { NegotiationQueue, Serial } from '../../sdk/media/negotiation.js';
import { iceUfrag, withSoundAgain, withoutCandidates } from '../../sdk/media/sdp.js';
import { RemoteTracks } from '../../sdk/media/remote.js';

/** @returns {{promise: Promise<void>, resolve: () => void, reject: (error: Error) => void}} */
function deferred() {
  /** @type {any} */
  const parts = {};
  parts.promise = new Promise((resolve, reject) => Object.assign(parts, { resolve, reject }));
  return parts;
}

const settle = () => new Promise((resolve) => setImmediate(resolve));

describe('the negotiation queue', () => {
  test('never runs two at once, and joins what came meanwhile into one more', async () => {
    /** @type {ReturnType<typeof deferred>[]} */
    const runs = [];
    let running = 0;
    const queue = new NegotiationQueue(async () => {
      assert.equal(++running, 1);
      const run = deferred();
      runs.push(run);
      await run.promise;
      running--;
    });
    const first = queue.run();
    const later = [queue.run(), queue.run(), queue.run()];
    runs[0]?.resolve();
    await first;
    await settle();
    runs[1]?.resolve();
    await Promise.all(later);
    assert.equal(runs.length, 2);
    const again = queue.run();
    runs[2]?.resolve();
    await again;
    assert.equal(runs.length, 3);
  });

  test('a request that comes while one runs is not told of that one’s failure', async () => {
    const runs = [deferred(), deferred()];
    let n = 0;
    const queue = new NegotiationQueue(async () => runs[n++]?.promise);
    const first = queue.run();
    const second = queue.run();
    runs[0]?.reject(new Error('no answer'));
    await assert.rejects(first, /no answer/);
    await settle();
    runs[1]?.resolve();
    await second;
  });
});

test('serial tasks keep their order, and one that fails does not stop the next', async () => {
  const serial = new Serial();
  /** @type {number[]} */
  const done = [];
  const gate = deferred();
  const slow = serial.run(async () => {
    await gate.promise;
    done.push(1);
    throw new Error('broken');
  });
  const next = serial.run(async () => done.push(2));
  gate.resolve();
  await assert.rejects(slow, /broken/);
  await next;
  assert.deepEqual(done, [1, 2]);
});

test('descriptions go out without addresses, otherwise unchanged', () => {
  const sdp = 'v=0\r\na=ice-ufrag:ab+c\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\na=end-of-candidates\r\na=mid:0\r\n';
  assert.equal(withoutCandidates(sdp), 'v=0\r\na=ice-ufrag:ab+c\r\na=mid:0\r\n');
  assert.equal(iceUfrag(sdp), 'ab+c');
});

test('sound is named as what may be asked for again, once', () => {
  const sdp = 'm=audio 9 UDP/TLS/RTP/SAVPF 111 63\r\na=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\na=rtpmap:63 red/48000/2\r\n';
  const named = withSoundAgain(sdp);
  assert.equal(named, sdp.replace('48000/2\r\na=rtcp-fb:111', '48000/2\r\na=rtcp-fb:111 nack\r\na=rtcp-fb:111'));
  assert.equal(withSoundAgain(named), named);
});

describe('received tracks', () => {
  const media = /** @type {MediaStreamTrack} */ ({});
  const watched = () => {
    const remote = new RemoteTracks();
    const shown = mock.fn();
    const removed = mock.fn();
    remote.on('track', shown);
    remote.on('track-removed', removed);
    return { remote, shown, removed };
  };

  test('a track that moves to another connection is shown again and never removed', () => {
    const { remote, shown, removed } = watched();
    const [before, after] = [{}, {}];
    const track = { id: 't1', participantId: 'p', source: /** @type {const} */ ('camera'), mediaTrack: media };
    remote.bind(track, before);
    remote.bind(track, after);
    remote.unbind('t1', before);
    remote.unbindAll(before);
    assert.equal(shown.mock.callCount(), 2);
    assert.equal(removed.mock.callCount(), 0);
    remote.unbindAll(after);
    assert.equal(removed.mock.callCount(), 1);
  });

  test('the SFU’s track takes the place of the direct one of the same source', () => {
    const { remote, removed } = watched();
    const [mesh, sfu] = [{}, {}];
    const of = { participantId: 'p', source: /** @type {const} */ ('camera'), mediaTrack: media };
    remote.bind({ id: 'p2p:p:camera', ...of }, mesh);
    remote.bind({ id: 't1', ...of }, sfu);
    assert.equal(remote.carriedBy(mesh), false);
    remote.unbindAll(mesh);
    assert.deepEqual(remote.all.map(({ id }) => id), ['t1']);
    assert.equal(removed.mock.callCount(), 0);
  });

  /** A received track whose first packet is yet to come. */
  const silent = () => /** @type {any} */ (Object.assign(new EventTarget(), { muted: true }));
  const camera = { id: 't1', participantId: 'p', source: /** @type {const} */ ('camera') };

  test('a track that moves is shown from its next connection once something arrives there', () => {
    const { remote, shown, removed } = watched();
    const [before, after] = [{}, {}];
    remote.bind({ ...camera, mediaTrack: silent() }, before);
    assert.equal(shown.mock.callCount(), 1, 'the first time at once');
    const next = silent();
    remote.bind({ ...camera, mediaTrack: next }, after);
    assert.equal(shown.mock.callCount(), 1);
    assert.equal(remote.carriedBy(before), true);
    next.dispatchEvent(new Event('unmute'));
    assert.equal(shown.mock.calls[1]?.arguments[0].mediaTrack, next);
    assert.equal(remote.carriedBy(before), false);
    remote.unbindAll(before);
    assert.equal(removed.mock.callCount(), 0);
  });

  test('or when nothing arrives for long, or the connection before ends', () => {
    mock.timers.enable({ apis: ['setTimeout'] });
    const { remote, shown, removed } = watched();
    const origins = [{}, {}, {}];
    for (const origin of origins.slice(0, 2)) remote.bind({ ...camera, mediaTrack: silent() }, origin);
    mock.timers.tick(2_000);
    assert.equal(shown.mock.callCount(), 2);
    remote.bind({ ...camera, mediaTrack: silent() }, /** @type {object} */ (origins[2]));
    remote.unbindAll(/** @type {object} */ (origins[1]));
    assert.equal(shown.mock.callCount(), 3);
    assert.equal(removed.mock.callCount(), 0);
    mock.timers.reset();
  });

  test('what another move supersedes is never shown', () => {
    const { remote, shown } = watched();
    const tracks = [silent(), silent(), silent()];
    for (const mediaTrack of tracks) remote.bind({ ...camera, mediaTrack }, { mediaTrack });
    for (const mediaTrack of tracks) mediaTrack.dispatchEvent(new Event('unmute'));
    assert.deepEqual(shown.mock.calls.map((call) => tracks.indexOf(call.arguments[0].mediaTrack)), [0, 2]);
  });

  test('who leaves takes their tracks along', () => {
    const { remote, removed } = watched();
    remote.bind({ id: 't1', participantId: 'p', source: 'camera', mediaTrack: media }, {});
    remote.bind({ id: 't2', participantId: 'q', source: 'camera', mediaTrack: media }, {});
    remote.forget('p');
    assert.deepEqual(remote.all.map(({ id }) => id), ['t2']);
    assert.equal(removed.mock.calls[0]?.arguments[0].id, 't1');
  });
});

// @ts-check
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { SendingLine } from '../../sdk/media/sending-line.js';

/** A track of a source as wide as this. */
const local = (/** @type {any} */ source, /** @type {number} */ width, height = (width * 9) / 16) =>
  /** @type {any} */ ({ source, kind: 'video', stream: {}, mediaTrack: { getSettings: () => ({ width, height }) } });

/** A connection that makes one m-line, and what its sender was told. */
function connection() {
  /** @type {any} */
  const transceiver = { direction: '', currentDirection: 'sendonly', encodings: [], track: undefined };
  transceiver.sender = {
    replaceTrack: async (/** @type {any} */ track) => (transceiver.track = track),
    getParameters: () => structuredClone({ encodings: transceiver.encodings }),
    setParameters: async (/** @type {any} */ { encodings }) => (transceiver.encodings = encodings),
  };
  const addTransceiver = (/** @type {any} */ track, /** @type {any} */ { direction, sendEncodings }) =>
    Object.assign(transceiver, { track, direction, encodings: structuredClone(sendEncodings) });
  return { transceiver, peer: /** @type {any} */ ({ addTransceiver }) };
}

/** What goes out, as parts of the picture's width. */
const sizes = (/** @type {any} */ transceiver) =>
  transceiver.encodings.filter((/** @type {any} */ it) => it.active ?? true).map((/** @type {any} */ it) => it.scaleResolutionDownBy ?? 1);

describe('an m-line that sends', () => {
  for (const [width, height, expected] of /** @type {const} */ ([
    [1280, 720, [4, 2, 1]],
    [720, 1280, [4, 2, 1]],
    [640, 480, [2, 1]],
    [320, 180, [1]],
  ])) {
    test(`a camera of ${width} × ${height} goes out in ${expected.length} sizes`, () => {
      const { transceiver, peer } = connection();
      new SendingLine(peer, local('camera', width, height), {});
      assert.deepEqual(sizes(transceiver), expected);
    });
  }

  test('a screen goes out whole', () => {
    const { transceiver, peer } = connection();
    new SendingLine(peer, local('screen', 1920), {});
    assert.deepEqual(sizes(transceiver), [1]);
  });

  test('codecs with sizes in one stream have as many as the picture is large', () => {
    const modes = [1280, 640, 320].map((width) => {
      const { transceiver, peer } = connection();
      new SendingLine(peer, local('camera', width), { codec: 'vp9' });
      return transceiver.encodings.map((/** @type {any} */ it) => it.scalabilityMode);
    });
    assert.deepEqual(modes, [['L3T3_KEY'], ['L2T3_KEY'], ['L1T3']]);
  });

  test('a smaller picture takes the lower encodings, and what nobody watches stays off', async () => {
    const { transceiver, peer } = connection();
    const line = new SendingLine(peer, local('camera', 1280), {});
    await line.activate([{ rid: 'q', active: true }, { rid: 'h', active: true }, { rid: 'f', active: false }]);
    assert.deepEqual(sizes(transceiver), [4, 2]);
    assert.equal(line.hasRoomFor(local('camera', 640)), true);
    await line.replace(local('camera', 640));
    assert.deepEqual(sizes(transceiver), [2, 1]);
    await line.replace(local('camera', 320));
    assert.deepEqual(sizes(transceiver), [1]);
    await line.activate([{ rid: 'q', active: true }, { rid: 'h', active: true }, { rid: 'f', active: true }]);
    assert.deepEqual(sizes(transceiver), [1], 'a size that the picture has not is not sent, whoever wants it');
    await line.replace(local('camera', 1280));
    assert.deepEqual(sizes(transceiver), [4, 2, 1]);
  });

  test('a camera that is off keeps what it had', async () => {
    const { transceiver, peer } = connection();
    const line = new SendingLine(peer, local('camera', 1280), {});
    const off = { ...local('camera', 1280), mediaTrack: null };
    assert.equal(line.hasRoomFor(off), true);
    await line.replace(off);
    assert.equal(transceiver.track, null);
    assert.deepEqual(sizes(transceiver), [4, 2, 1]);
  });

  test('it is used again for the like alone, with everything on', async () => {
    const { transceiver, peer } = connection();
    const line = new SendingLine(peer, local('camera', 1280), {});
    await line.activate([{ rid: 'h', active: false }, { rid: 'f', active: false }]);
    line.release();
    assert.equal(line.suits(local('camera', 1280)), false, 'the server has yet to agree that it is free');
    transceiver.currentDirection = 'inactive';
    assert.equal(line.suits(local('camera', 320)), false);
    assert.equal(line.suits(local('screen', 1280)), false);
    const next = local('camera', 960);
    assert.equal(line.suits(next), true);
    await line.reuse(next);
    assert.equal(transceiver.direction, 'sendonly');
    assert.equal(transceiver.track, next.mediaTrack);
    assert.deepEqual(sizes(transceiver), [4, 2, 1]);
  });
});

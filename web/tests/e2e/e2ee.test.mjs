// Frames that only the clients can read go through the SFU, its layers and its switching.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Node, browser, run, until } from './harness.mjs';

let node;
let chromium;
let token;

before(async () => {
  node = await Node.start();
  chromium = await browser();
  token = await node.login();
});

after(async () => {
  await chromium?.close();
  await node?.stop();
});

/** Runs before the page's own scripts: every sender encrypts and every receiver decrypts in a worker, if it has the key. */
function encrypt(key) {
  // A stream cipher of no worth but to this test: what is not decrypted with the same key is noise to a decoder.
  const worker = `
    onrtctransform = ({ transformer }) => {
      const { key } = transformer.options;
      const mix = (frame, controller) => {
        const bytes = new Uint8Array(frame.data);
        // VP8: the frame's own header stays in the clear; sound is hidden whole.
        const clear = frame.type === 'key' ? 10 : frame.type === 'delta' ? 3 : 0;
        for (let i = clear; i < bytes.length; i++) bytes[i] ^= (key + i * 31) & 0xff;
        frame.data = bytes.buffer;
        controller.enqueue(frame);
      };
      transformer.readable.pipeThrough(new TransformStream({ transform: mix })).pipeTo(transformer.writable);
    };`;
  const url = URL.createObjectURL(new Blob([worker], { type: 'text/javascript' }));
  const transform = () => new RTCRtpScriptTransform(new Worker(url), { key });
  const add = RTCPeerConnection.prototype.addTransceiver;
  RTCPeerConnection.prototype.addTransceiver = function (...parameters) {
    const transceiver = add.apply(this, parameters);
    transceiver.sender.transform = transform();
    return transceiver;
  };
  const listen = (connection) =>
    connection.addEventListener('track', ({ receiver }) => {
      receiver.transform = transform();
    });
  globalThis.RTCPeerConnection = class extends RTCPeerConnection {
    constructor(...parameters) {
      super(...parameters);
      listen(this);
    }
  };
}

async function join(context, key, options) {
  const page = await context.newPage();
  page.on('pageerror', (error) => console.error(error.message));
  await page.goto(new URL('/docs', node.url).href);
  if (key !== null) await page.evaluate(`(${encrypt})(${key})`);
  await page.evaluate(
    async ([bearer, how]) => {
      const { Caside } = await import('/sdk/caside.js');
      const client = new Caside();
      await client.connect({ token: bearer });
      globalThis.room = await client.join('secret', how);
    },
    [token, options],
  );
  return page;
}

function received(page) {
  return page.evaluate(async () => {
    const connection = globalThis.room.media.subscribeConnection;
    const sound = connection?.getReceivers().find(({ track }) => track.kind === 'audio')?.track;
    if (sound && !globalThis.speaker) {
      // Sound is decoded when somebody listens.
      globalThis.speaker = Object.assign(new Audio(), { srcObject: new MediaStream([sound]) });
      globalThis.speaker.play().catch(console.error);
    }
    const report = await connection?.getStats();
    const of = (kind) => [...(report?.values() ?? [])].find((s) => s.type === 'inbound-rtp' && s.kind === kind);
    const [video, audio] = [of('video'), of('audio')];
    return { width: video?.frameWidth ?? 0, frames: video?.framesDecoded ?? 0, packets: video?.packetsReceived ?? 0, energy: audio?.totalAudioEnergy ?? 0 };
  });
}

test('encrypted frames are decoded by who has the key, in every size, and by nobody else', async () => {
  // The demo's own pages allow no workers made of text; an application that encrypts serves its own.
  const context = await chromium.newContext({ bypassCSP: true });
  await join(context, 77, { displayName: 'Publisher', publish: { camera: { width: 1280, height: 720, frameRate: 15 }, microphone: true } });
  const friend = await join(context, 77, { displayName: 'Friend' });
  const stranger = await join(context, null, { displayName: 'Stranger' });
  await until('the picture and the sound', async () => {
    const { frames, energy } = await received(friend);
    return frames > 10 && energy > 0;
  });
  for (const [quality, width] of [['high', 1280], ['low', 320], ['high', 1280]]) {
    await friend.evaluate(async (wish) => {
      const publisher = [...globalThis.room.participants.values()].find(({ displayName }) => displayName === 'Publisher');
      await globalThis.room.subscribe(publisher.track('camera'), { quality: wish });
    }, quality);
    await until(`${quality} to be ${width} wide`, async () => (await received(friend)).width === width, 25_000);
  }
  const before = (await received(friend)).frames;
  await until('frames to go on', async () => (await received(friend)).frames > before + 15);
  const outside = await received(stranger);
  assert.ok(outside.packets > 50, 'the stranger is sent the same');
  const { frames } = await received(friend);
  console.log(`decoded: ${frames} frames with the key, ${outside.frames} without`);
  assert.ok(outside.frames < frames / 4, `${outside.frames} frames decoded without the key`);
  await context.close();
});

/** Joins with a camera and a microphone, whose frames are encrypted if there is a `word` for it. */
async function publish(context, displayName, word) {
  const page = await context.newPage();
  page.on('pageerror', (error) => console.error(error.message));
  await page.goto(new URL('/docs', node.url).href);
  await page.evaluate(
    async ([bearer, name, encryption]) => {
      const { Caside } = await import('/sdk/caside.js');
      const client = new Caside();
      await client.connect({ token: bearer });
      // What a worker would do: VP8's own header stays in the clear (docs/e2ee.md).
      const worker = `onrtctransform = ({ transformer }) => {
        const transform = (frame, controller) => {
          const bytes = new Uint8Array(frame.data);
          for (let i = frame.type === 'key' ? 10 : frame.type === 'delta' ? 3 : 0; i < bytes.length; i++) bytes[i] ^= 0x5a;
          controller.enqueue(frame);
        };
        transformer.readable.pipeThrough(new TransformStream({ transform })).pipeTo(transformer.writable);
      };`;
      const url = URL.createObjectURL(new Blob([worker], { type: 'text/javascript' }));
      const transform = (rtp) => (rtp.transform ??= new RTCRtpScriptTransform(new Worker(url)));
      globalThis.room = await client.join('told', {
        displayName: name,
        encryption: encryption ? { name: encryption, transform } : undefined,
        publish: { camera: { width: 320, height: 180, frameRate: 15 }, microphone: true },
      });
    },
    [token, displayName, word],
  );
  return page;
}

/** What the others are told of the tracks of a participant. */
function told(page, displayName) {
  return page.evaluate((name) => {
    const participant = [...globalThis.room.participants.values()].find((other) => other.displayName === name);
    const tracks = ['camera', 'microphone'].map((source) => participant?.track(source));
    return tracks.every(Boolean) && { id: participant.id, encryption: tracks.map((track) => track.encryption) };
  }, displayName);
}

/** Seconds of sound that a page sent since it was asked first. */
function played(page) {
  return page.evaluate(async () => {
    const report = await globalThis.room.media.publishConnection.getStats();
    const packets = [...report.values()].find((s) => s.type === 'outbound-rtp' && s.kind === 'audio').packetsSent;
    return (packets - (globalThis.packetsBefore ??= packets)) / 50;
  });
}

test('what frames are encrypted with is told to the others and with the recording; redundant sound is not agreed for it', async () => {
  const context = await chromium.newContext({ bypassCSP: true });
  const [secret, plain] = [await publish(context, 'Secret', 'test.xor'), await publish(context, 'Plain', undefined)];
  const ofSecret = await until('the tracks that are encrypted', () => told(plain, 'Secret'));
  const ofPlain = await until('the tracks that are not', () => told(secret, 'Plain'));
  assert.deepEqual(ofSecret.encryption, ['test.xor', 'test.xor']);
  assert.deepEqual(ofPlain.encryption, [null, null]);
  const agreesRed = (page) => page.evaluate(() => /red\/48000/.test(globalThis.room.media.publishConnection.remoteDescription.sdp));
  assert.deepEqual([await agreesRed(secret), await agreesRed(plain)], [false, true]);

  const { id } = await node.json('POST', '/rooms/told/recording/start', token);
  await Promise.all([secret, plain].map((page) => until('a while to be recorded', async () => (await played(page)) > 3)));
  await node.json('POST', '/rooms/told/recording/stop', token);
  const recording = await until('the recording to be ready', async () => {
    const it = await node.json('GET', `/recordings/${id}`, token);
    assert.notEqual(it.state, 'failed', it.error);
    return it.state === 'ready' && it;
  }, 30_000);
  const files = recording.files.map(({ participant_id, encryption }) => [participant_id, encryption]);
  assert.deepEqual(new Map(files), new Map([[ofSecret.id, 'test.xor'], [ofPlain.id, null]]));
  for (const file of recording.files) {
    const streams = JSON.parse(await run('ffprobe', ['-v', 'error', '-of', 'json', '-show_streams', new URL(file.url, node.url).href])).streams;
    const titles = streams.map(({ tags }) => /encrypted end to end: (\S+)/.exec(tags?.title ?? '')?.[1] ?? null);
    assert.deepEqual(titles, [file.encryption, file.encryption], JSON.stringify(streams.map(({ tags }) => tags)));
  }
  await context.close();
});

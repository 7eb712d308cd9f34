// Sound in real Chromium: said twice (RED), left out where nobody speaks (DTX), and waited for where much of it is lost.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Node, browser, until } from './harness.mjs';
import { Relay } from './relay.mjs';

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

/** A page that has yet to join. */
async function open(context) {
  const page = await context.newPage();
  page.on('pageerror', (error) => console.error(error.message));
  await page.goto(new URL('/docs', node.url).href);
  return page;
}

/** Joins; with `audio` it publishes a tone as its microphone, which `tone.gain.value = 0` silences. */
function join(page, room, name, audio) {
  return page.evaluate(
    async ([bearer, to, displayName, how]) => {
      const { Caside } = await import('/sdk/caside.js');
      const client = new Caside();
      await client.connect({ token: bearer });
      let publish;
      if (how) {
        const context = new AudioContext();
        const [source, volume, out] = [new OscillatorNode(context), new GainNode(context, { gain: 0.3 }), context.createMediaStreamDestination()];
        source.connect(volume).connect(out);
        source.start();
        globalThis.tone = volume;
        publish = { microphone: out.stream.getAudioTracks()[0] };
      }
      globalThis.room = await client.join(to, { displayName, audio: how ?? undefined, publish });
      globalThis.room.on('track', ({ track }) => {
        // Sound is decoded when somebody listens.
        globalThis.speaker = Object.assign(new Audio(), { srcObject: new MediaStream([track]) });
        globalThis.speaker.play().catch(console.error);
      });
    },
    [token, room, name, audio],
  );
}

/** Lets a page know no RED as a receiver. */
function withoutRed(page) {
  return page.evaluate(() => {
    const set = RTCPeerConnection.prototype.setRemoteDescription;
    RTCPeerConnection.prototype.setRemoteDescription = function (description) {
      if (description.type !== 'offer') return set.call(this, description);
      const [, red] = /^a=rtpmap:(\d+) red\/48000/m.exec(description.sdp) ?? [];
      if (red === undefined) return set.call(this, description);
      const sdp = description.sdp
        .replace(/^m=audio .*/gm, (line) => line.split(' ').filter((part, at) => at < 3 || part !== red).join(' '))
        .replace(new RegExp(`^a=(rtpmap|fmtp|rtcp-fb):${red} .*\r\n`, 'gm'), '');
      return set.call(this, { type: 'offer', sdp });
    };
  });
}

/** What a page receives of sound. */
function heard(page) {
  return page.evaluate(async () => {
    const report = await globalThis.room.media.subscribeConnection?.getStats();
    const it = [...(report?.values() ?? [])].find((s) => s.type === 'inbound-rtp' && s.kind === 'audio');
    return { packets: it?.packetsReceived ?? 0, bytes: it?.bytesReceived ?? 0, energy: it?.totalAudioEnergy ?? 0, asked: it?.nackCount ?? 0 };
  });
}

const hears = (page) => until('the tone', async () => (await heard(page)).energy > 0.01);

/** What came in a second, or in what a busy machine makes of it. */
async function second(page) {
  const [first, began] = [await heard(page), Date.now()];
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const [last, seconds] = [await heard(page), (Date.now() - began) / 1000];
  const of = (what) => last[what] - first[what];
  return { packets: of('packets'), rate: of('packets') / seconds, size: of('bytes') / of('packets'), energy: of('energy') };
}

test('sound that is said twice goes to who knows RED as it is, and once to who does not', async () => {
  const context = await chromium.newContext();
  const [publisher, knows, knowsNot] = [await open(context), await open(context), await open(context)];
  await withoutRed(knowsNot);
  await join(knows, 'twice', 'Knows');
  await join(knowsNot, 'twice', 'Knows not');
  await join(publisher, 'twice', 'Publisher', {});
  await Promise.all([hears(knows), hears(knowsNot)]);
  // Chromium tells the codec as Opus in either case.
  const [twice, once] = await Promise.all([second(knows), second(knowsNot)]);
  console.log(`${twice.size.toFixed(0)} and ${once.size.toFixed(0)} bytes a packet`);
  assert.ok(twice.size > 1.7 * once.size && twice.size < 2.5 * once.size, `${twice.size} and ${once.size} bytes a packet`);
  assert.ok(twice.energy > 0 && once.energy > 0, 'both hear it');
  await context.close();
});

test('silence is left out where it was asked for, and sound comes back after it', async () => {
  const context = await chromium.newContext();
  for (const dtx of [true, false]) {
    const [publisher, listener] = [await open(context), await open(context)];
    const room = `pauses-${dtx}`;
    await join(listener, room, 'Listener');
    await join(publisher, room, 'Publisher', { dtx });
    await hears(listener);
    const silence = (silent) => publisher.evaluate((volume) => (globalThis.tone.gain.value = volume), silent ? 0 : 0.3);
    await silence(true);
    let last;
    await until('silence', async () => (last = await second(listener)).energy === 0);
    last = await second(listener);
    console.log(`DTX ${dtx}: ${last.rate.toFixed(1)} packets a second of silence`);
    // Comfort noise comes each 400 ms.
    assert.ok(dtx ? last.packets > 0 && last.rate < 15 : last.rate > 35, JSON.stringify(last));
    await silence(false);
    await until('the tone again', async () => (last = await second(listener)).energy > 0.03);
    assert.ok((await second(listener)).rate > 35);
    await Promise.all([publisher.close(), listener.close()]);
  }
  await context.close();
});

test('sound waits longer where what is asked for again comes too late, and no longer when nothing is lost', async () => {
  const context = await chromium.newContext();
  const [publisher, listener] = [await open(context), await open(context)];
  const relay = new Relay({ delayMs: 60 });
  await relay.lead(listener);
  await join(listener, 'lossy', 'Listener');
  // What RED repairs is not asked for.
  await join(publisher, 'lossy', 'Publisher', { red: false });
  await hears(listener);
  const target = () =>
    listener.evaluate(() => {
      const receivers = globalThis.room.media.subscribeConnection.getReceivers();
      return receivers.find(({ track }) => track.kind === 'audio').jitterBufferTarget;
    });
  assert.equal(await target(), null, 'the browser’s choice');
  relay.loss = 0.2;
  const longest = await until('sound to wait', target, 30_000);
  const { asked } = await heard(listener);
  console.log(`${relay.lost} packets lost, ${asked} asked for: ${longest} ms`);
  assert.ok(asked > 0 && longest >= 200 && longest <= 400, `${asked} asked for, ${longest} ms`);
  relay.loss = 0;
  await until('sound to wait no longer', async () => (await target()) === null, 45_000);
  relay.close();
  await context.close();
});

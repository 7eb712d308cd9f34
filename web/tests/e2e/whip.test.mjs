// WHIP and WHEP in real Chromium: what a page does with fetch and a peer connection, and nothing of ours in it.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Node, browser, decodes, inbound, joinPage, until } from './harness.mjs';

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

/** A page of the node's origin whose scripts are the test's own. */
async function blank(context) {
  const page = await context.newPage();
  await page.goto(new URL('/docs', node.url).href);
  return page;
}

/** Sends an offer and takes the answer; the connection and the session's address stay in the page. */
function post(page, { path, token, video = 'VP8', direction }) {
  return page.evaluate(
    async ({ path, token, video, direction }) => {
      const connection = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
      globalThis.connection = connection;
      const only = (transceiver, kind, name) => {
        const all = RTCRtpReceiver.getCapabilities(kind).codecs;
        const wanted = all.filter((codec) => codec.mimeType === `${kind}/${name}` || codec.mimeType.endsWith('/rtx'));
        if (wanted.some((codec) => codec.mimeType.endsWith(name))) transceiver.setCodecPreferences(wanted);
        else throw new Error(`no ${name} here`);
      };
      if (direction === 'sendonly') {
        const media = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 640, height: 360 } });
        for (const track of media.getTracks()) {
          const transceiver = connection.addTransceiver(track, { direction, streams: [media] });
          if (track.kind === 'video') only(transceiver, 'video', video);
        }
      } else {
        connection.addTransceiver('audio', { direction });
        connection.addTransceiver('video', { direction });
        // What nobody plays is not decoded everywhere.
        connection.ontrack = ({ track }) => {
          const element = document.createElement(track.kind);
          element.muted = true;
          element.autoplay = true;
          element.srcObject = new MediaStream([track]);
          document.documentElement.append(element);
        };
      }
      await connection.setLocalDescription();
      const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/sdp' };
      const response = await fetch(path, { method: 'POST', headers, body: connection.localDescription.sdp });
      const sdp = await response.text();
      if (response.status !== 201) return { status: response.status, sdp };
      globalThis.session = { url: response.headers.get('location'), etag: response.headers.get('etag') };
      await connection.setRemoteDescription({ type: 'answer', sdp });
      return { status: 201, sdp, ...globalThis.session };
    },
    { path, token, video, direction },
  );
}

const publish = (page, room, video) => post(page, { path: `/whip/${room}`, token, video, direction: 'sendonly' });
const view = (page, room, query = '') => post(page, { path: `/whep/${room}${query}`, token, direction: 'recvonly' });

/** What a viewer's page has decoded: frames, and the codec of the picture. */
function seen(page) {
  return page.evaluate(async () => {
    const report = await globalThis.connection.getStats();
    const rows = [...report.values()].filter((row) => row.type === 'inbound-rtp');
    const video = rows.find((row) => row.kind === 'video');
    const audio = rows.find((row) => row.kind === 'audio');
    return {
      frames: video?.framesDecoded ?? 0,
      codec: report.get(video?.codecId)?.mimeType,
      energy: audio?.totalAudioEnergy ?? 0,
    };
  });
}

async function goesOn(page, what, frames = 30) {
  const { frames: before } = await seen(page);
  await until(what, async () => (await seen(page)).frames > before + frames, 20_000);
}

function participants(room) {
  return node.json('GET', `/rooms/${room}/participants`, token).then(({ items }) => items);
}

test('a publisher by WHIP is seen in the room and by WHEP, and leaves by DELETE', async () => {
  const contexts = await Promise.all([1, 2, 3].map(() => chromium.newContext()));
  const [studio, player] = await Promise.all(contexts.slice(0, 2).map(blank));
  const { status, url } = await publish(studio, 'studio');
  assert.equal(status, 201);
  const ada = await joinPage(contexts[2], node, { room: 'studio', name: 'Ada', token });
  await decodes(ada, 1, 20_000);
  await until('sound', async () => (await inbound(ada)).some((row) => row.kind === 'audio' && row.energy > 0));
  const { items } = await node.json('GET', '/rooms/studio/participants', token);
  const publisher = items.find((p) => p.display_name !== 'Ada').participant_id;
  assert.equal((await view(player, 'studio', `?participant=${publisher}`)).status, 201);
  await goesOn(player, 'the viewer to see');
  const { codec } = await seen(player);
  assert.equal(codec, 'video/VP8');
  const gone = await studio.evaluate(
    ({ url, token }) => fetch(url, { method: 'DELETE', headers: { authorization: `Bearer ${token}` } }).then((r) => r.status),
    { url, token },
  );
  assert.equal(gone, 200);
  await until('publisher and viewer to be gone', async () => (await participants('studio')).length === 1);
  assert.deepEqual(ada.errors, []);
  await Promise.all(contexts.map((context) => context.close()));
});

test('ICE is restarted by PATCH, and the picture goes on', async () => {
  const contexts = await Promise.all([chromium.newContext(), chromium.newContext()]);
  const [studio, player] = await Promise.all(contexts.map(blank));
  await publish(studio, 'restart');
  await view(player, 'restart');
  await goesOn(player, 'the viewer to see');
  for (const page of [studio, player]) {
    const { status, changed } = await page.evaluate(async (token) => {
      const { connection, session } = globalThis;
      const before = connection.remoteDescription.sdp;
      connection.restartIce();
      await connection.setLocalDescription();
      const of = (sdp, name) => new RegExp(`a=${name}:(\\S+)`).exec(sdp)[1];
      const local = connection.localDescription.sdp;
      const fragment = `a=ice-ufrag:${of(local, 'ice-ufrag')}\r\na=ice-pwd:${of(local, 'ice-pwd')}\r\n`;
      const response = await fetch(session.url, {
        method: 'PATCH',
        headers: {
          authorization: `Bearer ${token}`,
          'content-type': 'application/trickle-ice-sdpfrag',
          'if-match': '*',
        },
        body: fragment,
      });
      const ours = await response.text();
      const sdp = before
        .replace(/a=ice-ufrag:\S+/g, `a=ice-ufrag:${of(ours, 'ice-ufrag')}`)
        .replace(/a=ice-pwd:\S+/g, `a=ice-pwd:${of(ours, 'ice-pwd')}`);
      await connection.setRemoteDescription({ type: 'answer', sdp });
      return { status: response.status, changed: response.headers.get('etag') !== session.etag };
    }, token);
    assert.deepEqual({ status, changed }, { status: 200, changed: true });
    await goesOn(player, 'the picture to go on after a restart', 60);
  }
  await Promise.all(contexts.map((context) => context.close()));
});

test('every codec that Chromium sends is seen by WHEP', async () => {
  const contexts = await Promise.all([chromium.newContext(), chromium.newContext()]);
  const [studio, player] = await Promise.all(contexts.map(blank));
  for (const codec of ['VP8', 'VP9', 'H264', 'AV1']) {
    const room = `codec-${codec.toLowerCase()}`;
    const { url } = await publish(studio, room, codec);
    assert.equal((await view(player, room)).status, 201);
    await goesOn(player, `${codec} to be seen`, 10);
    assert.equal((await seen(player)).codec, `video/${codec}`);
    await studio.evaluate(
      async ({ url, token }) => {
        await fetch(url, { method: 'DELETE', headers: { authorization: `Bearer ${token}` } });
        globalThis.connection.close();
      },
      { url, token },
    );
    await player.evaluate(() => globalThis.connection.close());
  }
  await Promise.all(contexts.map((context) => context.close()));
});

test('a publisher who vanishes leaves the room when consent ends', async () => {
  const context = await chromium.newContext();
  const page = await blank(context);
  await publish(page, 'vanished');
  await until('the publisher', async () => (await participants('vanished')).length === 1);
  await until('media', () => page.evaluate(() => globalThis.connection.connectionState === 'connected'));
  await context.close();
  // At once by DTLS's goodbye, or 30 s after the last check.
  await until('the room to be empty', async () => (await participants('vanished')).length === 0, 45_000);
});

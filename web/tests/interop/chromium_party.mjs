// One side of a call in Chromium, like those of the others: what it says is what they print, what it is told what they read.
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { browser } from '../e2e/harness.mjs';

export function party(role, ...rest) {
  return role === 'simulcast' || role === 'watch' ? inRoom(role, ...rest) : byHttp(role, ...rest);
}

/** Joins by the SDK. */
async function inRoom(role, url, token, codec, say) {
  const source = await readFile(path.join(path.dirname(fileURLToPath(import.meta.url)), 'room_page.js'), 'utf8');
  const chromium = await browser();
  const page = await chromium.newPage();
  await page.goto(new URL('/', url).href);
  await page.evaluate(`globalThis.roomPage = ${source.replace(/^\/\/.*$/gm, '')}`);
  await page.evaluate((given) => globalThis.roomPage.join(...given), [role, url, token, codec]);
  const look = setInterval(async () => {
    const seen = await page.evaluate((given) => globalThis.roomPage.look(given), role).catch(() => '{}');
    say(JSON.parse(seen));
  }, 200);
  return {
    tell: ({ quality }) => page.evaluate((given) => globalThis.roomPage.choose(given), quality),
    end: async () => {
      clearInterval(look);
      await page.evaluate(() => globalThis.roomPage.leave());
      await chromium.close();
    },
  };
}

/** Publishes by WHIP, or views by WHEP. */
async function byHttp(role, url, token, codec, say) {
  const chromium = await browser();
  const page = await chromium.newPage();
  await page.goto(new URL('/docs', url).href);
  const outcome = await page.evaluate(
    async ([role, url, token, codec]) => {
      const connection = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
      globalThis.connection = connection;
      if (role === 'publish') {
        const media = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 640, height: 360 } });
        for (const track of media.getTracks()) connection.addTransceiver(track, { direction: 'sendonly', streams: [media] });
      } else {
        for (const kind of ['audio', 'video']) connection.addTransceiver(kind, { direction: 'recvonly' });
        connection.ontrack = ({ track }) => {
          const element = document.createElement(track.kind);
          element.muted = true;
          element.autoplay = true;
          element.srcObject = new MediaStream([track]);
          document.documentElement.append(element);
        };
      }
      const video = connection.getTransceivers().find((it) => it.receiver.track.kind === 'video');
      const known = RTCRtpReceiver.getCapabilities('video').codecs;
      video.setCodecPreferences(known.filter((it) => [`video/${codec}`, 'video/rtx'].includes(it.mimeType)));
      await connection.setLocalDescription();
      const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/sdp' };
      const response = await fetch(url, { method: 'POST', headers, body: connection.localDescription.sdp });
      const sdp = await response.text();
      if (response.status !== 201) return `${response.status} ${sdp}`;
      globalThis.session = response.headers.get('location');
      await connection.setRemoteDescription({ type: 'answer', sdp });
      return 'ok';
    },
    [role, url, token, codec],
  );
  if (outcome !== 'ok') {
    await chromium.close();
    throw new Error(`chromium: ${outcome}`);
  }
  const look = setInterval(async () => {
    const [state, frames] = await page
      .evaluate(async () => {
        const report = await globalThis.connection.getStats();
        const row = [...report.values()].find((it) => it.type === 'inbound-rtp' && it.kind === 'video');
        return [globalThis.connection.connectionState, row?.framesDecoded ?? 0];
      })
      .catch(() => ['closed', 0]);
    if (state === 'connected') say({ ready: true });
    if (frames) say({ frames });
  }, 200);
  return {
    end: async () => {
      clearInterval(look);
      await page.evaluate(
        ([token]) => fetch(globalThis.session, { method: 'DELETE', headers: { authorization: `Bearer ${token}` } }).then(() => 0),
        [token],
      );
      await chromium.close();
    },
  };
}

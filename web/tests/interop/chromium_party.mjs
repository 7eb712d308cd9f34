// One side of a call in Chromium: publishes by WHIP, or views by WHEP. What it says is like what the others print.
import { browser } from '../e2e/harness.mjs';

export async function party(role, url, token, codec, say) {
  const chromium = await browser();
  const page = await chromium.newPage();
  await page.goto(new URL('/health/live', url).href);
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
  return async () => {
    clearInterval(look);
    await page.evaluate(
      ([token]) => fetch(globalThis.session, { method: 'DELETE', headers: { authorization: `Bearer ${token}` } }).then(() => 0),
      [token],
    );
    await chromium.close();
  };
}

// Peer-to-peer rooms: media never needs the server.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Node, browser, joinPage, until } from './harness.mjs';

let node;
let chromium;

before(async () => {
  node = await Node.start();
  // Host candidates with their addresses in place of mDNS names, which need a multicast network.
  chromium = await browser('--disable-features=WebRtcHideLocalIpsWithMdns');
});

after(async () => {
  await chromium?.close();
  await node?.stop();
});

function framesFromPeers(page) {
  return page.evaluate(async () => {
    let frames = 0;
    for (const connection of globalThis.caside.room?.media.peerConnections.values() ?? []) {
      for (const s of (await connection.getStats()).values()) {
        if (s.type === 'inbound-rtp' && s.kind === 'video') frames += s.framesDecoded;
      }
    }
    return frames;
  });
}

test('two pages go on talking after the node is killed', async () => {
  const token = await node.login();
  await node.json('POST', '/rooms', token, { id: 'direct', mode: 'p2p' });
  const context = await chromium.newContext();
  const pages = [
    await joinPage(context, node, { room: 'direct', name: 'Ada', token }),
    await joinPage(context, node, { room: 'direct', name: 'Grace', token }),
  ];
  for (const page of pages) await until('pictures of the peer', async () => (await framesFromPeers(page)) > 10);
  await node.kill();
  const before = await Promise.all(pages.map(framesFromPeers));
  await new Promise((resolve) => setTimeout(resolve, 10_000));
  const after = await Promise.all(pages.map(framesFromPeers));
  for (const [index, frames] of after.entries()) {
    const rate = (frames - before[index]) / 10;
    console.log(`page ${index}: ${rate} frames/s after the node was killed`);
    assert.ok(rate >= 15);
  }
});

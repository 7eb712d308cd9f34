// Calls over networks that let only some things through.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Node, browser, decodes, joinPage, until } from './harness.mjs';

let chromium;

before(async () => {
  chromium = await browser();
});

after(() => chromium?.close());

/** The protocol of the pair of candidates that a page's connection uses: of its remote, which is ours. */
function protocolOf(page, connection) {
  return page.evaluate(async (name) => {
    const report = await globalThis.caside.room.media[name].getStats();
    const transport = [...report.values()].find((s) => s.type === 'transport');
    const pair = report.get(transport?.selectedCandidatePairId);
    return report.get(pair?.remoteCandidateId)?.protocol;
  }, connection);
}

/** Keeps a page from sending anything to our UDP ports, as a firewall does: it does not hear of them. */
function blockUdp(context) {
  return context.addInitScript(() => {
    const plain = RTCPeerConnection.prototype.setRemoteDescription;
    RTCPeerConnection.prototype.setRemoteDescription = function ({ type, sdp }) {
      return plain.call(this, { type, sdp: sdp.replace(/a=candidate:\S+ 1 udp [^\r\n]*\r\n/g, '') });
    };
  });
}

const ways = [
  { where: 'a node that has TCP alone', env: { CASIDE_MEDIA_PROTOCOLS: 'tcp' }, prepare: async () => {} },
  { where: 'clients that UDP does not reach', env: {}, prepare: blockUdp },
];
for (const { where, env, prepare } of ways) test(`TCP carries the call of ${where}`, async () => {
  const node = await Node.start({ env });
  const token = await node.login();
  const contexts = await Promise.all([chromium.newContext(), chromium.newContext()]);
  try {
    await Promise.all(contexts.map(prepare));
    const [ada, bob] = await Promise.all(
      contexts.map((context, i) => joinPage(context, node, { room: 'over-tcp', name: ['Ada', 'Bob'][i], token })),
    );
    for (const page of [ada, bob]) {
      await decodes(page, 1);
      assert.equal(await protocolOf(page, 'publishConnection'), 'tcp');
      assert.equal(await protocolOf(page, 'subscribeConnection'), 'tcp');
    }
    const frames = (page) =>
      page.evaluate(async () => {
        const report = await globalThis.caside.room.media.subscribeConnection.getStats();
        return [...report.values()].filter((s) => s.type === 'inbound-rtp' && s.kind === 'video')[0]?.framesDecoded;
      });
    const before = await frames(bob);
    await until('two seconds of pictures', async () => (await frames(bob)) > before + 50, 10_000);
    assert.deepEqual([...ada.errors, ...bob.errors], []);
  } finally {
    await Promise.all(contexts.map((context) => context.close()));
    await node.stop();
  }
});

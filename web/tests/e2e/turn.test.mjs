// TURN with credentials that run out, over a real coturn: a page that may use nothing but relays has its call.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { Node, browser, decodes, joinPage, until } from './harness.mjs';

const SECRET = 'a secret of this test alone';
/** Chromium makes no candidates on loopback. */
const address =
  Object.values(networkInterfaces())
    .flat()
    .find((it) => it.family === 'IPv4' && !it.internal)?.address ?? '127.0.0.1';

let coturn;
let dir;
let port;
let chromium;

async function freePort() {
  const server = createServer().listen(0, address);
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

before(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'caside-turn-'));
  port = await freePort();
  const options = [
    '-n',
    '--no-cli',
    '--no-tls',
    '--no-dtls',
    '--use-auth-secret',
    `--static-auth-secret=${SECRET}`,
    '--realm=test.example',
    `--listening-ip=${address}`,
    `--listening-port=${port}`,
    `--relay-ip=${address}`,
    '--log-file=stdout',
    '--verbose',
    `--pidfile=${path.join(dir, 'pid')}`,
    `--userdb=${path.join(dir, 'db')}`,
  ];
  coturn = spawn('turnserver', options, { stdio: ['ignore', 'pipe', 'pipe'] });
  coturn.log = [];
  for (const stream of [coturn.stdout, coturn.stderr]) {
    createInterface({ input: stream }).on('line', (line) => coturn.log.push(line));
  }
  await until('coturn to listen', () => coturn.log.some((line) => line.includes(`listener opened on`)));
  chromium = await browser();
});

after(async () => {
  await chromium?.close();
  if (coturn && coturn.exitCode === null) {
    coturn.kill('SIGKILL');
    await once(coturn, 'exit');
  }
  if (dir) await rm(dir, { recursive: true, force: true });
});

test('a page that may use relays alone has its call over TURN', async () => {
  const env = { CASIDE_TURN_URLS: `turn:${address}:${port}?transport=udp`, CASIDE_TURN_SECRET: SECRET };
  const node = await Node.start({ env });
  const token = await node.login();
  const contexts = await Promise.all([chromium.newContext(), chromium.newContext()]);
  try {
    for (const context of contexts) {
      await context.addInitScript(() => {
        const Plain = globalThis.RTCPeerConnection;
        globalThis.RTCPeerConnection = class extends Plain {
          constructor(config) {
            super({ ...config, iceTransportPolicy: 'relay' });
          }
        };
      });
    }
    const [ada, bob] = await Promise.all(
      contexts.map((context, i) => joinPage(context, node, { room: 'relayed', name: ['Ada', 'Bob'][i], token })),
    );
    for (const page of [ada, bob]) {
      await decodes(page, 1, 30_000);
      const kinds = await page.evaluate(async () => {
        const { publishConnection, subscribeConnection } = globalThis.caside.room.media;
        return Promise.all(
          [publishConnection, subscribeConnection].map(async (connection) => {
            const report = await connection.getStats();
            const transport = [...report.values()].find((row) => row.type === 'transport');
            const pair = report.get(transport.selectedCandidatePairId);
            return report.get(pair.localCandidateId).candidateType;
          }),
        );
      });
      assert.deepEqual(kinds, ['relay', 'relay']);
    }
    assert.ok(coturn.log.some((line) => /user <\d+:demo>|<\d+:[^>]+>/.test(line)), 'the name begins with its end');
    assert.deepEqual([...ada.errors, ...bob.errors], []);
  } catch (error) {
    throw new Error(`${error.message}\n${coturn.log.slice(-30).join('\n')}`);
  } finally {
    await Promise.all(contexts.map((context) => context.close()));
    await node.stop();
  }
});

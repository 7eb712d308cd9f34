// Recordings in an S3-compatible object store: shipped while the call runs, finished there, played from there.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { Node, browser, decodes, joinPage, until } from './harness.mjs';

let chromium;
let store;
let s3;

before(async () => {
  chromium = await browser();
  store = spawn('moto_server', ['-p', '0'], { stdio: ['ignore', 'pipe', 'pipe'] });
  for (const stream of [store.stdout, store.stderr]) {
    createInterface({ input: stream }).on('line', (line) => (s3 ??= /(http:\/\/127\.0\.0\.1:\d+)/.exec(line)?.[1]));
  }
  await until('the object store', () => s3, 30_000);
  assert.ok((await fetch(`${s3}/calls`, { method: 'PUT' })).ok, 'the bucket is made');
});

after(async () => {
  await chromium?.close();
  store?.kill();
  if (store) await once(store, 'exit');
});

const settings = () => ({
  S3_BUCKET: 'calls',
  S3_ENDPOINT: s3,
  S3_REGION: 'us-east-1',
  AWS_ACCESS_KEY_ID: 'test',
  AWS_SECRET_ACCESS_KEY: 'test-secret',
});

async function keys() {
  const text = await (await fetch(`${s3}/calls?list-type=2`)).text();
  return [...text.matchAll(/<Key>([^<]+)<\/Key>/g)].map((match) => match[1]);
}

test('segments are in the store while the call runs, and one file a participant afterwards', async () => {
  const node = await Node.start({ env: settings() });
  const token = await node.login();
  const context = await chromium.newContext();
  const page = await joinPage(context, node, { room: 'bucket', name: 'Ada', token });
  await joinPage(context, node, { room: 'bucket', name: 'Grace', token });
  await decodes(page, 1);
  const { id } = await node.json('POST', '/rooms/bucket/recording/start', token);
  await until('segments in the store', async () => (await keys()).filter((key) => /\/\d+\.mkv$/.test(key)).length >= 4);
  await node.json('POST', '/rooms/bucket/recording/stop', token);
  const recording = await until('the files', async () => {
    const seen = await node.json('GET', `/recordings/${id}`, token);
    return seen.state === 'ready' && seen;
  }, 30_000);
  assert.equal(recording.files.length, 2);
  for (const file of recording.files) {
    assert.ok(file.url.startsWith(s3), 'the file is played from the store itself');
    const got = await fetch(file.url);
    assert.equal(got.status, 200);
    assert.equal((await got.arrayBuffer()).byteLength, file.size_bytes);
  }
  await until('the segments to be gone', async () => (await keys()).every((key) => !/\/\d+\.mkv$/.test(key)));
  await context.close();
  await node.stop();
});

test('what was shipped survives the loss of the machine: another node with the same database finishes it', async () => {
  const { Postgres } = await import('./postgres.mjs');
  const postgres = await Postgres.start();
  const env = { ...settings(), DATABASE_URL: postgres.url };
  const node = await Node.start({ env });
  const token = await node.login();
  const context = await chromium.newContext();
  const page = await joinPage(context, node, { room: 'lost', name: 'Ada', token });
  await joinPage(context, node, { room: 'lost', name: 'Grace', token });
  await decodes(page, 1);
  const { id } = await node.json('POST', '/rooms/lost/recording/start', token);
  const start = Date.now();
  await new Promise((resolve) => setTimeout(resolve, 8000));
  await node.kill();
  const recorded = Date.now() - start;
  // A new data directory: the spool is gone with the machine.
  const other = await Node.start({ env, password: node.password });
  const again = await other.login();
  const recording = await until('the files', async () => {
    const seen = await other.json('GET', `/recordings/${id}`, again);
    return seen.state === 'ready' && seen;
  }, 30_000);
  assert.equal(recording.files.length, 2);
  for (const file of recording.files) {
    const short = recorded - file.offset_ms - file.duration_ms;
    console.log(`the machine was lost after ${recorded} ms: ${short} ms short`);
    assert.ok(short <= 4000);
  }
  await context.close();
  await other.stop();
  await node.stop();
  await postgres.remove();
});

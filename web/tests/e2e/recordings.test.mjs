// Recordings of real calls: by REST, by the button, and through a crash.
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Node, browser, decodes, joinPage, picture, run, until } from './harness.mjs';
import { NOTICED_MS, flashAndBeep, flashOffsetMs } from './flash.mjs';

let chromium;

before(async () => {
  chromium = await browser();
});

after(() => chromium?.close());

const SECONDS = 20;

async function ready(node, token, id) {
  return until(
    'the recording to be ready',
    async () => {
      const recording = await node.json('GET', `/recordings/${id}`, token);
      assert.notEqual(recording.state, 'failed', recording.error);
      return recording.state === 'ready' && recording;
    },
    30_000,
  );
}

/** Downloads a file without a header and asks ffprobe what it is. */
async function probe(node, file) {
  const response = await fetch(new URL(file.url, node.url));
  assert.equal(response.status, 200);
  assert.equal(response.headers.get('content-type'), file.content_type);
  const local = path.join(node.dir, file.name);
  await writeFile(local, Buffer.from(await response.arrayBuffer()));
  const text = await run('ffprobe', ['-v', 'error', '-of', 'json', '-show_format', '-show_streams', local]);
  // Every frame decodes.
  await run('ffmpeg', ['-v', 'error', '-xerror', '-i', local, '-f', 'null', '-']);
  return { ...JSON.parse(text), local };
}

/** Plays a file in the browser and seeks in it; where it got to. */
async function plays(context, node, file) {
  const page = await context.newPage();
  await page.goto(node.url);
  const outcome = await page.evaluate(async (url) => {
    const video = document.createElement('video');
    video.muted = true;
    video.src = url;
    const happens = (name) => new Promise((resolve, reject) => {
      video.addEventListener(name, resolve, { once: true });
      video.addEventListener('error', () => reject(new Error(video.error?.message)), { once: true });
    });
    await happens('loadedmetadata');
    const duration = video.duration;
    const sought = happens('seeked');
    video.currentTime = duration * 0.7;
    await sought;
    await video.play();
    const from = video.currentTime;
    await new Promise((resolve) => setTimeout(resolve, 1000));
    return { duration, from, to: video.currentTime, seekable: video.seekable.end(0) };
  }, file.url);
  await page.close();
  assert.ok(Number.isFinite(outcome.duration), 'the duration is known');
  assert.ok(Math.abs(outcome.from - outcome.duration * 0.7) < 0.5, `sought to ${outcome.from} of ${outcome.duration}`);
  assert.ok(outcome.to > outcome.from + 0.4, 'it plays on from there');
  return outcome;
}

test('a call recorded by REST: every file is whole, as long as the call, seekable and in sync', async () => {
  const node = await Node.start();
  const token = await node.login();
  const context = await chromium.newContext();
  const page = await joinPage(context, node, { room: 'rest', name: 'Ada', token });
  const other = await joinPage(context, node, { room: 'rest', name: 'Flash', token });
  await flashAndBeep(other);
  await decodes(page, 1);
  const started = await node.json('POST', '/rooms/rest/recording/start', token);
  assert.equal(started.state, 'recording');
  await new Promise((resolve) => setTimeout(resolve, SECONDS * 1000));
  await node.json('POST', '/rooms/rest/recording/stop', token);
  const recording = await ready(node, token, started.id);
  assert.equal(recording.files.length, 2);
  for (const file of recording.files) {
    const { format, streams, local } = await probe(node, file);
    const duration = Number(format.duration);
    console.log(`${file.source}: ${streams.map((s) => s.codec_name)}, ${duration.toFixed(2)} s, offset ${file.offset_ms} ms`);
    assert.ok(Math.abs(duration + file.offset_ms / 1000 - SECONDS) < 0.5, `${duration} s and ${file.offset_ms} ms`);
    assert.ok(Math.abs(duration * 1000 - file.duration_ms) < 100);
    await plays(context, node, file);
    if (file.participant_id === (await other.evaluate(() => globalThis.caside.room.localParticipant.id))) {
      const offset = await flashOffsetMs(local);
      console.log(`the beep is ${offset.toFixed(0)} ms behind the flash`);
      assert.ok(offset > NOTICED_MS.early && offset < NOTICED_MS.late);
    }
  }
  const partial = await fetch(new URL(recording.files[0].url, node.url), { headers: { range: 'bytes=100-199' } });
  assert.equal(partial.status, 206);
  assert.equal((await partial.arrayBuffer()).byteLength, 100);
  await context.close();
  await node.stop();
});

test('a call recorded by the button shows up in the list and plays there', async () => {
  const node = await Node.start();
  const token = await node.login();
  const context = await chromium.newContext({ viewport: { width: 1280, height: 800 } });
  const page = await joinPage(context, node, { room: 'button', name: 'Ada', token });
  const other = await joinPage(context, node, { room: 'button', name: 'Grace', token });
  await decodes(page, 1);
  await page.getByTestId('record').click();
  await until('the recording to run', async () => (await node.json('GET', '/recordings', token)).items[0]?.state === 'recording');
  await new Promise((resolve) => setTimeout(resolve, SECONDS * 1000));
  await picture(page, 'recording');
  await page.getByTestId('record').click();
  const [{ id }] = (await node.json('GET', '/recordings', token)).items;
  const recording = await ready(node, token, id);
  for (const file of recording.files) {
    const { format } = await probe(node, file);
    assert.ok(Math.abs(Number(format.duration) + file.offset_ms / 1000 - SECONDS) < 1.5);
  }
  await other.close();
  await page.getByTestId('leave').click();
  await context.close();
  await node.stop();
});

test('kill -9 in mid-recording: after the restart the files are there, at most two seconds short', async () => {
  const node = await Node.start();
  const token = await node.login();
  const context = await chromium.newContext();
  const page = await joinPage(context, node, { room: 'crash', name: 'Ada', token });
  await joinPage(context, node, { room: 'crash', name: 'Grace', token });
  await decodes(page, 1);
  const { id } = await node.json('POST', '/rooms/crash/recording/start', token);
  const start = Date.now();
  await new Promise((resolve) => setTimeout(resolve, 11_300));
  const recorded = (Date.now() - start) / 1000;
  await node.kill();
  const again = await node.restart();
  const recording = await ready(again, token, id);
  assert.equal(recording.files.length, 2);
  for (const file of recording.files) {
    const { format } = await probe(again, file);
    const short = recorded - (Number(format.duration) + file.offset_ms / 1000);
    console.log(`killed after ${recorded.toFixed(2)} s: ${short.toFixed(2)} s short`);
    assert.ok(short <= 2, `${short} s were lost`);
  }
  await context.close();
  await again.stop();
  await node.stop();
});

test('SIGTERM in mid-recording: the node stops in order and nothing of the recording is missing', async () => {
  const node = await Node.start();
  const token = await node.login();
  const context = await chromium.newContext();
  const page = await joinPage(context, node, { room: 'stop', name: 'Ada', token });
  await decodes(await joinPage(context, node, { room: 'stop', name: 'Grace', token }), 1);
  await decodes(page, 1);
  const { id } = await node.json('POST', '/rooms/stop/recording/start', token);
  const start = Date.now();
  await new Promise((resolve) => setTimeout(resolve, 6300));
  const recorded = (Date.now() - start) / 1000;
  node.process.kill('SIGTERM');
  const [code] = await node.exited;
  assert.equal(code, 0);
  const again = await node.restart();
  const recording = await ready(again, token, id);
  assert.equal(recording.error, null);
  assert.equal(recording.files.length, 2);
  for (const file of recording.files) {
    const { format } = await probe(again, file);
    const short = recorded - (Number(format.duration) + file.offset_ms / 1000);
    console.log(`stopped after ${recorded.toFixed(2)} s: ${short.toFixed(2)} s short`);
    assert.ok(short <= 0.5, `${short} s are missing`);
  }
  await context.close();
  await again.stop();
  await node.stop();
});

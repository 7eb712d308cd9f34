// The page as a person uses it: signs in, joins, talks, mutes, shares, chats, records, plays back.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { after, before, test } from 'node:test';
import { Node, browser, decodes, inbound, joinPage, picture, until } from './harness.mjs';

let node;
let chromium;

before(async () => {
  node = await Node.start();
  chromium = await browser('--auto-select-desktop-capture-source=Entire screen');
});

after(async () => {
  await chromium?.close();
  await node?.stop();
});

test('from the sign-in to the played recording, by mouse and keyboard', async () => {
  const context = await chromium.newContext({ viewport: { width: 1280, height: 800 } });
  const ada = await context.newPage();
  const errors = [];
  ada.on('pageerror', (error) => errors.push(String(error)));
  ada.on('console', (message) => message.type() === 'error' && errors.push(message.text()));
  await ada.goto(node.url);
  await ada.getByTestId('login-user').fill('demo');
  await ada.getByTestId('login-password').fill(node.password);
  await ada.getByTestId('login').click();
  await ada.getByTestId('name').fill('Ada');
  await ada.getByTestId('room').fill('studio');
  await ada.waitForFunction(() => document.querySelector('video')?.videoWidth > 0);
  await picture(ada, 'lobby');
  await ada.getByTestId('join').click();
  await ada.waitForFunction(() => globalThis.caside?.room);

  const token = await node.login();
  const grace = await joinPage(await chromium.newContext({ viewport: { width: 360, height: 740 } }), node, {
    room: 'studio', name: 'Grace', token,
  });
  await Promise.all([decodes(ada, 1), decodes(grace, 1)]);
  await picture(grace, 'call-phone');

  // Mute: Grace is told, and hears nothing more.
  const muted = (page, source) =>
    page.evaluate((what) => [...globalThis.caside.room.participants.values()].flatMap((p) => [...p.tracks.values()])
      .find((t) => t.source === what)?.muted, source);
  await ada.getByTestId('mute').click();
  await until('Grace to see the mute', () => muted(grace, 'microphone'));
  const heard = async () => (await inbound(grace)).find((row) => row.kind === 'audio');
  await new Promise((resolve) => setTimeout(resolve, 500));
  const silent = await heard();
  await new Promise((resolve) => setTimeout(resolve, 1000));
  assert.equal((await heard()).packets, silent.packets, 'nothing is forwarded while muted');
  await ada.keyboard.press('m');
  await until('the sound to be back', async () => (await heard()).packets > silent.packets + 20);

  // Locked: Grace sees it, and so does who comes back.
  const locked = (page) => page.getByTestId('lock').getAttribute('aria-pressed').then((pressed) => pressed === 'true');
  await ada.getByTestId('lock').click();
  await until('Grace to see the lock', () => locked(grace));
  assert.equal(await grace.evaluate(() => globalThis.caside.room.locked), true);
  await ada.getByTestId('lock').click();
  await until('Grace to see it gone', async () => !(await locked(grace)));

  // Camera off and on again.
  await ada.getByTestId('camera').click();
  await until('Grace to see the camera go', () => muted(grace, 'camera'));
  await ada.getByTestId('camera').click();
  const frames = async () => (await inbound(grace)).find((row) => row.kind === 'video').frames;
  const before = await frames();
  await until('the picture to be back', async () => (await frames()) > before + 10);

  // Chat, both ways.
  await ada.getByTestId('chat-input').fill('Hello, Grace!');
  await ada.getByTestId('chat-send').click();
  await grace.evaluate(() => globalThis.caside.room.chat('Hello, Ada!'));
  await ada.getByText('Hello, Ada!').waitFor();
  await grace.getByTestId('chat').click();
  await grace.getByText('Hello, Grace!').waitFor();
  await picture(grace, 'chat-phone');
  await grace.keyboard.press('Escape');

  // A shared screen is a tile of its own; it goes when it is stopped.
  await ada.getByTestId('screen').click();
  await grace.locator('[data-testid=tile][data-source=screen]').waitFor();
  await decodes(grace, 2);
  await picture(grace, 'screen-phone');
  await ada.getByTestId('screen').click();
  await grace.locator('[data-testid=tile][data-source=screen]').waitFor({ state: 'detached' });

  await ada.getByTestId('record').click();
  await until('the recording', async () => (await node.json('GET', '/recordings', token)).items[0]?.state === 'recording');
  await new Promise((resolve) => setTimeout(resolve, 4000));
  await ada.getByTestId('record').click();
  await until('the files', async () => (await node.json('GET', '/recordings', token)).items[0]?.state === 'ready', 30_000);
  await ada.getByTestId('leave').click();
  await until('Grace to be alone', () => grace.evaluate(() => globalThis.caside.room.participants.size === 0));
  await ada.getByTestId('recordings').click();
  await ada.locator(':visible', { hasText: 'studio' }).last().waitFor();
  await picture(ada, 'recordings');
  assert.deepEqual(errors, []);
  await context.close();
});

/** Carries TCP to the node, until it is cut. */
async function cuttable() {
  const open = new Set();
  const server = createServer((near) => {
    const far = connect(Number(new URL(node.url).port), '127.0.0.1');
    open.add(near);
    near.pipe(far).pipe(near);
    for (const socket of [near, far]) socket.on('error', () => {}).on('close', () => (near.destroy(), far.destroy(), open.delete(near)));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const cut = () => open.forEach((socket) => socket.resetAndDestroy());
  return { url: `http://127.0.0.1:${server.address().port}`, cut, close: () => (cut(), server.close()) };
}

test('a dropped socket resumes: media goes on, nothing is missed, nobody is told that somebody left', async () => {
  const token = await node.login();
  const way = await cuttable();
  const context = await chromium.newContext();
  const ada = await joinPage(context, node, { room: 'drop', name: 'Ada', token });
  const grace = await joinPage(context, way, { room: 'drop', name: 'Grace', token });
  await Promise.all([decodes(ada, 1), decodes(grace, 1)]);
  const watch = () => {
    globalThis.seen = [];
    globalThis.caside.room.on('participant-left', () => globalThis.seen.push('left'));
    globalThis.caside.room.on('chat', ({ text }) => globalThis.seen.push(text));
    globalThis.caside.client.on('reconnected', ({ reset }) => globalThis.seen.push(`reconnected, reset ${reset}`));
  };
  await Promise.all([ada.evaluate(watch), grace.evaluate(watch)]);
  const id = await grace.evaluate(() => globalThis.caside.room.localParticipant.id);
  const frames = async () => (await inbound(grace)).find((row) => row.kind === 'video').frames;
  for (let round = 0; round < 3; round++) {
    const before = await frames();
    const said = [`${round} one`, `${round} two`, `${round} three`];
    way.cut();
    for (const text of said) await ada.evaluate((t) => globalThis.caside.room.chat(t), text);
    await until('the messages', () => grace.evaluate((t) => globalThis.seen.includes(t), said[2]), 20_000);
    await until('pictures', async () => (await frames()) > before + 15);
  }
  const seen = await grace.evaluate(() => globalThis.seen);
  const chats = seen.filter((s) => !s.startsWith('reconnected'));
  assert.deepEqual(chats, [0, 1, 2].flatMap((round) => ['one', 'two', 'three'].map((word) => `${round} ${word}`)));
  assert.ok(seen.includes('reconnected, reset false'));
  assert.equal(await grace.evaluate(() => globalThis.caside.room.localParticipant.id), id);
  assert.ok(!(await ada.evaluate(() => globalThis.seen)).includes('left'));
  await context.close();
  way.close();
});

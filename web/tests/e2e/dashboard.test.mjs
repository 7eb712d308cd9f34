// The dashboard as an operator uses it: signs in, looks at nodes, rooms, tracks and actors, moderates, and sees a node go and come back.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { Node, browser, decodes, joinPage, mayTake, output, picture, until } from './harness.mjs';

mayTake(6);

let node;
let chromium;

before(async () => {
  node = await Node.start();
  chromium = await browser();
});

after(async () => {
  await chromium?.close();
  await node?.stop();
});

const DESKTOP = { width: 1360, height: 900 };
const PHONE = { width: 360, height: 780 };

/** A page of the dashboard, and what went wrong in it. */
async function open(options, at = '') {
  const context = await chromium.newContext(options);
  const page = await context.newPage();
  page.errors = [];
  page.on('pageerror', (error) => page.errors.push(String(error)));
  // What the server refuses is told by the page itself.
  page.on('console', (message) => message.type() === 'error' && !/Failed to load resource/.test(message.text()) && page.errors.push(message.text()));
  await page.goto(`${node.url}/dashboard${at}`);
  return page;
}

async function signIn(page, user = 'demo', password = node.password) {
  await page.getByTestId('login-user').fill(user);
  await page.getByTestId('login-password').fill(password);
  await page.getByTestId('login').click();
}

/** Presses a button and answers the question that comes. */
async function act(page, button, answer = 'yes') {
  await button.click();
  await page.getByTestId(`confirm-${answer}`).click();
}

/** Every control has a name, and nothing is wider than the screen. */
async function assertUsable(page) {
  const nameless = await page.evaluate(() =>
    [...document.querySelectorAll('button, a, input, select, [role=img], [role=region]')]
      .filter((it) => it.checkVisibility())
      .filter((it) => !(it.getAttribute('aria-label') || it.textContent.trim() || it.closest('label')?.textContent.trim()))
      .map((it) => it.outerHTML));
  assert.deepEqual(nameless, []);
  const [wide, screen] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(wide <= screen, `${wide} > ${screen}`);
}

test('only admins get in, by password or by token', async () => {
  const page = await open({ viewport: DESKTOP });
  await signIn(page, 'demo', 'wrong');
  await page.getByText('do not go together').waitFor();
  const made = await promisify(execFile)(process.env.CASIDE_BIN, ['user', 'add', 'eve'], {
    cwd: node.dir, env: { PATH: process.env.PATH, CASIDE_DATA_DIR: `${node.dir}/data` },
  });
  await signIn(page, 'eve', /password: (\S+)/.exec(made.stdout)[1]);
  await page.getByText('This account is no admin.').waitFor();
  await assertUsable(page);
  await picture(page, 'dashboard-sign-in');
  await page.getByText('Use a token').click();
  await page.getByTestId('login-token').fill(await node.login());
  await page.getByTestId('login').click();
  await page.getByTestId('nodes').waitFor();
  await page.reload();
  await page.getByTestId('nodes').waitFor();
  await page.getByText('Sign out').click();
  await page.getByTestId('login').waitFor();
  assert.deepEqual(page.errors, []);
  await page.context().close();
});

test('a call is seen with its tracks, moderated and recorded', async () => {
  const token = await node.login();
  const people = await chromium.newContext();
  const ada = await joinPage(people, node, { room: 'studio', name: 'Ada', token });
  const grace = await joinPage(people, node, { room: 'studio', name: 'Grace', token });
  await Promise.all([decodes(ada, 1), decodes(grace, 1)]);

  const page = await open({ viewport: DESKTOP, colorScheme: 'light' });
  await signIn(page);
  const rooms = page.getByTestId('rooms');
  await rooms.getByRole('link', { name: 'studio' }).waitFor();
  await page.getByTestId('live').getByText('live').waitFor();
  await assertUsable(page);
  await picture(page, 'dashboard-overview');

  await rooms.getByRole('link', { name: 'studio' }).click();
  const members = page.getByTestId('members').locator('article');
  await until('both members', async () => (await members.count()) === 2);
  const of = (name) => members.filter({ has: page.getByRole('heading', { name }) });
  await until('the rate and a layer of the camera', async () => /Camera.*\d+ kbit\/s[^]*\d+×\d+/.test(await of('Grace').innerText().then((it) => it.replaceAll('\n', ' '))), 30_000);
  await until('an estimate', async () => /Can receive\s+\d/.test(await of('Ada').innerText()), 30_000);
  const details = of('Ada').locator('details');
  await details.locator('summary').click();
  await details.getByText('Camera of Grace').waitFor();

  // Muted by the operator, after a question that can be answered with no.
  const button = of('Grace').locator('li', { hasText: 'Microphone' }).getByRole('button', { name: 'Mute' });
  await act(page, button, 'no');
  await act(page, button, 'yes');
  await page.getByText('Grace is muted.').waitFor();
  await of('Grace').locator('li', { hasText: 'Microphone' }).getByText('muted').waitFor();
  assert.equal(await details.getAttribute('open'), '', 'what was opened stays so');

  await act(page, page.getByRole('button', { name: 'Record…' }));
  const recorder = page.getByTestId('recorder');
  await until('the recorder to hear them', async () => /State\s+recording/.test(await recorder.innerText()) && /Sources\s+[1-9]/.test(await recorder.innerText()), 30_000);
  await assertUsable(page);
  await new Promise((resolve) => setTimeout(resolve, 6_000));
  await picture(page, 'dashboard-room');

  // The actors of the room, each below its supervisor, with the state that is asked of it.
  await page.getByRole('link', { name: 'Actors' }).last().click();
  for (const kind of ['room', 'sfu', 'recorder']) await page.getByTestId(`actor-${kind}`).waitFor();
  await until('both sessions', async () => (await page.getByTestId('actor-peer').count()) === 2);
  await page.getByTestId('actor-sfu').locator('summary').click();
  await page.getByTestId('actor-sfu').getByText('"connections": 4').waitFor();
  await page.locator('select[name=kind]').selectOption('room');
  await until('the filter', async () => (await page.getByTestId('actor-sfu').count()) === 0 && (await page.getByTestId('actor-room').count()) === 1);
  await page.locator('select[name=kind]').selectOption('');
  await page.locator('input[name=room]').fill('');
  await page.locator('input[name=room]').press('Enter');
  await page.getByTestId('actor-invites').waitFor();
  await assertUsable(page);
  await picture(page, 'dashboard-actors');

  const phone = await open({ viewport: PHONE, colorScheme: 'dark' }, '#/rooms/studio');
  await signIn(phone);
  await phone.getByTestId('recorder').waitFor();
  await assertUsable(phone);
  await picture(phone, 'dashboard-phone-room');
  await act(phone, phone.getByRole('button', { name: 'Stop recording…' }));
  await phone.getByTestId('recorder').waitFor({ state: 'detached' });
  await act(phone, phone.getByTestId('members').locator('article').filter({ has: phone.getByRole('heading', { name: 'Grace' }) }).getByRole('button', { name: 'Remove…' }));
  await until('Grace to be out', () => grace.evaluate(() => !globalThis.caside.room));
  await until('one member', async () => (await phone.getByTestId('members').locator('article').count()) === 1);
  await phone.getByRole('link', { name: 'Recordings' }).click();
  await until('the recording to be ready', async () => /studio\s+ready/.test(await phone.getByTestId('recordings').innerText()), 30_000);
  await assertUsable(phone);
  await picture(phone, 'dashboard-phone-recordings');
  await phone.getByRole('link', { name: 'Overview' }).click();
  await phone.getByTestId('rooms').waitFor();
  await assertUsable(phone);
  await picture(phone, 'dashboard-phone');
  await phone.emulateMedia({ colorScheme: 'light' });

  await page.goto(`${node.url}/dashboard#/rooms/studio`);
  await act(page, page.getByRole('button', { name: 'End the call…' }));
  await page.getByTestId('no-room').waitFor();
  await until('Ada to be out', () => ada.evaluate(() => !globalThis.caside.room));
  assert.deepEqual([...page.errors, ...phone.errors], []);
  await Promise.all([page.context().close(), phone.context().close(), people.close()]);
});

test('a node that goes leaves what was seen, and is asked again until it is back', async () => {
  const page = await open({ viewport: DESKTOP, colorScheme: 'dark' });
  await signIn(page);
  await page.getByTestId('nodes').waitFor();
  await picture(page, 'dashboard-dark');
  const listen = new URL(node.url).host;
  await node.kill();
  await page.getByTestId('live').getByText('no answer').waitFor();
  assert.ok(await page.getByTestId('nodes').isVisible());
  await picture(page, 'dashboard-stale');
  const { ownsDir } = node;
  node = await node.restart({ CASIDE_LISTEN: listen });
  node.ownsDir = ownsDir;
  await page.getByTestId('live').getByText('live').waitFor({ timeout: 40_000 });

  // Drained from here, it ends.
  await act(page, page.getByRole('button', { name: 'Drain…' }));
  await until('the node to end', () => node.process.exitCode !== null, 30_000);
  assert.equal(node.process.exitCode, 0);
  assert.deepEqual(page.errors, []);
  await page.context().close();
  console.log(`pictures are in ${output}`);
});

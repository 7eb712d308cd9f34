// What a call does while the database is away.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Node, browser, decodes, inbound, joinPage, until } from './harness.mjs';
import { Postgres } from './postgres.mjs';

let chromium;
let postgres;
let node;

before(async () => {
  [chromium, postgres] = await Promise.all([browser(), Postgres.start()]);
  node = await Node.start({ env: { DATABASE_URL: postgres.url } });
});

after(async () => {
  await chromium?.close();
  await node?.stop();
  await postgres?.remove();
});

test('PostgreSQL restarted during a call: the call goes on and its rows are right afterwards', async () => {
  const token = await node.login();
  const context = await chromium.newContext();
  const ada = await joinPage(context, node, { room: 'outage', name: 'Ada', token });
  const grace = await joinPage(context, node, { room: 'outage', name: 'Grace', token });
  await decodes(ada, 1);
  const frames = async () => (await inbound(ada)).find((row) => row.kind === 'video').frames;

  await postgres.down();
  await until('the node to notice', async () => (await fetch(`${node.url}/health/ready`)).status === 503, 30_000);
  assert.equal((await fetch(`${node.url}/health/live`)).status, 200);
  const before = await frames();
  // Coming and going while the database is away.
  const edsger = await joinPage(context, node, { room: 'outage', name: 'Edsger', token });
  await decodes(edsger, 2);
  await grace.getByTestId('leave').click();
  await new Promise((resolve) => setTimeout(resolve, 3000));
  assert.ok((await frames()) > before, 'pictures go on');

  await postgres.up();
  await until('the node to be ready again', async () => (await fetch(`${node.url}/health/ready`)).status === 200, 30_000);
  const rows = await until('the rows', async () => {
    const rows = await postgres.query(
      "select p.display_name, p.left_at is null from participants p join calls c on c.id = p.call_id where c.room_id = 'outage' order by p.joined_at",
    );
    return rows.length === 3 && rows[1][1] === 'f' && rows;
  }, 30_000);
  assert.deepEqual(rows, [['Ada', 't'], ['Grace', 'f'], ['Edsger', 't']]);

  await ada.close();
  await edsger.close();
  await until('the call to end', async () => {
    const [[status, ended, open]] = await postgres.query(
      "select status, ended_at is not null, (select count(*) from participants p where p.call_id = c.id and left_at is null) from calls c where room_id = 'outage'",
    );
    return status === 'ended' && ended === 't' && open === '0';
  }, 40_000);
  await context.close();
});

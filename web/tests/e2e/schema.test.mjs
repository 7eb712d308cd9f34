// The REST API against its own description: Schemathesis makes requests of all kinds from /openapi.json, right and wrong ones.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Node } from './harness.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
// How long it may look for trouble; most of it is found in the first seconds.
const SECONDS = Number(process.env.SCHEMA_S ?? 30);
const CHECKS = 'not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance';

let node;

before(async () => {
  node = await Node.start({ env: { RUST_LOG: 'warn' } });
});

after(() => node?.stop());

test('every endpoint answers as /openapi.json says, whatever it is asked', { timeout: (SECONDS + 120) * 1000 }, async () => {
  const token = await node.login();
  // Something to find, else every id leads nowhere.
  await node.json('POST', '/rooms', token, { id: 'r', name: 'R' });
  await node.json('POST', '/calls', token, { room_id: 'r' });
  const argv = [
    '--config-file', path.join(here, 'schema.toml'),
    'run', `${node.url}/openapi.json`,
    '--header', `Authorization: Bearer ${token}`,
    '--checks', CHECKS,
    '--mode', 'all',
    '--phases', 'examples,coverage,fuzzing',
    '--max-time', String(SECONDS),
    '--workers', '2',
    '--request-timeout', '30',
    '--continue-on-failure',
    '--no-color',
    // The node under test is not to end.
    '--exclude-path', '/admin/drain',
    ...(process.env.SCHEMA_SEED ? ['--seed', process.env.SCHEMA_SEED] : []),
  ];
  const env = { ...process.env, PYTHONPATH: here, PYTHONDONTWRITEBYTECODE: '1', SCHEMATHESIS_HOOKS: 'schema_hooks' };
  const run = spawn('schemathesis', argv, { cwd: node.dir, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [run.stdout, run.stderr]) stream.on('data', (part) => (said += part));
  const [code] = await once(run, 'exit');
  assert.equal(code, 0, said.slice(-20_000));
  assert.match(said, /passed|No issues found/i, said.slice(-2000));
  console.log(said.split('\n').slice(-30).join('\n'));
  assert.equal((await fetch(`${node.url}/health/live`)).status, 200);
  assert.deepEqual(node.log.filter((line) => line.includes('panicked')), []);
});

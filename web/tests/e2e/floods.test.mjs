// Attacks of every kind on the media port, beside a call of synthetic clients: see loadtest/src/hostile.rs.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const release = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../../target/release');

// A busy machine loses packets and delays them without any attack, so one attacker sends 20,000 datagrams a second here, and the
// bounds of loss and delay are wide; those of memory, of states and of key frame requests are what they always are. `cargo xtask hostile` measures.
const options = ['--seconds', '1', '--spoofed', '100000', '--rate', '20000', '--subscribers', '4', '--rest-ms', '400', '--max-loss', '2', '--max-delay-ms', '1000'];

test('no attack on the media port is felt by a call beside it', { timeout: 240_000 }, async () => {
  const bots = spawn(path.join(release, 'caside-bots'), ['hostile', ...options], {
    env: { CASIDE_BIN: path.join(release, 'caside'), ...process.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  for (const stream of [bots.stdout, bots.stderr]) stream.on('data', (text) => (said += text));
  const code = await new Promise((resolve) => bots.on('close', resolve));
  assert.equal(code, 0, said);
  assert.match(said, /\d+ attacks, none was felt/);
});

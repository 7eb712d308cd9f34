// Participants without a browser, dozens for the price of one page: what they miss is counted by packets.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';
import { token } from './harness.mjs';

const bin = process.env.CASIDE_BIN ?? path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../../target/release/caside');
/** The bots beside the node under test. */
export const program = path.join(path.dirname(bin), 'caside-bots');

export const botToken = token('bot', { scope: 'user admin' });

const running = new Set();
after(() => running.forEach((bots) => bots.process.kill('SIGKILL')));

/** A `caside-bots` that prints lines of JSON, and takes words. */
export class Bots {
  lines = [];
  waiting = [];

  static start(scenario, options) {
    const bots = new Bots();
    bots.process = spawn(program, [scenario, ...Object.entries(options).map(([name, value]) => `--${name}=${value}`)], { stdio: ['pipe', 'pipe', 'inherit'] });
    bots.exited = once(bots.process, 'exit').finally(() => running.delete(bots));
    running.add(bots);
    createInterface({ input: bots.process.stdout }).on('line', (line) => {
      const take = bots.waiting.shift();
      if (take) take(JSON.parse(line));
      else bots.lines.push(JSON.parse(line));
    });
    return bots;
  }

  /** What it prints next. */
  async next() {
    if (this.lines.length > 0) return this.lines.shift();
    const said = new Promise((resolve) => this.waiting.push(resolve));
    return Promise.race([said, this.exited.then(([code]) => assert.fail(`the bots ended with ${code}`))]);
  }

  say(word) {
    this.process.stdin.write(`${word}\n`);
  }

  async quit() {
    this.say('quit');
    const [code] = await this.exited;
    assert.equal(code, 0);
  }
}

/** Bots that stay in their rooms while nodes come and go. Resolves when all see each other. */
export async function loyal(addresses, rooms, count) {
  const at = addresses.map((url) => new URL(url).host).join(',');
  // Of one user all of them: a user of the deployment's own may join as often as it likes.
  const bots = Bots.start('loyal', { at, token: botToken, rooms: rooms.join(','), bots: count });
  const { streams } = await bots.next();
  bots.streams = streams;
  return bots;
}

/** What they missed since the last `mark`, in ms for each receiver and sender; nothing else happened to them. */
export async function missed(bots) {
  bots.say('report');
  const { gaps_ms: gaps, lost, left, misnumbered, failures, ...rest } = await bots.next();
  assert.deepEqual({ lost, left, misnumbered }, { lost: 0, left: 0, misnumbered: 0 }, failures.join('\n'));
  assert.equal(gaps.length, bots.streams);
  return { gaps, failures, ...rest };
}

// The stacks, and how each is started as one side of a call.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { until } from '../e2e/harness.mjs';
import { party as chromium } from './chromium_party.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));

/** The codecs of each stack, and how it is started. */
export const STACKS = {
  chromium: { codecs: ['VP8', 'H264', 'VP9', 'AV1'], start: chromium },
  firefox: { codecs: ['VP8', 'VP9', 'AV1'], start: program('python', 'firefox_party.py') },
  aiortc: { codecs: ['VP8', 'H264'], start: program('python', 'aiortc_party.py') },
  // GStreamer's bindings are the system's.
  gstreamer: { codecs: ['VP8', 'H264', 'VP9'], start: program('/usr/bin/python3', 'gstreamer_party.py') },
};

function program(interpreter, script) {
  return async (role, url, token, codec, say) => {
    const child = spawn(interpreter, [path.join(here, script), role, url, token, codec], { stdio: 'pipe' });
    const errors = [];
    createInterface({ input: child.stderr }).on('line', (line) => errors.push(line));
    createInterface({ input: child.stdout }).on('line', (line) => say(JSON.parse(line)));
    const exited = once(child, 'exit');
    exited.then(([code]) => code && say({ error: `${script} ended with ${code}\n${errors.slice(-20).join('\n')}` }));
    return {
      tell: (what) => child.stdin.write(`${JSON.stringify(what)}\n`),
      end: async () => {
        child.stdin.end();
        const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
        await exited;
        clearTimeout(timer);
      },
    };
  };
}

/** A stack's side of a call, and what it has said so far. */
export class Party {
  static async start(stack, role, url, token, codec) {
    const party = new Party();
    Object.assign(party, { stack, role, ready: false, frames: 0, sent: {}, width: 0 });
    Object.assign(party, await STACKS[stack].start(role, url, token, codec, (what) => Object.assign(party, what)));
    return party;
  }

  async until(what, probe) {
    await until(`${this.stack} (${this.role}) ${what}`, () => {
      if (this.error) throw new Error(this.error);
      return probe(this);
    }, 45_000);
  }
}

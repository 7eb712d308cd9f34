// Network namespaces, and links between them that are as bad as one says (loadtest/src/bin/link/main.rs).
//
// The process that runs this is in the node's namespace, which is new and its own: `cargo xtask netem` sees to that. Each link
// leads to another namespace, which is gone with the process that holds it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after } from 'node:test';
import { createInterface } from 'node:readline';
import { Node, launch, run } from '../e2e/harness.mjs';

/** Where all namespaces find the node. */
export const NODE_ADDRESS = '10.77.0.1';

const children = new Set();
after(() => children.forEach((child) => child.kill('SIGKILL')));

/** A program that is ended with the tests, and says its lines. */
function start(program, args) {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  children.add(child);
  child.on('exit', () => children.delete(child));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return { child, lines };
}

let prepared;

/** Gives the node's namespace its address. */
function prepare() {
  prepared ??= (async () => {
    const links = JSON.parse(await run('ip', ['-json', 'link']));
    if (links.some(({ ifname }) => ifname !== 'lo')) throw new Error('this is no network namespace of its own: cargo xtask netem');
    await run('ip', ['link', 'set', 'lo', 'up']);
    await run('ip', ['address', 'replace', `${NODE_ADDRESS}/32`, 'dev', 'lo']);
  })();
  return prepared;
}

/** A node that clients beyond links reach. */
export async function startNode(env = {}) {
  await prepare();
  const secret = 'a secret of tests, which guards nothing';
  const settings = {
    JWT_SECRET: secret,
    CASIDE_LISTEN: `${NODE_ADDRESS}:0`,
    CASIDE_MEDIA_IP: NODE_ADDRESS,
    CASIDE_METRICS_TOKEN: secret,
    ...env,
  };
  // With a secret there is no account; tokens are made by hand.
  const node = await Node.start({ password: 'none', env: settings });
  const options = { cwd: node.dir, env: { PATH: process.env.PATH, CASIDE_DATA_DIR: path.join(node.dir, 'data'), ...settings } };
  const token = (await run(process.env.CASIDE_BIN, ['token', '--user', 'ada', '--ttl', '2h'], options)).trim();
  return Object.assign(node, { token, metricsToken: secret });
}

/** One of the node's metrics, all workers and labels summed. */
export async function metric(node, name) {
  const response = await fetch(new URL('/metrics', node.url), { headers: { authorization: `Bearer ${node.metricsToken}` } });
  const lines = (await response.text()).split('\n').filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}

let links = 0;

/** A namespace, and the link between it and the node. */
export class Link {
  static async open({ seed = 1 } = {}) {
    await prepare();
    const link = new Link();
    link.number = ++links;
    link.address = `10.77.1.${link.number}`;
    link.holder = start('unshare', ['--net', 'sh', '-c', 'ip link set lo up && echo ready && exec cat']);
    await link.holder.lines.next();
    link.namespace = `/proc/${link.holder.child.pid}/ns/net`;
    const device = `link${link.number}`;
    const program = path.join(path.dirname(process.env.CASIDE_BIN), 'caside-link');
    const args = ['--node', '/proc/self/ns/net', '--client', link.namespace, '--device', device, '--seed', String(seed)];
    link.program = start(program, args);
    const { value } = await link.program.lines.next();
    if (!value) throw new Error('caside-link does not start');
    await run('ip', ['link', 'set', device, 'up']);
    await run('ip', ['route', 'add', link.address, 'dev', device]);
    await link.run('ip', ['link', 'set', device, 'up']);
    await link.run('ip', ['address', 'add', link.address, 'dev', device]);
    await link.run('ip', ['route', 'add', 'default', 'dev', device]);
    return link;
  }

  /** Runs a program beyond the link. */
  run(program, args, options) {
    return run('nsenter', [`--net=${this.namespace}`, program, ...args], options);
  }

  /** Changes what the link does; the counters at that moment. `up` is from the client to the node. */
  async set(orders = {}) {
    this.program.child.stdin.write(`${JSON.stringify(orders)}\n`);
    const { value, done } = await this.program.lines.next();
    if (done) throw new Error('the link is gone');
    return JSON.parse(value);
  }

  /** Chromium beyond the link. */
  async browser(node, ...more) {
    const dir = await mkdtemp(path.join(tmpdir(), 'caside-netem-'));
    const script = path.join(dir, 'chromium');
    await writeFile(script, `#!/bin/sh\nexec nsenter --net=${this.namespace} ${process.env.CHROMIUM ?? '/usr/bin/chromium'} "$@"\n`);
    await chmod(script, 0o755);
    // Cameras are for pages of trusted origins.
    const secure = `--unsafely-treat-insecure-origin-as-secure=${new URL(node.url).origin}`;
    const chromium = await launch(script, [secure, ...more]);
    chromium.on('disconnected', () => rm(dir, { recursive: true, force: true }));
    return chromium;
  }

  async close() {
    for (const { child } of [this.program, this.holder]) {
      child.stdin.end();
      if (child.exitCode === null) await once(child, 'exit');
    }
  }
}

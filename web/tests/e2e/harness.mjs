// Starts real nodes and real browsers for the end-to-end tests.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, mkdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after } from 'node:test';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const here = path.dirname(fileURLToPath(import.meta.url));
const root = path.resolve(here, '../../..');
export const output = path.join(root, 'web/tests/output');

/** Waits until `probe` gives something true, for at most `ms`. */
export async function until(what, probe, ms = 15_000) {
  const end = Date.now() + ms;
  for (;;) {
    const value = await probe();
    if (value) return value;
    if (Date.now() > end) throw new Error(`waited ${ms} ms in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}


/** Every node that runs: a test that fails leaves its own behind, and a file does not end while one lives. */
const running = new Set();

let limit;

/** A file that hangs is ended, so that the others have their turn. */
export function mayTake(minutes) {
  clearTimeout(limit);
  limit = setTimeout(() => {
    console.error(`still running after ${minutes} minutes; the nodes say:`);
    for (const node of running) console.error(node.log.slice(-20).join('\n'));
    for (const node of running) node.process.kill('SIGKILL');
    process.exit(1);
  }, minutes * 60_000).unref();
}

// None of those that do not say so takes half as long.
mayTake(10);

after(() => Promise.all([...running].map((node) => node.kill())));

/** The program under test. */
export const program = process.env.CASIDE_BIN ?? path.join(root, 'target/release/caside');

/** A running `caside`, with a data directory of its own unless it is given one. */
export class Node {
  /** @param bin what to start in place of the program itself */
  static async start({ dir, password, env = {}, bin = program } = {}) {
    const node = new Node();
    node.ownsDir = dir === undefined;
    node.password = password;
    node.dir = dir ?? (await mkdtemp(path.join(tmpdir(), 'caside-e2e-')));
    node.log = [];
    node.process = spawn(bin, [], {
      cwd: node.dir,
      env: {
        PATH: process.env.PATH,
        CASIDE_LISTEN: '127.0.0.1:0',
        CASIDE_MEDIA_PORT: '0',
        CASIDE_DATA_DIR: path.join(node.dir, 'data'),
        RUST_LOG: 'info',
        ...env,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    node.exited = once(node.process, 'exit').finally(() => running.delete(node));
    running.add(node);
    for (const stream of [node.process.stdout, node.process.stderr]) {
      createInterface({ input: stream }).on('line', (line) => {
        node.log.push(line);
        node.url ??= /listening on (http:\/\/[^\s"]+)/.exec(line)?.[1];
        node.password ??= /demo password: (\S+)/.exec(line)?.[1];
      });
    }
    try {
      await until('the node to listen', () => {
        if (node.process.exitCode !== null) throw new Error(`caside ended with ${node.process.exitCode}`);
        return node.url && node.password;
      });
    } catch (error) {
      throw new Error(`${error.message}\n${node.log.join('\n')}`);
    }
    return node;
  }

  /** The same data directory, a new process. */
  restart(env) {
    return Node.start({ dir: this.dir, password: this.password, env });
  }

  async login(username = 'demo', password = this.password) {
    return (await this.json('POST', '/login', undefined, { username, password })).token;
  }

  /** Calls the REST API; throws on a refusal. */
  async json(method, where, token, body) {
    const response = await fetch(new URL(where, this.url), {
      method,
      headers: {
        ...(token ? { authorization: `Bearer ${token}` } : {}),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${where}: ${response.status} ${text}`);
    return text === '' ? null : JSON.parse(text);
  }

  kill() {
    this.process.kill('SIGKILL');
    return this.exited;
  }

  async stop() {
    if (this.process.exitCode === null && this.process.signalCode === null) {
      this.process.kill('SIGTERM');
      const timer = setTimeout(() => this.process.kill('SIGKILL'), 20_000);
      await this.exited;
      clearTimeout(timer);
    }
    if (this.ownsDir) await rm(this.dir, { recursive: true, force: true });
  }
}

/** Headless Chromium with a fake camera and microphone. */
export function browser(...more) {
  return launch(process.env.CHROMIUM ?? '/usr/bin/chromium', more);
}

/** As `browser`, by a program that starts it. */
export async function launch(executablePath, more) {
  const started = await chromium.launch({
    executablePath,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--use-fake-device-for-media-stream=fps=30',
      '--use-fake-ui-for-media-stream',
      '--autoplay-policy=no-user-gesture-required',
      // Pages that lie behind others must go on decoding.
      '--disable-renderer-backgrounding',
      '--disable-backgrounding-occluded-windows',
      '--disable-background-timer-throttling',
      ...more,
    ],
  });
  if (!process.env.CASIDE_WEB) return started;
  const newContext = started.newContext.bind(started);
  started.newContext = async (options) => fromFolder(await newContext(options), path.resolve(process.env.CASIDE_WEB));
  return started;
}

/**
 * With CASIDE_WEB set, scripts and styles come from that folder and not from the binary: a change needs no build to be tried. The
 * page itself does not: Chromium lets none reach a loopback address that did not come from one.
 */
async function fromFolder(context, folder) {
  await context.route(
    (url) => /^\/(app\/|dashboard\/.|sdk\/|[^/]+\.css$)/.test(url.pathname),
    async (route) => {
      const file = path.join(folder, new URL(route.request().url()).pathname);
      if (await stat(file).then((it) => it.isFile(), () => false)) await route.fulfill({ path: file });
      else await route.fallback();
    },
  );
  return context;
}

/** Opens the page and joins by its address; resolves when the call view is there. */
export async function joinPage(context, node, { room, name, token }) {
  const page = await context.newPage();
  page.errors = [];
  page.on('pageerror', (error) => page.errors.push(String(error)));
  page.on('console', (message) => message.type() === 'error' && page.errors.push(message.text()));
  const query = new URLSearchParams({ room, name, token });
  await page.goto(`${node.url}/?${query}`);
  await page.waitForFunction(() => globalThis.caside?.room, null, { timeout: 15_000 }).catch(async (error) => {
    const shows = await page.evaluate(() => document.body.innerText).catch(String);
    throw new Error(`${name} is not in ${room}: ${page.errors.join('; ')}; the page shows: ${shows}`, { cause: error });
  });
  return page;
}

/** What a page receives from the SFU: one entry an inbound track. */
export function inbound(page) {
  return page.evaluate(async () => {
    const connection = globalThis.caside.room?.media.subscribeConnection;
    if (!connection) return [];
    const report = await connection.getStats();
    const rows = [];
    for (const s of report.values()) {
      if (s.type !== 'inbound-rtp') continue;
      rows.push({
        kind: s.kind,
        mid: s.mid,
        frames: s.framesDecoded ?? 0,
        energy: s.totalAudioEnergy ?? 0,
        packets: s.packetsReceived,
        lost: s.packetsLost,
        freezes: s.freezeCount ?? 0,
        width: s.frameWidth ?? 0,
      });
    }
    return rows;
  });
}

/** Waits until a page decodes this many video tracks. */
export function decodes(page, videos, ms = 15_000) {
  return until(
    `${videos} decoded videos`,
    async () => (await inbound(page)).filter((s) => s.kind === 'video' && s.frames > 0).length >= videos,
    ms,
  );
}

/** Keeps a picture of the page for people to look at. */
export async function picture(page, name) {
  await mkdir(output, { recursive: true });
  await page.screenshot({ path: path.join(output, `${name}.png`) });
}

/** A program's standard output; throws with its error output when it fails or takes longer than a minute. */
export async function run(program, args, options = {}) {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: 60_000, ...options });
  const parts = { out: [], err: [] };
  child.stdout.on('data', (chunk) => parts.out.push(chunk));
  child.stderr.on('data', (chunk) => parts.err.push(chunk));
  const [code, signal] = await once(child, 'close');
  if (code !== 0) throw new Error(`${program} ended with ${code ?? signal}: ${Buffer.concat(parts.err)}`);
  return Buffer.concat(parts.out).toString();
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

// What a cluster stands on, as processes of a test's own: Redis, an object store, a load balancer.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { after } from 'node:test';
import { run, until } from '../e2e/harness.mjs';
import { freePort } from '../e2e/postgres.mjs';

/** Every program that runs: what a test that fails leaves behind ends with its file. */
const running = new Set();

after(() => Promise.all([...running].map((program) => program.end('SIGKILL'))));

/** A program in the background, with a directory of its own. */
export class Program {
  log = [];

  async prepare(name) {
    this.dir = await mkdtemp(path.join(tmpdir(), `caside-${name}-`));
    return this;
  }

  start(program, args) {
    this.process = spawn(program, args, { cwd: this.dir, stdio: ['ignore', 'pipe', 'pipe'] });
    this.exited = Promise.race([once(this.process, 'exit'), once(this.process, 'error')]).finally(() => running.delete(this));
    running.add(this);
    for (const stream of [this.process.stdout, this.process.stderr]) createInterface({ input: stream }).on('line', (line) => this.log.push(line));
  }

  get runs() {
    return running.has(this);
  }

  async end(signal = 'SIGTERM') {
    if (this.runs) this.process.kill(signal);
    await this.exited;
  }

  async remove() {
    await this.end();
    await rm(this.dir, { recursive: true, force: true });
  }

  /** Waits until it serves; says what it said when it does not. */
  async serves(what, probe) {
    try {
      await until(what, () => {
        if (!this.runs) throw new Error(`${what} ended`);
        return probe();
      });
    } catch (error) {
      throw new Error(`${error.message}\n${this.log.slice(-20).join('\n')}`);
    }
  }
}

/** A Redis that keeps nothing over its end, as one without a disk does. */
export class Redis extends Program {
  static async start(host = '127.0.0.1') {
    const redis = await new Redis().prepare('redis');
    redis.port = await freePort();
    redis.host = host;
    redis.url = `redis://${host}:${redis.port}`;
    await redis.up();
    return redis;
  }

  async up() {
    this.start('redis-server', ['--port', String(this.port), '--bind', this.host, '--protected-mode', 'no', '--save', '', '--appendonly', 'no', '--dir', this.dir]);
    await this.serves('Redis', () => this.command('PING').then((said) => said === 'PONG', () => false));
  }

  /** Ends at once. */
  down() {
    return this.end('SIGKILL');
  }

  async command(...words) {
    return (await run('redis-cli', ['-h', this.host, '-p', String(this.port), ...words])).trim();
  }
}

/** An S3-compatible object store with one bucket. */
export class ObjectStore extends Program {
  static async start(host = '127.0.0.1') {
    const store = await new ObjectStore().prepare('store');
    store.port = await freePort();
    store.url = `http://${host}:${store.port}`;
    store.start('moto_server', ['-H', host, '-p', String(store.port)]);
    await store.serves('the object store', () => fetch(`${store.url}/calls`, { method: 'PUT' }).then(({ ok }) => ok, () => false));
    return store;
  }

  get settings() {
    return {
      S3_BUCKET: 'calls',
      S3_ENDPOINT: this.url,
      S3_REGION: 'us-east-1',
      AWS_ACCESS_KEY_ID: 'test',
      AWS_SECRET_ACCESS_KEY: 'test-secret',
    };
  }
}

/**
 * HAProxy before the nodes. Besides one address that takes them in turn and one that keeps a room's sockets together there is one
 * for each node, which goes to that one for as long as it lives: so a test can say where a page's socket is, and the page still
 * finds another node when that one is gone.
 */
export class Balancer extends Program {
  /** @param nodes their ids and ports */
  static async start(nodes) {
    const balancer = await new Balancer().prepare('haproxy');
    const ports = {};
    for (const name of ['turn', 'sticky', ...nodes.map(({ id }) => id)]) ports[name] = await freePort();
    balancer.at = (name) => `http://127.0.0.1:${ports[name]}`;
    /** Takes the nodes in turn. */
    balancer.url = balancer.at('turn');
    const file = path.join(balancer.dir, 'haproxy.cfg');
    await writeFile(file, configuration(nodes, ports));
    await run('/usr/sbin/haproxy', ['-c', '-f', file]);
    balancer.start('/usr/sbin/haproxy', ['-db', '-f', file]);
    await balancer.serves('HAProxy', () => fetch(balancer.url).then(() => true, () => false));
    return balancer;
  }
}

function configuration(nodes, ports) {
  const server = ({ id, host, port }, how = '') => `  server ${id} ${host}:${port} check ${how}`;
  const place = (name, lines) => [`listen ${name}`, `  bind 127.0.0.1:${ports[name]}`, '  http-request disable-l7-retry unless METH_GET', ...lines].join('\n');
  const sticky = [
    '  balance hash var(txn.room)',
    '  hash-type consistent',
    '  http-request set-var(txn.room) urlp(room) if { urlp(room) -m found }',
    '  http-request set-var(txn.room) req.hdr(x-room) if !{ var(txn.room) -m found } { req.hdr(x-room) -m found }',
    '  http-request set-var(txn.room) src if !{ var(txn.room) -m found }',
  ];
  return `
global
  maxconn 2000
defaults
  mode http
  # HAProxy waits for so long, too, before it asks another node than one that refused.
  timeout connect 100ms
  timeout client 60s
  # A node that stands still takes connections and answers nothing: then another is asked.
  timeout server 5s
  timeout tunnel 1h
  timeout check 1s
  option redispatch 1
  retries 3
  retry-on conn-failure empty-response response-timeout 503
  option httpchk GET /health/ready
  # One connection that fails says more than the next check will; two good checks are needed to come back.
  default-server inter 250ms fastinter 100ms fall 2 rise 2 observe layer4 error-limit 1 on-error mark-down
${place('turn', ['  balance roundrobin', ...nodes.map((node) => server(node))])}
${place('sticky', [...sticky, ...nodes.map((node) => server(node))])}
${nodes.map(({ id }) => place(id, nodes.map((node) => server(node, node.id === id ? '' : 'backup')))).join('\n')}
`;
}

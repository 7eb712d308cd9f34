// A cluster of real processes: nodes, Redis, PostgreSQL, an object store, HAProxy.
import assert from 'node:assert/strict';
import { createHmac, randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Node, until } from '../e2e/harness.mjs';
import { Postgres, freePort } from '../e2e/postgres.mjs';
import { Balancer, ObjectStore, Redis } from './services.mjs';

export { until };

const JWT_SECRET = randomBytes(32).toString('hex');
const READY_MS = 30_000;

/**
 * A token that every node takes.
 *
 * @param user who bears it; not an account
 * @param claims beside that: `room`, `role`, `scope`
 */
export function token(user, claims = {}) {
  const now = Math.floor(Date.now() / 1000);
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const body = { iss: 'caside', sub: user, name: user, scope: 'user', iat: now, exp: now + 86_400, ...claims };
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(body)}`;
  return `${signed}.${createHmac('sha256', JWT_SECRET).update(signed).digest('base64url')}`;
}

export const admin = () => token('root', { scope: 'user admin' });

/** One node: the same id, addresses and directory over any number of processes. */
class Member {
  constructor(id, dir, { host, port, env, place }) {
    Object.assign(this, { id, dir, host, port, env, place, url: `http://${host}:${port}` });
  }

  /** Whether its process is there, if only frozen. */
  get runs() {
    const { exitCode, signalCode } = this.node?.process ?? { exitCode: 0 };
    return exitCode === null && signalCode === null;
  }

  async start() {
    assert.ok(!this.runs, `${this.id} runs already`);
    this.node = await Node.start({ dir: this.dir, password: 'none', env: this.env, bin: this.place?.bin });
    await this.ready();
    return this;
  }

  ready(ms = READY_MS) {
    return until(`${this.id} to be ready`, () => this.isReady(), ms);
  }

  async isReady() {
    const answer = await fetch(`${this.url}/health/ready`, { signal: AbortSignal.timeout(1_000) }).catch(() => null);
    return answer?.status === 200;
  }

  signal(name) {
    this.node.process.kill(name);
  }

  /** The process is gone without a word. */
  async kill9() {
    this.signal('SIGKILL');
    await this.node.exited;
  }

  /** The process stands still; whoever talks to it waits. */
  freeze() {
    this.signal('SIGSTOP');
  }

  thaw() {
    this.signal('SIGCONT');
  }

  /** Drains and ends; resolves with its exit code. */
  async terminate() {
    this.signal('SIGTERM');
    const [code] = await this.node.exited;
    return code;
  }

  /** The REST interface of this node. */
  json(method, where, bearer = admin(), body = undefined) {
    return this.node.json(method, where, bearer, body);
  }

  /** Seconds of processor time that its process has had: `utime` and `stime` of proc(5). */
  async cpu() {
    const fields = (await readFile(`/proc/${this.node.process.pid}/stat`, 'utf8')).split(') ')[1].split(' ');
    return (Number(fields[11]) + Number(fields[12])) / 100;
  }

  /** The number of a metric, its labels summed up; null where there is none. */
  async metric(name) {
    const text = await (await fetch(`${this.url}/metrics`)).text();
    const values = [...text.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, 'gm'))].map((match) => Number(match[1]));
    return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0);
  }
}

export class Cluster {
  /** @type {Member[]} */ members = [];

  /**
   * Starts everything; resolves when every node is ready.
   *
   * @param nodes how many
   * @param objects whether recordings go to an object store, which a recording on several nodes needs
   * @param network the nodes are in places of it, and not all on this machine's own
   * @param clustered false: single nodes that know nothing of each other, to try the rest
   * @param env more settings of every node
   */
  static async start({ nodes = 3, objects = false, clustered = true, network = undefined, env = {} } = {}) {
    const cluster = new Cluster();
    try {
      await cluster.#start(nodes, objects, clustered, network, env);
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  async #start(nodes, objects, clustered, network, env) {
    this.dir = await mkdtemp(path.join(tmpdir(), 'caside-cluster-'));
    const services = network?.host;
    [this.redis, this.postgres, this.objects] = await Promise.all([Redis.start(network?.redis), Postgres.start(services), objects ? ObjectStore.start(services) : null]);
    const shared = { DATABASE_URL: this.postgres.url, JWT_SECRET, CASIDE_MEDIA_PORT: '0', ...this.objects?.settings, ...env };
    const cookie = randomBytes(16).toString('hex');
    for (let n = 1; n <= nodes; n++) {
      const id = `n${n}`;
      const [port, links] = [await freePort(), await freePort()];
      const place = await network?.place(n);
      const host = place?.address ?? '127.0.0.1';
      const settings = { ...shared, CASIDE_NODE_ID: id, CASIDE_LISTEN: `${host}:${port}`, ...(place ? { CASIDE_MEDIA_IP: host } : {}) };
      if (clustered) {
        const address = `${host}:${links}`;
        Object.assign(settings, {
          REDIS_URL: this.redis.url,
          CASIDE_CLUSTER_LISTEN: address,
          CASIDE_CLUSTER_ADVERTISE: address,
          CASIDE_CLUSTER_COOKIE: cookie,
        });
      }
      this.members.push(new Member(id, path.join(this.dir, id), { host, port, env: settings, place }));
    }
    for (const { dir } of this.members) await mkdir(dir);
    // The first makes the database's tables; the others come together.
    await this.members[0].start();
    await Promise.all(this.members.slice(1).map((member) => member.start()));
    this.balancer = await Balancer.start(this.members);
    await until('the balancer to have found the nodes', async () => (await fetch(`${this.balancer.url}/health/ready`)).status === 200);
    if (clustered) await this.complete();
  }

  /** Waits until every node that runs knows of all that run. */
  complete(ms = READY_MS) {
    const expected = this.members.filter(({ runs }) => runs).length;
    return until('the nodes to know each other', async () => {
      const seen = await Promise.all(this.members.filter(({ runs }) => runs).map((member) => member.json('GET', '/admin/nodes')));
      return seen.every(({ items }) => items.length === expected && items.every(({ linked }) => linked));
    }, ms);
  }

  /** @param id `n1` and so on */
  member(id) {
    const found = this.members.find((member) => member.id === id);
    assert.ok(found, `there is no node ${id}`);
    return found;
  }

  others(id) {
    return this.members.filter((member) => member.id !== id);
  }

  /** Which node has a room that somebody is in, by what a node says that runs. */
  owner(room, { except } = {}) {
    const asked = this.members.find((member) => member.runs && member.id !== except);
    // Not there yet: whoever joins it is on their way.
    return until(`${room} to have a node`, async () => (await asked.json('GET', `/rooms/${room}`).catch(() => ({}))).node);
  }

  /** Every process that was killed is started again. */
  async heal() {
    await Promise.all(this.members.filter(({ runs }) => !runs).map((member) => member.start()));
    await this.complete();
  }

  /** What every node said last, for whoever reads why a test failed. */
  logs(lines = 40) {
    return this.members.map(({ id, node }) => `${id}:\n${node?.log.slice(-lines).join('\n')}`).join('\n');
  }

  async stop() {
    await Promise.all(this.members.map((member) => member.runs && member.kill9()));
    await Promise.all([this.balancer, this.redis, this.postgres, this.objects].map((service) => service?.remove()));
    if (this.dir) await rm(this.dir, { recursive: true, force: true });
  }
}

/** Runs a test's body; when it fails, shows what the nodes said. */
export function shown(cluster, body) {
  return async (...given) => {
    try {
      await body(...given);
    } catch (error) {
      console.error(cluster().logs());
      throw error;
    }
  };
}

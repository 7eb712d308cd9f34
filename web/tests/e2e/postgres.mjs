// A PostgreSQL server of a test's own.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, chmod, chown, mkdtemp, readdir, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { run, until } from './harness.mjs';

async function binaries() {
  const versions = await readdir('/usr/lib/postgresql').catch(() => []);
  if (versions.length === 0) throw new Error('this test needs PostgreSQL: apt-get install postgresql');
  return path.join('/usr/lib/postgresql', versions.sort((a, b) => Number(b) - Number(a))[0], 'bin');
}

/** A port that nobody listens on, at this moment. */
export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

export class Postgres {
  /** @param host where it listens; others than this machine are let in there, too */
  static async start(host = '127.0.0.1') {
    const server = new Postgres();
    server.host = host;
    server.bin = await binaries();
    server.dir = await mkdtemp(path.join(tmpdir(), 'caside-postgres-'));
    await chmod(server.dir, 0o700);
    // It refuses to run as root.
    server.as = {};
    if (process.getuid() === 0) {
      const [uid, gid] = await Promise.all(['-u', '-g'].map(async (what) => Number(await run('id', [what, 'postgres']))));
      server.as = { uid, gid };
      await chown(server.dir, uid, gid);
    }
    server.data = path.join(server.dir, 'data');
    await run(path.join(server.bin, 'initdb'), ['-D', server.data, '-U', 'postgres', '-A', 'trust', '-N'], { ...server.as, cwd: server.dir });
    if (host !== '127.0.0.1') await appendFile(path.join(server.data, 'pg_hba.conf'), 'host all all samenet trust\n');
    server.port = await freePort();
    server.url = `postgres://postgres@${host}:${server.port}/postgres`;
    await server.up();
    return server;
  }

  async up() {
    this.process = spawn(
      path.join(this.bin, 'postgres'),
      ['-D', this.data, '-p', String(this.port), '-h', this.host, '-k', this.dir, '-F'],
      { ...this.as, cwd: this.dir, stdio: 'ignore' },
    );
    this.exited = once(this.process, 'exit');
    const ready = path.join(this.bin, 'pg_isready');
    await until('PostgreSQL', () => run(ready, ['-h', this.host, '-p', String(this.port)]).then(() => true, () => false));
  }

  /** Stops at once, as a machine that fails does. */
  async down() {
    this.process.kill('SIGQUIT');
    await this.exited;
  }

  /** Rows of a query, a list of columns each. */
  async query(sql) {
    const text = await run(path.join(this.bin, 'psql'), [this.url, '-AtF', '\t', '-c', sql]);
    return text.trim() === '' ? [] : text.trim().split('\n').map((line) => line.split('\t'));
  }

  async remove() {
    if (this.process.exitCode === null && this.process.signalCode === null) await this.down();
    await rm(this.dir, { recursive: true, force: true });
  }
}

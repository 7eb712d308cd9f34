// A network of a test's own: every node in a namespace, on one switch with the test, its services and browsers.
//
// The process that runs this is in a new network namespace: `unshare --net`, which `cargo xtask drills` sees to.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { after } from 'node:test';
import { program, run } from '../e2e/harness.mjs';

const holders = new Set();
after(() => holders.forEach((holder) => holder.kill('SIGKILL')));

/** Where the test and its services are. */
const TEST = '10.78.0.254';
/** Where Redis is, too: a node can be cut off from it alone. */
const REDIS = '10.78.0.253';

export class Network {
  host = TEST;
  redis = REDIS;

  static async open() {
    const links = JSON.parse(await run('ip', ['-json', 'link']));
    if (links.some(({ ifname }) => ifname !== 'lo')) throw new Error('this is no network namespace of its own: unshare --net');
    // A browser breaks off what it loads when an address comes, which those of IPv6 do when a second has passed.
    await writeFile('/proc/sys/net/ipv6/conf/default/disable_ipv6', '1');
    const network = new Network();
    network.dir = await mkdtemp(path.join(tmpdir(), 'caside-network-'));
    await run('ip', ['link', 'set', 'lo', 'up']);
    await run('ip', ['link', 'add', 'switch', 'type', 'bridge']);
    for (const address of [TEST, REDIS]) await run('ip', ['address', 'add', `${address}/24`, 'dev', 'switch']);
    await run('ip', ['link', 'set', 'switch', 'up']);
    return network;
  }

  /** A place for a node. */
  async place(number) {
    const holder = spawn('unshare', ['--net', 'sh', '-c', 'ip link set lo up && echo ready && exec cat'], { stdio: ['pipe', 'pipe', 'inherit'] });
    holders.add(holder);
    await once(createInterface({ input: holder.stdout }), 'line');
    const [port, address] = [`port${number}`, `10.78.0.${number}`];
    await run('ip', ['link', 'add', port, 'type', 'veth', 'peer', 'name', 'net', 'netns', String(holder.pid)]);
    await run('ip', ['link', 'set', port, 'master', 'switch', 'up']);
    const place = new Place(holder.pid, port, address);
    await place.run('ip', ['address', 'add', `${address}/24`, 'dev', 'net']);
    await place.run('ip', ['link', 'set', 'net', 'up']);
    place.bin = path.join(this.dir, `caside-${number}`);
    await writeFile(place.bin, `#!/bin/sh\nexec nsenter --net=/proc/${holder.pid}/ns/net ${program} "$@"\n`);
    await chmod(place.bin, 0o755);
    return place;
  }

  remove() {
    return rm(this.dir, { recursive: true, force: true });
  }
}

class Place {
  constructor(pid, port, address) {
    Object.assign(this, { pid, port, address, dropped: [] });
  }

  run(what, args) {
    return run('nsenter', [`--net=/proc/${this.pid}/ns/net`, what, ...args]);
  }

  /** The cable is out. */
  unplug() {
    return run('ip', ['link', 'set', this.port, 'down']);
  }

  plug() {
    return run('ip', ['link', 'set', this.port, 'up']);
  }

  /** What it sends to some goes nowhere, and nobody is told. */
  async drop(addresses) {
    for (const address of addresses) await this.run('ip', ['route', 'add', 'blackhole', `${address}/32`]);
    this.dropped.push(...addresses);
  }

  async heal() {
    for (const address of this.dropped.splice(0)) await this.run('ip', ['route', 'del', 'blackhole', `${address}/32`]);
  }
}

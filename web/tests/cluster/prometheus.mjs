// A Prometheus that asks the nodes of a test, with the rules that are deployed.
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { run } from '../e2e/harness.mjs';
import { freePort } from '../e2e/postgres.mjs';
import { Program } from './services.mjs';

export class Prometheus extends Program {
  /**
   * @param rules the folder with the rules
   * @param members the nodes to ask
   */
  static async start(rules, members) {
    const prometheus = await new Prometheus().prepare('prometheus');
    prometheus.url = `http://127.0.0.1:${await freePort()}`;
    const file = path.join(prometheus.dir, 'prometheus.yml');
    const targets = members.map(({ id, host, port }) => `      - targets: ["${host}:${port}"]\n        labels: { node: ${id} }`);
    await writeFile(file, `
global: { scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }
rule_files: ["${rules}/*.yml"]
scrape_configs:
  - job_name: caside
    static_configs:
${targets.join('\n')}
`);
    await run('promtool', ['check', 'config', file]);
    prometheus.start('prometheus', [`--config.file=${file}`, `--storage.tsdb.path=${prometheus.dir}/data`, `--web.listen-address=${new URL(prometheus.url).host}`]);
    await prometheus.serves('Prometheus', () => fetch(`${prometheus.url}/-/ready`).then(({ ok }) => ok, () => false));
    return prometheus;
  }

  async #get(where) {
    const answer = await fetch(`${this.url}/api/v1/${where}`);
    const { status, data, error } = await answer.json();
    if (status !== 'success') throw new Error(`${where}: ${error}`);
    return data;
  }

  /** The series of an expression now: `{metric, value}` each. */
  async query(expression) {
    return (await this.#get(`query?${new URLSearchParams({ query: expression })}`)).result;
  }

  /** Every rule, as it was evaluated last. */
  async rules() {
    return (await this.#get('rules')).groups.flatMap(({ rules }) => rules);
  }
}

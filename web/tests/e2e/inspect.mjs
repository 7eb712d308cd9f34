// What `caside inspect call` says.
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { run, until } from './harness.mjs';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');

/**
 * Asks a node as an operator does, on the command line.
 *
 * @param node with its `url` and its `dir`
 * @param id of a call or a room
 * @param env what the node is configured by, as far as it matters
 */
export async function inspectCall(node, id, env, { json = true } = {}) {
  const program = process.env.CASIDE_BIN ?? path.join(root, 'target/release/caside');
  const settings = { PATH: process.env.PATH, CASIDE_LISTEN: new URL(node.url).host, CASIDE_DATA_DIR: path.join(node.dir, 'data'), ...env };
  const said = await run(program, ['inspect', 'call', id, ...(json ? ['--json'] : [])], { env: settings, cwd: node.dir });
  return json ? JSON.parse(said) : said;
}

/** Waits until a call is said to have this cause. */
export function causeIn(ask, code, ms) {
  return until(`${code} to be named`, async () => (await ask().catch(() => ({ causes: [] }))).causes.find((cause) => cause.code === code), ms);
}

// @ts-check
import assert from 'node:assert/strict';
import { beforeEach, mock, test } from 'node:test';
import { watchTrouble } from '../../sdk/media/report.js';

class FakeConnection extends EventTarget {
  connectionState = 'new';
  iceConnectionState = 'new';

  /** @param {string} connectionState @param {string} iceConnectionState */
  become(connectionState, iceConnectionState) {
    Object.assign(this, { connectionState, iceConnectionState });
    this.dispatchEvent(new Event('connectionstatechange'));
  }

  /** @param {string} type @param {string} protocol */
  gathered(type, protocol) {
    this.dispatchEvent(Object.assign(new Event('icecandidate'), { candidate: { candidate: 'candidate:1', type, protocol } }));
  }
}

function watched() {
  const connection = new FakeConnection();
  /** @type {any[]} */
  const told = [];
  watchTrouble(/** @type {any} */ (connection), 'publish', (report) => told.push(report));
  return { connection, told };
}

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ['setTimeout'] });
});

test('a connection that comes up at once is not reported', () => {
  const { connection, told } = watched();
  connection.become('connecting', 'checking');
  mock.timers.tick(500);
  connection.become('connected', 'connected');
  mock.timers.tick(60_000);
  assert.deepEqual(told, []);
});

test('one that does not is reported with the candidates it has', () => {
  const { connection, told } = watched();
  connection.gathered('host', 'tcp');
  connection.gathered('relay', 'udp');
  connection.become('connecting', 'checking');
  mock.timers.tick(1_500);
  assert.deepEqual(told, [{ target: 'publish', ice: 'checking', connection: 'connecting', candidates: { udp: 0, tcp: 1, relay: 1 } }]);
});

test('one that breaks is reported at once', () => {
  const { connection, told } = watched();
  connection.gathered('host', 'udp');
  connection.become('failed', 'failed');
  assert.deepEqual(told.map(({ ice, candidates }) => [ice, candidates.udp]), [['failed', 1]]);
});

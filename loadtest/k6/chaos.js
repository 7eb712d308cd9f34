// What clients do that are not well: they come and go without a word, resume, say what nobody can read, shout, and sign in with what
// is no token; beside calls that must not notice. `k6 run -e JWT_SECRET=… -e CONNECTIONS=200 -e HOLD=60 loadtest/k6/chaos.js`.
// CONNECTIONS are calm, by signaling.js; a quarter as many are not.
import exec from 'k6/execution';
import http from 'k6/http';
import { Counter } from 'k6/metrics';
import { WebSocket } from 'k6/experimental/websockets';
import calm, { options as signaling } from './signaling.js';
import { Client } from './lib/client.js';
import { connections, hold, ramp, urls } from './lib/settings.js';

const refused = new Counter('caside_chaos_refused');
const shouted = new Counter('caside_chaos_shouted');
const unread = new Counter('caside_chaos_unread');
const comings = new Counter('caside_chaos_comings');
const surprises = new Counter('caside_chaos_surprises');

const wild = Math.max(4, Math.floor(connections / 4));

export const options = {
  ...signaling,
  scenarios: {
    ...signaling.scenarios,
    wild: { executor: 'per-vu-iterations', vus: Math.min(8, wild), iterations: 1, exec: 'wildly', maxDuration: `${ramp + hold + 60}s` },
  },
  thresholds: {
    ...signaling.thresholds,
    caside_chaos_surprises: ['count==0'],
    caside_chaos_refused: ['count>0'],
    caside_chaos_comings: ['count>0'],
  },
};

export default calm;

/** Each of a few users has many at once. */
export function wildly() {
  const end = Date.now() + (ramp + hold) * 1000;
  setTimeout(() => here.forEach((client) => client.close()), (ramp + hold) * 1000);
  const each = Math.ceil(wild / Math.min(8, wild));
  for (let n = 0; n < each; n++) {
    const name = `wild-${exec.vu.idInTest}-${n}`;
    [comesAndGoes, shouts, mumbles, isNobody][n % 4](name, end);
  }
}

/** Those who are connected. */
const here = new Set();

/** A client that is put out when all is over. */
function connect(name, handlers) {
  const client = new Client(url(), name, { ...handlers, close: () => here.delete(client) && handlers.close() });
  here.add(client);
}

const again = (end, after, what) => Date.now() + after < end && setTimeout(what, after);
const url = () => urls[Math.floor(Math.random() * urls.length)];

/** Joins, goes soon, and comes again. */
function comesAndGoes(name, end) {
  connect(name, {
    welcome: (self) =>
      self.request('join', { room: `${name}-room`, subscribe: 'manual' }, (answer, refusal) => {
        if (!answer && refusal.retryable !== true) surprises.add(1);
        comings.add(1);
        setTimeout(() => self.close(), Math.random() * 500);
      }),
    close: () => again(end, 100 + Math.random() * 400, () => comesAndGoes(name, end)),
  });
}

/** Says more than anybody may: is told so, and is put out in the end. */
function shouts(name, end) {
  let timer = null;
  connect(name, {
    welcome: (self) => {
      self.request('join', { room: `${name}-room`, subscribe: 'manual' }, () => {
        timer = setInterval(() => {
          for (let n = 0; n < 40; n++) self.say('chat', { text: 'LOUD' });
          shouted.add(40);
        }, 100);
      });
    },
    error: (_, { code }) => (code === 'rate_limited' ? refused.add(1) : surprises.add(1)),
    close: () => {
      clearInterval(timer);
      again(end, 1_000, () => shouts(name, end));
    },
  });
}

/** Says what is no message. */
function mumbles(name, end) {
  const words = ['', '{', '[]', '{"type":7}', '{"type":"no-such-thing","id":"x"}', '{"type":"join","payload":{"room":null}}', '\u0000'.repeat(100)];
  let timer = null;
  connect(name, {
    error: () => unread.add(1),
    close: () => {
      clearInterval(timer);
      again(end, 500, () => mumbles(name, end));
    },
    welcome: (self) => {
      let n = 0;
      timer = setInterval(() => {
        self.raw(words[n++ % words.length]);
        if (n > 40) self.close();
      }, 50);
    },
  });
}

/** Has no token, or one that somebody else made. */
function isNobody(name, end) {
  const socket = new WebSocket(`${url().replace(/^http/, 'ws')}/ws?token=eyJhbGciOiJub25lIn0.e30.`, 'caside.json.v1');
  socket.onopen = () => surprises.add(1);
  socket.onerror = () => refused.add(1);
  const answer = http.get(`${url()}/rooms`, { headers: { Authorization: `Bearer ${name}` }, responseCallback: http.expectedStatuses(401, 429) });
  if (answer.status !== 401 && answer.status !== 429) surprises.add(1);
  else refused.add(1);
  again(end, 300, () => isNobody(name, end));
}

// Rooms of two, who make offers and answers of a browser's size and talk: `cargo xtask load`, or
// `k6 run -e JWT_SECRET=… -e CONNECTIONS=10000 -e RATE=500 -e HOLD=600 loadtest/k6/signaling.js`.
import exec from 'k6/execution';
import { Counter, Gauge, Trend } from 'k6/metrics';
import { Client } from './lib/client.js';
import { connections, every, hold, ramp, rate, urls, vus } from './lib/settings.js';

const connectTime = new Trend('caside_connect_ms', true);
const joinTime = new Trend('caside_join_ms', true);
const offerTime = new Trend('caside_relay_ms', true);
const chatTime = new Trend('caside_chat_ms', true);
const joined = new Counter('caside_joined');
const sent = new Counter('caside_sent');
const heard = new Counter('caside_heard');
const errors = new Counter('caside_errors');
const drops = new Counter('caside_drops');
const open = new Gauge('caside_open');

/** What is left at the end for answers that are on their way, and for closing, in seconds. */
const SETTLE = 5;
/** An offer of a browser with sound and simulcast is so long. */
const SDP = JSON.stringify(`v=0\r\n${'a=x-padding:0123456789abcdefghijklmnopqrstuvwxyz\r\n'.repeat(48)}`);
const description = (to) => `{"sdp":${SDP},"to":"${to}","at":${Date.now()}}`;

export const options = {
  scenarios: {
    signaling: { executor: 'per-vu-iterations', vus, iterations: 1, maxDuration: `${ramp + hold + 60}s`, gracefulStop: '10s' },
  },
  thresholds: {
    caside_joined: [`count==${connections}`],
    caside_join_ms: ['p(99)<100'],
    caside_relay_ms: ['p(99)<20'],
    caside_chat_ms: ['p(99)<20'],
    caside_errors: ['count==0'],
    caside_drops: ['count==0'],
  },
  summaryTrendStats: ['avg', 'med', 'p(95)', 'p(99)', 'max', 'count'],
};

export default function () {
  const user = exec.scenario.iterationInTest;
  const end = Date.now() + (ramp + hold) * 1000;
  // Pairs are dealt to users in turn, so that all join at the rate together.
  const pairs = [];
  for (let pair = user; pair < connections / 2; pair += vus) pairs.push(pair);
  for (const pair of pairs) {
    for (const side of [0, 1]) {
      const at = ((2 * pair + side) / rate) * 1000;
      setTimeout(() => enter(pair, side, end), at);
    }
  }
}

let here = 0;

/** One of a pair: joins, and once the other is there too, they talk until the end. */
function enter(pair, side, end) {
  let peer = null;
  let leaving = false;
  const fault = (what, about) => {
    errors.add(1);
    console.error(`pair ${pair}, ${side}: ${what}: ${JSON.stringify(about)}`);
  };
  const talk = (client) => {
    if (Date.now() > end - SETTLE * 1000) return;
    sent.add(1);
    client.requestText('offer', description(peer), (_, refusal) => refusal && fault('offer', refusal));
    const begun = Date.now();
    sent.add(1);
    client.request('chat', { text: `${begun} says the one to the other` }, (_, refusal) => refusal && fault('chat', refusal));
    setTimeout(() => talk(client), every * 1000);
  };
  const begin = (client, id) => {
    peer = id;
    // Pairs do not all speak at once.
    if (side === 0) setTimeout(() => talk(client), Math.random() * every * 1000);
  };
  const client = new Client(urls[(2 * pair + side) % urls.length], `load-${2 * pair + side}`, {
    welcome: (self) => {
      connectTime.add(self.age);
      const begun = Date.now();
      self.request('join', { room: `load-${pair}`, display_name: self.user, subscribe: 'manual' }, (answer, refusal) => {
        if (!answer) return fault('join', refusal);
        joinTime.add(Date.now() - begun);
        joined.add(1);
        open.add(++here);
        const [other] = answer.room_state.participants.filter(({ participant_id }) => participant_id !== answer.participant_id);
        if (other) begin(self, other.participant_id);
      });
    },
    'peer-joined': (self, { participant_id }) => begin(self, participant_id),
    offer: (self, { from, at }) => {
      offerTime.add(Date.now() - at);
      heard.add(1);
      sent.add(1);
      self.requestText('answer', description(from), (_, refusal) => refusal && fault('answer', refusal));
    },
    answer: (_, { at }) => {
      offerTime.add(Date.now() - at);
      heard.add(1);
    },
    chat: (_, { text }) => {
      chatTime.add(Date.now() - Number(text.split(' ')[0]));
      heard.add(1);
    },
    error: (_, about) => fault('told', about),
    failure: (_, error) => !leaving && fault('socket', String(error)),
    close: (_, code) => {
      here -= 1;
      if (leaving) return;
      drops.add(1);
      console.error(`pair ${pair}, ${side}: closed with ${code}`);
    },
  });
  setTimeout(() => {
    leaving = true;
    client.close();
  }, end - Date.now() + Math.random() * 2000);
}

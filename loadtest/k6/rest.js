// The REST interface as an app uses it: rooms are made, looked at, changed and deleted, tokens minted, lists read.
// `k6 run -e JWT_SECRET=… -e RATE=100 -e HOLD=60 loadtest/k6/rest.js`; RATE: passes through it in a second.
import { check } from 'k6';
import exec from 'k6/execution';
import http from 'k6/http';
import { Counter } from 'k6/metrics';
import { hold, rate, urls } from './lib/settings.js';
import { token } from './lib/token.js';

const errors = new Counter('caside_errors');

export const options = {
  scenarios: {
    rest: { executor: 'constant-arrival-rate', rate, timeUnit: '1s', duration: `${hold}s`, preAllocatedVUs: 20, maxVUs: 200 },
  },
  thresholds: {
    caside_errors: ['count==0'],
    http_req_failed: ['rate==0'],
    'http_req_duration{name:health}': ['p(99)<50'],
    'http_req_duration{name:create}': ['p(99)<100'],
    'http_req_duration{name:read}': ['p(99)<100'],
    'http_req_duration{name:mint}': ['p(99)<100'],
    'http_req_duration{name:list}': ['p(99)<100'],
    dropped_iterations: ['count==0'],
  },
  summaryTrendStats: ['avg', 'med', 'p(95)', 'p(99)', 'max', 'count'],
};

export default function () {
  const { iterationInTest: pass } = exec.scenario;
  const url = urls[pass % urls.length];
  // As many users as an app of this size has: each makes a room now and then.
  const user = `rest-${pass % 1000}`;
  const bearer = token(user);
  const ask = (name, method, where, body, expected) => {
    const headers = { Authorization: `Bearer ${bearer}`, 'Content-Type': 'application/json' };
    const response = http.request(method, `${url}${where}`, body === undefined ? null : JSON.stringify(body), { headers, tags: { name } });
    if (!check(response, { [name]: ({ status }) => status === expected })) {
      errors.add(1);
      console.error(`${name}: ${response.status} ${response.body}`);
    }
    return response;
  };
  const room = `rest-${exec.vu.idInTest}-${pass}`;
  ask('health', 'GET', '/health', undefined, 200);
  ask('create', 'POST', '/rooms', { id: room, name: 'A room of the load test', metadata: { pass } }, 201);
  ask('read', 'GET', `/rooms/${room}`, undefined, 200);
  ask('mint', 'POST', '/auth/token', { user: 'guest', room, role: 'participant', ttl_s: 600 }, 200);
  ask('change', 'PATCH', `/rooms/${room}`, { name: 'Another name' }, 200);
  ask('list', 'GET', '/rooms?limit=20', undefined, 200);
  ask('delete', 'DELETE', `/rooms/${room}`, undefined, 204);
}

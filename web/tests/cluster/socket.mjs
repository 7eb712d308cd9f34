// A client of the Caside protocol without media, on a WebSocket of a few lines (RFC 6455): its connection can be cut at any time,
// and every event is kept as it came.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { request } from 'node:http';
import { until } from '../e2e/harness.mjs';

const TEXT = 1;
const CLOSE = 8;
const PING = 9;
const PONG = 10;
const ANSWER_MS = 10_000;

export class Client {
  /** Everything without an id, in the order it came. */
  events = [];
  /** With which code the other side closed it; null if it said none. @type {number | null | undefined} */ closed;
  #answers = new Map();
  #nextId = 1;
  #rest = Buffer.alloc(0);

  /**
   * Opens a socket.
   *
   * @param url of a node or a balancer
   * @param bearer a token, which is answered by `welcome`; without one a `resume` must come
   */
  static async open(url, bearer) {
    const client = new Client();
    const where = new URL('/ws', url);
    if (bearer) where.searchParams.set('token', bearer);
    const headers = {
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': randomBytes(16).toString('base64'),
      'sec-websocket-protocol': 'caside.json.v1',
    };
    const asked = request(where, { headers, timeout: ANSWER_MS, agent: false }).end();
    asked.on('timeout', () => asked.destroy(new Error(`${where.origin} does not answer`)));
    const [kind, response, socket, head] = await Promise.race([
      once(asked, 'upgrade').then((given) => ['upgrade', ...given]),
      once(asked, 'response').then((given) => ['response', ...given]),
    ]);
    if (kind === 'response') throw new Error(`${where.origin} answered ${response.statusCode} and not with a socket`);
    client.socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk) => client.#read(chunk));
    socket.on('error', () => {});
    socket.on('close', () => client.#ended());
    client.#read(head);
    if (bearer) {
      client.welcome = (await client.event('welcome')).payload;
      client.token = client.welcome.resume_token;
      client.node = client.welcome.server.node;
    }
    return client;
  }

  /** Takes events in place of `events`, for who measures. @type {((message: any) => void) | undefined} */ heard;

  /** Says something and wants no answer; not masked in earnest, for it is said often. */
  say(type, payload) {
    const text = Buffer.from(JSON.stringify({ type, payload }));
    const head = Buffer.alloc(8);
    head[0] = 0x80 | TEXT;
    head[1] = 0x80 | 126;
    head.writeUInt16BE(text.length, 2);
    this.socket.write(Buffer.concat([head, text]));
  }

  /** The payload of the answer. */
  async request(type, payload = {}) {
    const id = this.#nextId++;
    const answered = new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no answer to ${type}`)), ANSWER_MS);
      this.#answers.set(id, {
        take: (message) => {
          clearTimeout(timer);
          const refusal = message.type === 'error' && Object.assign(new Error(`${type}: ${JSON.stringify(message.payload)}`), message.payload);
          if (refusal) reject(refusal);
          else resolve(message.payload);
        },
        lose: () => {
          clearTimeout(timer);
          reject(new Error(`the socket closed before ${type} was answered`));
        },
      });
    });
    this.#send(TEXT, Buffer.from(JSON.stringify({ type, id, payload })));
    return answered;
  }

  /** Joins a room; who in it one is. */
  async join(room, how = {}) {
    const joined = await this.request('join', { room, ...how });
    this.id = joined.participant_id;
    return joined;
  }

  /** Goes on with another's session. */
  async resume(before, ms = ANSWER_MS) {
    const end = Date.now() + ms;
    for (;;) {
      try {
        const resumed = await this.request('resume', { resume_token: before.token, last_seq: before.lastSeq });
        this.token = resumed.resume_token;
        this.id = resumed.participant_id;
        return resumed;
      } catch (error) {
        if (error.code !== 'moving' || Date.now() > end) throw error;
        await new Promise((resolve) => setTimeout(resolve, error.retry_after_ms ?? 200));
      }
    }
  }

  get lastSeq() {
    return this.events.findLast(({ seq }) => seq !== undefined)?.seq ?? 0;
  }

  /** Waits for an event that is, or comes. */
  event(type, test = () => true, ms = ANSWER_MS) {
    return until(type, () => this.events.find((message) => message.type === type && test(message.payload)), ms);
  }

  told(type) {
    return this.events.filter((message) => message.type === type).map(({ payload }) => payload);
  }

  /** Every number once and in order. */
  assertNumbers(from = 0) {
    const numbers = this.events.map(({ seq }) => seq).filter((seq) => seq !== undefined);
    assert.deepEqual(numbers, numbers.map((_, place) => from + 1 + place));
  }

  /** Is gone without a word, as a network is. */
  cut() {
    this.socket.resetAndDestroy();
  }

  async close() {
    if (this.closed !== undefined) return;
    const code = Buffer.alloc(2);
    code.writeUInt16BE(1000);
    this.#send(CLOSE, code);
    this.socket.end();
    await until('the socket to close', () => this.closed !== undefined, 2_000).catch(() => this.socket.destroy());
  }

  #send(kind, payload) {
    const mask = randomBytes(4);
    const { length } = payload;
    const head = length < 126 ? Buffer.from([0x80 | kind, 0x80 | length]) : Buffer.from([0x80 | kind, 0x80 | 126, length >> 8, length & 255]);
    assert.ok(length < 65_536);
    this.socket.write(Buffer.concat([head, mask, payload.map((byte, place) => byte ^ mask[place & 3])]));
  }

  #read(chunk) {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    for (;;) {
      const data = this.#rest;
      if (data.length < 2) return;
      const short = data[1] & 127;
      const head = short < 126 ? 2 : short === 126 ? 4 : 10;
      if (data.length < head) return;
      const length = short < 126 ? short : short === 126 ? data.readUInt16BE(2) : Number(data.readBigUInt64BE(2));
      if (data.length < head + length) return;
      this.#rest = data.subarray(head + length);
      this.#take(data[0] & 15, data.subarray(head, head + length));
    }
  }

  #take(kind, payload) {
    if (kind === PING) this.#send(PONG, payload);
    if (kind === CLOSE) {
      this.closed ??= payload.length >= 2 ? payload.readUInt16BE(0) : null;
      this.socket.end();
    }
    if (kind !== TEXT) return;
    const message = JSON.parse(payload);
    const answer = message.id === undefined ? undefined : this.#answers.get(message.id);
    this.#answers.delete(message.id);
    if (answer) answer.take(message);
    else if (this.heard) this.heard(message);
    else this.events.push({ ...message, at: Date.now() });
  }

  #ended() {
    this.closed ??= null;
    for (const { lose } of this.#answers.values()) lose();
    this.#answers.clear();
  }
}

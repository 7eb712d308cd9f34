// A client of the Caside protocol on k6's event loop: any number of them in one virtual user.
import { WebSocket } from 'k6/experimental/websockets';
import { token } from './token.js';

export class Client {
  #socket;
  #answers = new Map();
  #nextId = 1;
  #handlers;
  #opened = Date.now();

  /**
   * Connects.
   *
   * @param url a node's, http(s)
   * @param user who it is
   * @param handlers by type of event; `welcome`, `close` and `failure` beside them
   */
  constructor(url, user, handlers) {
    this.#handlers = handlers;
    this.user = user;
    const socket = new WebSocket(`${url.replace(/^http/, 'ws')}/ws`, 'caside.json.v1');
    this.#socket = socket;
    // As browsers do. With a token in the request's head the node speaks first, and k6 loses what comes before it has told that
    // a socket is open: one of ten thousand.
    socket.onopen = () =>
      this.request('auth', { token: token(user) }, (welcome, refusal) => {
        if (welcome) handlers.welcome?.(this, welcome);
        else handlers.error?.(this, refusal);
      });
    socket.onmessage = ({ data }) => this.#take(JSON.parse(data));
    socket.onerror = ({ error }) => handlers.failure?.(this, error);
    socket.onclose = ({ code }) => handlers.close?.(this, code);
  }

  /** Since the socket began to connect, in ms. */
  get age() {
    return Date.now() - this.#opened;
  }

  say(type, payload) {
    this.raw(JSON.stringify({ type, payload }));
  }

  /** Sends what may be no message at all; after the end it goes nowhere. */
  raw(text) {
    if (this.#socket.readyState === 1) this.#socket.send(text);
  }

  /** Asks; `answered` is called with the payload, or with null and the refusal. */
  request(type, payload, answered) {
    this.requestText(type, JSON.stringify(payload), answered);
  }

  /** The same with a payload that is JSON already: k6's engine takes its time over long texts. */
  requestText(type, payload, answered) {
    const id = this.#nextId++;
    this.#answers.set(id, answered);
    this.raw(`{"type":"${type}","id":${id},"payload":${payload}}`);
  }

  close() {
    this.#socket.close(1000);
  }

  #take({ type, id, payload }) {
    if (id === undefined) {
      this.#handlers[type]?.(this, payload);
      return;
    }
    const answered = this.#answers.get(id);
    this.#answers.delete(id);
    if (type === 'error') answered?.(null, payload);
    else answered?.(payload);
  }
}

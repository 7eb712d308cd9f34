// @ts-check

/** A WebSocket whose other end is the test. */
export class FakeSocket {
  /** Every socket that was opened, oldest first. @type {FakeSocket[]} */ static all = [];
  /** @type {any[]} what the client sent */ sent = [];
  readyState = 0;
  /** @type {number | undefined} */ closeCode;
  /** @type {(() => void) | null} */ onopen = null;
  /** @type {((event: {data: unknown}) => void) | null} */ onmessage = null;
  /** @type {((event: {code: number, reason: string}) => void) | null} */ onclose = null;

  /**
   * @param {string} url
   * @param {string[]} protocols
   */
  constructor(url, protocols) {
    this.url = url;
    this.protocols = protocols;
    FakeSocket.all.push(this);
  }

  static get last() {
    return FakeSocket.all[FakeSocket.all.length - 1];
  }

  /** @param {string} frame */
  send(frame) {
    if (this.readyState !== 1) throw new Error('not open');
    this.sent.push(JSON.parse(frame));
  }

  /** @param {number} code */
  close(code) {
    this.readyState = 3;
    this.closeCode = code;
  }

  // The server's side.
  open() {
    this.readyState = 1;
    this.onopen?.();
  }

  /** @param {object} message */
  say(message) {
    this.onmessage?.({ data: JSON.stringify(message) });
  }

  /**
   * Answers the client's last message of this type.
   *
   * @param {string} asked
   * @param {string} type
   * @param {object} [payload]
   */
  answer(asked, type, payload = {}) {
    const request = this.sent.findLast((message) => message.type === asked);
    if (!request) throw new Error(`no ${asked} was sent, but ${JSON.stringify(this.sent)}`);
    this.say({ type, id: request.id, payload });
  }

  /** @param {number} [code] */
  drop(code = 1006) {
    this.readyState = 3;
    this.onclose?.({ code, reason: '' });
  }
}

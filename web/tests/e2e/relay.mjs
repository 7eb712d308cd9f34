// A way for datagrams between a browser and the node that loses some of them.
import { createSocket } from 'node:dgram';
import { once } from 'node:events';

/** What a page receives goes through it: `lossy` tells the page so. */
export class Relay {
  /** Part of what goes to the page, of media alone, that is lost. */
  loss = 0;
  lost = 0;
  #delayMs;
  #sockets = [];
  #random = 1;

  constructor({ delayMs = 0 } = {}) {
    this.#delayMs = delayMs;
  }

  /** A port in place of the node's own. */
  async to(address, port) {
    const [near, far] = await Promise.all([this.#open(), this.#open()]);
    let page;
    near.on('message', (datagram, { port: from, address: host }) => {
      page = { port: from, address: host };
      this.#later(() => far.send(datagram, port, address));
    });
    far.on('message', (datagram) => {
      if (!page) return;
      // RTP, and not RTCP (RFC 5761 §4).
      const isMedia = datagram[0] >= 128 && datagram[0] < 192 && !(datagram[1] >= 192 && datagram[1] < 224);
      if (isMedia && this.#chance() < this.loss) this.lost += 1;
      else this.#later(() => near.send(datagram, page.port, page.address));
    });
    return near.address().port;
  }

  close() {
    for (const socket of this.#sockets.splice(0)) socket.close();
  }

  async #open() {
    const socket = createSocket('udp4');
    socket.bind(0);
    await once(socket, 'listening');
    this.#sockets.push(socket);
    return socket;
  }

  #later(send) {
    setTimeout(() => this.#sockets.length > 0 && send(), this.#delayMs);
  }

  /** The same losses each time, as far as the same is sent (Lehmer). */
  #chance() {
    this.#random = (this.#random * 48_271) % 0x7fff_ffff;
    return this.#random / 0x7fff_ffff;
  }

  /** Lets a page receive through this, from the next connection on. */
  async lead(page) {
    await page.exposeFunction('relayed', (address, port) => this.to(address, port));
    await page.evaluate(() => {
      const set = RTCPeerConnection.prototype.setRemoteDescription;
      RTCPeerConnection.prototype.setRemoteDescription = async function (description) {
        // What the node offers is what it sends.
        if (description.type !== 'offer') return set.call(this, description);
        const lines = [];
        for (const line of description.sdp.split('\r\n')) {
          const [, before, address, port, after] = /^(a=candidate:\S+ 1 udp \d+) (\S+) (\d+) (.*)$/i.exec(line) ?? [];
          if (before && address.includes('.')) lines.push(`${before} ${address} ${await globalThis.relayed(address, Number(port))} ${after}`);
          else if (!line.startsWith('a=candidate:')) lines.push(line);
        }
        return set.call(this, { type: 'offer', sdp: lines.join('\r\n') });
      };
    });
  }
}

// A client whose ICE works and who says nothing of DTLS: what a firewall leaves of one that drops large or unknown datagrams.
import { createHmac, randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';

const COOKIE = 0x2112_a442;
const AGAIN_MS = 250;

/** CRC-32 of zlib, which `node:zlib` has from version 22 on. */
function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb8_8320 : 0);
  }
  return ~crc >>> 0;
}

function attribute(type, value) {
  const head = Buffer.alloc(4);
  head.writeUInt16BE(type, 0);
  head.writeUInt16BE(value.length, 2);
  return Buffer.concat([head, value, Buffer.alloc((4 - (value.length % 4)) % 4)]);
}

/** A Binding request that nominates (RFC 8489, RFC 8445 §7.1). */
export function bindingRequest(username, password) {
  const head = Buffer.alloc(20);
  head.writeUInt16BE(0x0001, 0);
  head.writeUInt32BE(COOKIE, 4);
  randomBytes(12).copy(head, 8);
  const priority = Buffer.alloc(4);
  priority.writeUInt32BE(0x6e7f_00ff);
  let body = Buffer.concat([
    attribute(0x0006, Buffer.from(username)),
    attribute(0x0024, priority),
    attribute(0x802a, randomBytes(8)),
    attribute(0x0025, Buffer.alloc(0)),
  ]);
  // The length counts what is being added (RFC 8489 §14.5).
  head.writeUInt16BE(body.length + 24, 2);
  const integrity = createHmac('sha1', password).update(Buffer.concat([head, body])).digest();
  body = Buffer.concat([body, attribute(0x0008, integrity)]);
  head.writeUInt16BE(body.length + 8, 2);
  const fingerprint = Buffer.alloc(4);
  fingerprint.writeUInt32BE((crc32(Buffer.concat([head, body])) ^ 0x5354_554e) >>> 0);
  return Buffer.concat([head, body, attribute(0x8028, fingerprint)]);
}

/** Goes on checking the first UDP candidate of an answer; resolves when it was answered once. Gives what ends it. */
export async function checksOnly(offerSdp, answerSdp) {
  const field = (sdp, name) => new RegExp(`^a=${name}:(\\S+)`, 'm').exec(sdp)[1];
  const [, address, port] = /^a=candidate:\S+ 1 udp \d+ (\d+\.\d+\.\d+\.\d+) (\d+) /im.exec(answerSdp);
  const username = `${field(answerSdp, 'ice-ufrag')}:${field(offerSdp, 'ice-ufrag')}`;
  const socket = createSocket('udp4');
  const check = () => socket.send(bindingRequest(username, field(answerSdp, 'ice-pwd')), Number(port), address);
  const timer = setInterval(check, AGAIN_MS);
  check();
  await once(socket, 'message');
  return () => {
    clearInterval(timer);
    socket.close();
  };
}

// Tokens as a node's HS256 secret signs them (RFC 7519).
import crypto from 'k6/crypto';
import encoding from 'k6/encoding';
import { secret } from './settings.js';

const part = (value) => encoding.b64encode(JSON.stringify(value), 'rawurl');
const head = part({ alg: 'HS256', typ: 'JWT' });

/**
 * A token for an hour or what is asked.
 *
 * @param user who bears it
 * @param claims more of them, such as `scope: 'user admin'`
 */
export function token(user, claims = {}) {
  if (!secret) throw new Error('JWT_SECRET is needed: the one of the nodes');
  const now = Math.floor(Date.now() / 1000);
  const body = part({ iss: 'caside', sub: user, name: user, scope: 'user', iat: now, exp: now + 7200, ...claims });
  return `${head}.${body}.${crypto.hmac('sha256', secret, `${head}.${body}`, 'base64rawurl')}`;
}

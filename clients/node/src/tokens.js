// The tokens by which users prove who they are: JWT (RFC 7519), signed with HS256 by the secret that the
// server has as `auth.token_secret`. For other algorithms take a library for JWT.
import { createHmac } from 'node:crypto';

/** RFC 7518 section 3.2. */
const SECRET_MIN_BYTES = 32;
const TTL_S = 3600;

const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

export function signToken(secret, user, { ttlS = TTL_S, channels, publish, claims = {} } = {}) {
  if (Buffer.byteLength(secret) < SECRET_MIN_BYTES)
    throw new RangeError(`the secret has to have at least ${SECRET_MIN_BYTES} bytes`);
  const iat = Math.floor(Date.now() / 1000);
  // What is not given is left out by JSON.
  const body = { ...claims, sub: user, iat, exp: iat + ttlS, channels, publish };
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(body)}`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

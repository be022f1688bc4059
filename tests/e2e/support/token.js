import { createHmac } from 'node:crypto';

const part = (value) =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

/** A JWT, signed with HS256 unless another way is asked for. */
export function sign(secret, claims, { alg = 'HS256', hash = 'sha256', signature } = {}) {
  const head = `${part({ alg, typ: 'JWT' })}.${part(claims)}`;
  return `${head}.${signature ?? createHmac(hash, secret).update(head).digest('base64url')}`;
}

export const inSeconds = (s) => Math.floor(Date.now() / 1000) + s;

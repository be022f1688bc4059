// The signatures of hooks, by the specification of Standard Webhooks: HMAC-SHA256 over the id, the time and
// the body of a request.
import { createHmac, timingSafeEqual } from 'node:crypto';

import { InvalidWebhook } from './errors.js';

/** How old, or how far ahead, the time of a request may be. */
const TOLERANCE_S = 300;
const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/;

export function verifyWebhook(headers, body, secrets, { toleranceS = TOLERANCE_S, now = Date.now() } = {}) {
  const fields = new Map([...entries(headers)].map(([name, value]) => [name.toLowerCase(), String(value)]));
  const [id, at, signatures] = ['id', 'timestamp', 'signature'].map((name) => {
    const value = fields.get(`webhook-${name}`);
    if (value === undefined) throw new InvalidWebhook(`the field webhook-${name} is missing`);
    return value;
  });
  if (!/^\d{1,15}$/.test(at)) throw new InvalidWebhook('webhook-timestamp is not a time');
  // Before the signature: what is old is refused whether or not it is genuine.
  if (!(Math.abs(now / 1000 - Number(at)) <= toleranceS))
    throw new InvalidWebhook('webhook-timestamp is too far from now');
  const good = several(secrets).map((secret) => Buffer.from(signWebhook(secret, id, Number(at), body)));
  const given = signatures.split(' ').map((signature) => Buffer.from(signature));
  if (!given.some((one) => good.some((other) => one.length === other.length && timingSafeEqual(one, other))))
    throw new InvalidWebhook('no signature is of these secrets');
  return object(body);
}

export function signWebhook(secret, id, atS, body) {
  const encoded = secret.replace(/^whsec_/, '');
  const key = Buffer.from(encoded, 'base64');
  // Node takes what is left of Base64 that was cut off.
  if (!BASE64.test(encoded) || encoded.length % 4 === 1 || key.length === 0)
    throw new TypeError('a secret is whsec_ and Base64');
  const mac = createHmac('sha256', key).update(`${id}.${atS}.`).update(body);
  return `v1,${mac.digest('base64')}`;
}

/** Of `Headers`, or of an object as Node has it. */
const entries = (headers) =>
  typeof headers.entries === 'function' ? headers.entries() : Object.entries(headers);

function several(secrets) {
  const list = typeof secrets === 'string' ? [secrets] : [...secrets];
  if (list.length === 0 || list.includes('')) throw new TypeError('there is no secret');
  return list;
}

function object(body) {
  let value;
  try {
    value = JSON.parse(Buffer.from(body).toString());
  } catch {
    throw new InvalidWebhook('the body is not JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new InvalidWebhook('the body is not an object');
  return value;
}

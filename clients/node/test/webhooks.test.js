// The signatures of hooks, by the vectors that all libraries share.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { InvalidWebhook, signWebhook, verifyWebhook } from 'encke-backend';

const VECTORS = JSON.parse(
  readFileSync(new URL('../../../tests/vectors/webhooks.json', import.meta.url), 'utf8'),
);

test('vectors', () => {
  assert.ok(VECTORS.length > 20);
  for (const { name, headers, body, secrets, now, good, bad_secret: isBadSecret } of VECTORS) {
    const verify = () => verifyWebhook(headers, Buffer.from(body), secrets, { now: now * 1000 });
    if (good) assert.deepEqual(verify(), JSON.parse(body), name);
    // A secret that is none is the caller's mistake, not the request's.
    else assert.throws(verify, isBadSecret ? TypeError : InvalidWebhook, name);
  }
});

test('now is now, and fields may be `Headers`', () => {
  const [{ headers, body, secrets }] = VECTORS;
  assert.throws(() => verifyWebhook(headers, body, secrets[0]), /too far/);
  const at = Math.floor(Date.now() / 1000);
  const fields = new Headers({
    'webhook-id': 'a',
    'webhook-timestamp': String(at),
    'webhook-signature': signWebhook(secrets[0], 'a', at, body),
  });
  assert.deepEqual(verifyWebhook(fields, body, secrets), JSON.parse(body));
});

test('no secret verifies nothing', () => {
  const [{ headers, body, now }] = VECTORS;
  for (const secrets of ['', [], ['']])
    assert.throws(() => verifyWebhook(headers, body, secrets, { now: now * 1000 }), TypeError);
});

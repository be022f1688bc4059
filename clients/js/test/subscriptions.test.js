/** Channels that come and go while not everything works. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { message, settle, token, world } from './world.js';

const TRIES = 6;

async function opened(options = {}) {
  const w = world({ token: token('alice'), ...options });
  w.client.connect();
  await settle();
  w.stream = await w.next('/v1/sse').open();
  return w;
}

/** Fails every try of a control request in some way, until the client gives it up. */
async function exhaust(w, path, fail) {
  for (let i = 0; i < TRIES; i++) {
    await fail(w.next(path));
    await w.clock.pass(10000);
    // The stream is to stay, however long that takes.
    await w.stream.write(': still here\n');
  }
}

const WAYS = {
  'the network': (request) => request.lose(),
  503: (request) => request.fail(503, 'engine_unavailable'),
  429: (request) => request.fail(429, 'rate_limited'),
};

for (const [way, fail] of Object.entries(WAYS)) {
  test(`a subscribe that fails for a moment (${way}) is told, and the next connection brings the channel all the same`, async () => {
    const w = await opened();
    const failed = assert.rejects(w.client.subscribe(['news']), { transient: true });
    await settle();
    await exhaust(w, '/v1/subscribe', fail);
    await failed;
    assert.ok(w.quiet, 'it was given up');
    assert.deepEqual(w.client.channels, ['news']);
    await w.stream.end();
    assert.equal(w.next('/v1/sse').query.channels, 'news');
  });

  test(`an unsubscribe that fails for a moment (${way}) is told, and the channel does not come back all the same`, async () => {
    const w = await opened({ channels: ['news'] });
    await w.stream.event(message(1, { channel: 'news' }), '1~e~@alice~0~news~1');
    const failed = assert.rejects(w.client.unsubscribe(['news']), { transient: true });
    await settle();
    await exhaust(w, '/v1/unsubscribe', fail);
    await failed;
    await w.stream.event(message(2, { channel: 'news' }), '1~e~@alice~0~news~2');
    assert.equal(w.of('message').length, 1);
    await w.stream.end();
    assert.deepEqual(w.next('/v1/sse').query, { cursor: '1~e~@alice~0', session: 's1' });
  });
}

test('a refusal takes away what it was about, and nothing that was there before', async () => {
  const w = await opened({ channels: ['news'] });
  const refused = assert.rejects(w.client.subscribe(['news', 'secret']), { code: 'channel_forbidden' });
  await settle();
  await w.next('/v1/subscribe').fail(403, 'channel_forbidden');
  await refused;
  assert.deepEqual(w.client.channels, ['news']);
  await w.stream.end();
  assert.equal(w.next('/v1/sse').query.channels, 'news');
});

test('what was unsubscribed, and is refused when it is asked for again, stays away', async () => {
  const w = await opened({ channels: ['news'] });
  const left = w.client.unsubscribe(['news']);
  await settle();
  await w.next('/v1/unsubscribe').json({ channels: [] });
  await left;
  const refused = assert.rejects(w.client.subscribe(['news']), { code: 'channel_forbidden' });
  await settle();
  await w.next('/v1/subscribe').fail(403, 'channel_forbidden');
  await refused;
  // It was under way; the cursor must not name it, or every further connection would be refused.
  await w.stream.event(message(5, { channel: 'news' }), '1~e~@alice~0~news~5');
  assert.deepEqual(w.of('message'), []);
  assert.equal(w.client.cursor, '1~e~@alice~0');
});

test('a gap never moves a position back', async () => {
  const w = await opened();
  await w.stream.event(message(12));
  await w.stream.event({ event: 'gap', channel: '@alice', from: 1, to: 7, reason: 'trimmed' });
  assert.equal(w.client.cursor, '1~e~@alice~12');
  await w.stream.event(message(8));
  assert.deepEqual(w.of('message').map((m) => m.offset), [12], 'what was handed over does not come twice');
  await w.stream.event({ event: 'gap', channel: '@alice', from: 13, to: 20, reason: 'trimmed' });
  assert.equal(w.client.cursor, '1~e~@alice~20');
  await w.stream.event({ event: 'gap', channel: 'unknown', from: 1, to: 5, reason: 'trimmed' });
  assert.equal(w.client.cursor, '1~e~@alice~20', 'its epoch is not known');
});

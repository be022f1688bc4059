/** When clients come back that were told when: never sooner, and not all at the same moment. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pauseMs } from '../encke.js';
import { laterMs, retryAfterMs } from '../client/pauses.js';
import { settle, token, world } from './world.js';

/** How long it takes until another request is made, in steps of 50 ms. */
async function waits(w) {
  for (let ms = 0; ms <= 400000; ms += 50) {
    if (!w.quiet) return ms;
    await w.clock.pass(50);
  }
  throw new Error('it does not come back');
}

const event = (retry_ms) => ({ event: 'close', code: 'shutdown', reason: '', reconnect: true, retry_ms });

/**
 * What a server may say of when to come back, and how.
 * @type {Record<string, [number, (random: () => number) => Promise<any>]>}
 */
const TOLD = {
  'retry_ms on a stream': [8000, async (random) => {
    const w = world({ token: token('alice') }, { random });
    w.client.connect();
    await settle();
    const stream = await w.next('/v1/sse').open();
    await stream.event(event(8000));
    return w;
  }],
  'retry_ms in a poll': [8000, async (random) => {
    const w = world({ token: token('alice'), transport: 'poll' }, { random });
    w.client.connect();
    await settle();
    const { event: _, ...close } = event(8000);
    await w.next('/v1/poll').json({ session: 's1', cursor: '1~e~@alice~0', messages: [], gaps: [], close });
    return w;
  }],
  'Retry-After of a stream': [8000, async (random) => {
    const w = world({ token: token('alice') }, { random });
    w.client.connect();
    await settle();
    await w.next('/v1/sse').fail(503, 'overloaded', { 'retry-after': '8' });
    return w;
  }],
  'Retry-After of a control request': [8000, async (random) => {
    const w = world({ token: token('alice') }, { random });
    w.client.publish('news', 1);
    await settle();
    await w.next('/v1/publish').fail(503, 'engine_unavailable', { 'retry-after': '8' });
    return w;
  }],
};

for (const [name, [asked, begin]] of Object.entries(TOLD)) {
  test(`${name} is the least, and up to a quarter more by chance`, async () => {
    assert.equal(await waits(await begin(() => 0)), asked);
    assert.equal(await waits(await begin(() => 0.5)), asked * 1.125 + (asked * 1.125) % 50);
    assert.equal(await waits(await begin(() => 1)), asked * 1.25);
  });
}

test('clients that are sent away without a word of when come back spread over seconds', async () => {
  const sent = async (random) => {
    const w = world({ token: token('alice') }, { random });
    w.client.connect();
    await settle();
    await (
      await w.next('/v1/sse').open()
    ).event({ event: 'close', code: 'token_expired', reason: '', reconnect: true });
    return waits(w);
  };
  assert.deepEqual([await sent(() => 0), await sent(() => 1)], [500, 5000]);
});

test('no server can keep a client away for longer than five minutes and a quarter of that', async () => {
  const w = world({ token: token('alice') }, { random: () => 1 });
  w.client.connect();
  await settle();
  await (await w.next('/v1/sse').open()).event(event(1e12));
  assert.equal(await waits(w), 375000);
  assert.equal(retryAfterMs('99999', 0), 300000);
});

test('what is no time to come back is none', async () => {
  for (const retry of [-1, Infinity, NaN, '8000', null]) {
    const w = world({ token: token('alice') }, { random: () => 0 });
    w.client.connect();
    await settle();
    await (await w.next('/v1/sse').open()).event(event(retry));
    assert.equal(await waits(w), 500, String(retry));
  }
  for (const header of [null, '', 'soon', '-3'])
    assert.equal(retryAfterMs(header, Date.now()), 0, String(header));
});

test('what was asked for is never undercut', () => {
  assert.deepEqual([laterMs(4000, () => 0), laterMs(4000, () => 1), laterMs(0, () => 1)], [4000, 5000, 0]);
  assert.equal(pauseMs(4, () => 1), 2000);
});

// Control requests: subscribe, unsubscribe, publish, ack. They take effect on the connection that is held,
// without ending it.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Server } from './support/server.js';

let server;
before(async () => void (server = await Server.start()));
after(() => server.stop());

const publish = async (channel, data) =>
  (await server.api('POST', '/api/publish', { channel, data })).with(202);

test('subscribe and unsubscribe take effect on a held stream', async () => {
  const alice = await server.login('sub-sse');
  const stream = await alice.stream({ channels: 'ss-a' });
  const { session } = stream;
  assert.deepEqual(
    (await alice.post('/v1/subscribe', { session, channels: ['ss-b', 'ss-c'] })).with(200).channels.sort(),
    ['ss-a', 'ss-b', 'ss-c'],
  );
  await publish('ss-b', 'heard');
  assert.equal((await stream.next()).data, 'heard');
  assert.deepEqual(
    (await alice.post('/v1/unsubscribe', { session, channels: ['ss-b'] })).with(200).channels.sort(),
    ['ss-a', 'ss-c'],
  );
  await publish('ss-b', 'not heard');
  await publish('ss-c', 'heard too');
  const next = await stream.next();
  assert.deepEqual([next.channel, next.data], ['ss-c', 'heard too']);
  assert.ok(!stream.lastEventId.includes('ss-b'), 'what is not followed is not in the cursor');
  await stream.drop();
});

test('subscribe takes effect on a held poll', async () => {
  const alice = await server.login('sub-poll');
  const { session, cursor } = await alice.look();
  const polling = alice.poll({ session, cursor });
  await server.held('sub-poll', session);
  (await alice.post('/v1/subscribe', { session, channels: ['sp'] })).with(200);
  await publish('sp', 1);
  const answer = (await polling).with(200);
  assert.deepEqual(answer.messages.map(({ channel, data }) => [channel, data]), [['sp', 1]]);
  assert.ok(answer.cursor.includes('~sp~1'));
});

test('a channel that is subscribed goes on from now', async () => {
  await publish('now', 'before');
  const alice = await server.login('sub-now');
  const { session, cursor } = await alice.look();
  (await alice.post('/v1/subscribe', { session, channels: ['now'] })).with(200);
  await publish('now', 'after');
  assert.deepEqual((await alice.take(1, { session, cursor })).messages.map(({ data }) => data), ['after']);
});

test('subscribing twice and unsubscribing what is not followed change nothing', async () => {
  const alice = await server.login('sub-twice');
  const { session } = await alice.look({ channels: 'twice' });
  assert.deepEqual(
    (await alice.post('/v1/subscribe', { session, channels: ['twice', 'twice'] })).with(200).channels,
    ['twice'],
  );
  assert.deepEqual(
    (await alice.post('/v1/unsubscribe', { session, channels: ['never'] })).with(200).channels,
    ['twice'],
  );
  assert.deepEqual(
    (await alice.post('/v1/unsubscribe', { session, channels: ['twice'] })).with(200).channels,
    [],
  );
});

test('the own channel is not left', async () => {
  const alice = await server.login('sub-own');
  const { session, cursor } = await alice.look();
  (await alice.post('/v1/unsubscribe', { session, channels: ['@sub-own'] })).refused(400, 'bad_name');
  await server.push({ to: ['sub-own'], data: 1 });
  assert.equal((await alice.take(1, { session, cursor })).messages.length, 1);
});

test('a session that is not there, or not one of this user, is unknown', async () => {
  const [alice, mallory] = [await server.login('sub-alice'), await server.login('sub-mallory')];
  const { session } = await alice.look();
  for (const address of ['/v1/subscribe', '/v1/unsubscribe']) {
    for (const unknown of [session, 'AAAAAAAAAAAAAAAAAAAAAA', 'x', ''])
      (await mallory.post(address, { session: unknown, channels: ['c'] })).refused(404, 'session_unknown');
    for (const body of [
      {},
      { session },
      { channels: ['c'] },
      { session, channels: 'c' },
      { session, channels: [1] },
      { session, channels: [] },
      { session, channels: ['c'], colour: 1 },
    ]) {
      (await alice.post(address, body)).refused(400, 'bad_request');
    }
    for (const name of ['', '@bob', 'x'.repeat(256), 'a\u0000', 'a\u200b'])
      (await alice.post(address, { session, channels: [name] })).refused(400, 'bad_name');
  }
});

test('a session has at most 128 channels', async () => {
  const alice = await server.login('sub-many');
  const { session } = await alice.look({
    channels: Array.from({ length: 127 }, (_, n) => `many-${n}`).join(','),
  });
  (await alice.post('/v1/subscribe', { session, channels: ['many-127', 'many-128'] })).refused(
    422,
    'too_many_channels',
  );
  assert.equal(
    (await alice.post('/v1/subscribe', { session, channels: ['many-127'] })).with(200).channels.length,
    128,
  );
  (
    await alice.post('/v1/subscribe', {
      session,
      channels: Array.from({ length: 129 }, (_, n) => `more-${n}`),
    })
  ).refused(422, 'too_many_channels');
  assert.equal(
    (await alice.post('/v1/subscribe', { session, channels: ['many-5'] })).with(200).channels.length,
    128,
  );
});

test('what a client publishes says who it is from', async () => {
  const [alice, bob] = [await server.login('pub-alice'), await server.login('pub-bob')];
  const stream = await alice.stream({ channels: 'chat' });
  const { id, offset, epoch, mode } = (
    await bob.post('/v1/publish', { channel: 'chat', data: { text: 'hi' } })
  ).with(202);
  assert.equal(mode, server.mode);
  const message = await stream.next();
  assert.deepEqual(
    [message.id, message.offset, message.epoch, message.from, message.type, message.data],
    [id, offset, epoch, 'pub-bob', 'message', { text: 'hi' }],
  );
  await stream.drop();
});

test('any JSON is data, and arrives as it was', async () => {
  const alice = await server.login('pub-any');
  const all = [
    null,
    true,
    0,
    -1.5e-7,
    12345678901234567890n,
    '',
    'ü\u0000\u2028"\\</script>',
    [],
    {},
    [[[]]],
    { '': { a: [1, null] } },
  ];
  const { session, cursor } = await alice.look({ channels: 'any' });
  for (const data of all) {
    const text = typeof data === 'bigint' ? String(data) : JSON.stringify(data);
    (
      await alice.post('/v1/publish', `{"channel":"any","data": ${text} }`, {
        'content-type': 'application/json',
      })
    ).with(202);
  }
  const { messages } = await alice.take(all.length, { session, cursor });
  assert.deepEqual(
    messages.map(({ data }) => data),
    all.map((data) => (typeof data === 'bigint' ? Number(data) : data)),
  );
  const history = await server.api('GET', '/api/channels/any/history');
  assert.ok(history.text.includes('12345678901234567890'), 'numbers keep their digits');
});

test('a publish that is not as it should be is refused', async () => {
  const alice = await server.login('pub-wrong');
  for (const body of [
    {},
    { channel: 'c' },
    { data: 1 },
    { channel: 1, data: 1 },
    { channel: 'c', data: 1, colour: 1 },
    { channel: 'c', data: 1, id: 1 },
    { channel: 'c', data: 1, id: '' },
    { channel: 'c', data: 1, id: 'x'.repeat(129) },
  ]) {
    (await alice.post('/v1/publish', body)).refused(400, 'bad_request');
  }
  for (const channel of ['', '@pub-wrong', '@bob', 'x'.repeat(256), 'a\nb', 'a\u200bb', '\u00ad'])
    (await alice.post('/v1/publish', { channel, data: 1 })).refused(400, 'bad_name');
});

test('one idempotency key of one user gives one message', async () => {
  const [alice, bob] = [await server.login('key-alice'), await server.login('key-bob')];
  const send = (who, data, id = 'k1') => who.post('/v1/publish', { channel: 'keys', data, id });
  const first = (await send(alice, 1)).with(202);
  const again = await Promise.all([send(alice, 1), send(alice, 1), send(alice, 1)]);
  for (const answer of again) assert.deepEqual(answer.with(202), first);
  (await send(alice, 2)).refused(409, 'key_reused');
  assert.equal((await send(bob, 3)).with(202).offset, first.offset + 1, "another user's key is another key");
  assert.equal((await send(alice, 4, 'k2')).with(202).offset, first.offset + 2);
  // Among several nodes a key is known where its channel is.
  if (!server.amongNodes)
    (await alice.post('/v1/publish', { channel: 'keys-other', data: 1, id: 'k1' })).refused(
      409,
      'key_reused',
    );
  const { messages } = (await server.api('GET', '/api/channels/keys/history')).with(200);
  assert.deepEqual(messages.map(({ data }) => data), [1, 3, 4]);
});

test('ack moves the receipts up to the cursor, and not further', async () => {
  const alice = await server.login('ack');
  const ids = [];
  for (let n = 0; n < 3; n++) ids.push((await server.push({ to: ['ack'], data: n })).id);
  const { session, cursor, messages } = await alice.take(3);
  for (const id of ids) await server.receipt(id, 'ack', 'delivered');
  const upTo = (message) => `1~${message.epoch}~@ack~${message.offset}`;
  assert.deepEqual((await alice.post('/v1/ack', { session, cursor: upTo(messages[1]) })).with(200), {
    ok: true,
  });
  await server.receipt(ids[1], 'ack', 'shown');
  assert.deepEqual(await server.receipts(ids[0]), { ack: 'shown' });
  assert.deepEqual(await server.receipts(ids[2]), { ack: 'delivered' });
  (await alice.post('/v1/ack', { session, cursor })).with(200);
  await server.receipt(ids[2], 'ack', 'shown');
  (await alice.post('/v1/ack', { session, cursor: upTo(messages[0]) })).with(200);
  assert.deepEqual(await server.receipts(ids[2]), { ack: 'shown' }, 'a receipt does not go back');
});

test('what was not handed over can not have been shown', async () => {
  const alice = await server.login('ack-ahead');
  const { session, cursor } = await alice.look();
  const epoch = cursor.split('~')[1];
  await alice.post('/v1/ack', { session, cursor: `1~${epoch}~@ack-ahead~1000` });
  const { id } = await server.push({ to: ['ack-ahead'], data: 1 });
  assert.deepEqual(await server.receipts(id), { 'ack-ahead': 'queued' });
  assert.equal((await alice.take(1, { session, cursor })).messages.length, 1);
  await server.receipt(id, 'ack-ahead', 'delivered');
});

test('an ack that is not as it should be is refused', async () => {
  const [alice, mallory] = [await server.login('ack-wrong'), await server.login('ack-mallory')];
  const { session, cursor } = await alice.look();
  for (const body of [{}, { session }, { cursor }, { session, cursor: 1 }, { session, cursor, colour: 1 }])
    (await alice.post('/v1/ack', body)).refused(400, 'bad_request');
  (await alice.post('/v1/ack', { session, cursor: 'x' })).refused(400, 'bad_cursor');
  for (const unknown of ['AAAAAAAAAAAAAAAAAAAAAA', 'x', ''])
    (await alice.post('/v1/ack', { session: unknown, cursor })).refused(404, 'session_unknown');
  (await mallory.post('/v1/ack', { session, cursor })).refused(404, 'session_unknown');
});

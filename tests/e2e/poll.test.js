// The long poll in all its cases.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Server } from './support/server.js';
import { until } from './support/until.js';

let server;
before(
  async () =>
    void (server = await Server.start({
      env: { ENCKE_SESSION_GRACE_S: '3', ENCKE_RETENTION_DEFAULT_MAX_MESSAGES: '5' },
    })),
);
after(() => server.stop());

const publish = async (channel, data) =>
  (await server.api('POST', '/api/publish', { channel, data })).with(202);

test('an answer has its five members, even when there is nothing to say', async () => {
  const alice = await server.login('shape');
  const answer = await alice.poll({ hold_s: 0 });
  // The first answer of a session brings its key besides.
  const members = ['close', 'cursor', 'gaps', 'messages', 'session'];
  assert.deepEqual(Object.keys(answer.with(200)).sort(), [...members, 'close_key'].sort());
  assert.match(answer.json.close_key, /^[\w-]{22}$/);
  assert.deepEqual([answer.json.messages, answer.json.gaps, answer.json.close], [[], [], null]);
  assert.match(answer.json.cursor, /^1~/);
  assert.equal(answer.headers['cache-control'], 'no-store');
});

test('it is held until there is something to say', async () => {
  const alice = await server.login('held');
  const { session, cursor } = await alice.look();
  const polling = alice.poll({ session, cursor });
  await server.held('held', session);
  let answered = false;
  polling.then(() => (answered = true));
  const { id } = await server.push({ to: ['held'], data: { n: 1 } });
  const answer = (await polling).with(200);
  assert.ok(answered);
  assert.equal(answer.session, session);
  assert.equal(answer.messages.length, 1);
  const [message] = answer.messages;
  assert.deepEqual(Object.keys(message).sort(), ['channel', 'data', 'epoch', 'id', 'offset', 'time', 'type']);
  assert.deepEqual(
    [message.id, message.channel, message.offset, message.type, message.data],
    [id, '@held', 1, 'message', { n: 1 }],
  );
  assert.match(message.time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);
});

test('it is held for hold_s and no longer', async () => {
  const alice = await server.login('patient');
  // Up to a tenth sooner, so that those who began together do not all come back together.
  for (const [hold_s, least] of [[0, 0], [1, 890]]) {
    const began = performance.now();
    assert.deepEqual((await alice.poll({ hold_s })).with(200).messages, []);
    const took = performance.now() - began;
    assert.ok(took >= least && took < least + 5000, `${hold_s} s took ${took} ms`);
  }
  for (const hold_s of ['-1', '1.5', 'x', '']) (await alice.poll({ hold_s })).refused(400, 'bad_request');
});

test("the server's own hold_s is the most", async () => {
  const brief = await Server.start({ engine: 'memory', env: { ENCKE_HOLD_S: '1' } });
  try {
    const alice = await brief.login('alice');
    const began = performance.now();
    (await alice.poll({ hold_s: 60 })).with(200);
    assert.ok(performance.now() - began < 10_000);
  } finally {
    await brief.stop();
  }
});

test('without a cursor, channels go on from now and the own channel from what was not handed over', async () => {
  await publish('absent', 'before');
  await server.push({ to: ['absent'], data: 'while away' });
  const alice = await server.login('absent');
  const first = await alice.take(1, { channels: 'absent' });
  assert.deepEqual(
    first.messages.map(({ data }) => data),
    ['while away'],
  );
  await publish('absent', 'after');
  assert.deepEqual(
    (await alice.take(1, { session: first.session, cursor: first.cursor })).messages.map(({ data }) => data),
    ['after'],
  );
  assert.deepEqual((await alice.look()).messages, [], 'another session is not handed it again');
});

test('the own channel is always there, without being asked for', async () => {
  const alice = await server.login('own');
  const { cursor } = await alice.look({ channels: 'own-other' });
  const position = /^1~([^~]+)~@own~0/.exec(cursor);
  assert.ok(position, cursor);
  const other = `1~${position[1]}~own-other~0`;
  await server.push({ to: ['own'], data: 1 });
  assert.equal((await alice.take(1, { cursor: other })).messages[0].channel, '@own');
});

test('earliest gives everything from the oldest that is kept', async () => {
  for (let n = 1; n <= 3; n++) await publish('early', n);
  await server.push({ to: ['early'], data: 'a' });
  const alice = await server.login('early');
  await alice.take(1);
  const { messages } = await alice.take(4, { cursor: 'earliest', channels: 'early' });
  assert.deepEqual(messages.filter(({ channel }) => channel === 'early').map(({ data }) => data), [1, 2, 3]);
  assert.deepEqual(messages.filter(({ channel }) => channel === '@early').map(({ data }) => data), ['a']);
});

test('a cursor alone is enough: it names the channels too', async () => {
  const alice = await server.login('alone');
  const { cursor } = await alice.look({ channels: 'alone-a,alone-b' });
  await publish('alone-b', 'x');
  const again = await alice.take(1, { cursor });
  assert.deepEqual(again.messages.map(({ channel, data }) => [channel, data]), [['alone-b', 'x']]);
  assert.deepEqual(
    (await server.sessions('alone')).find(({ session }) => session === again.session).channels.sort(),
    ['alone-a', 'alone-b'],
  );
});

test('an older cursor gives again what came behind it', async () => {
  const alice = await server.login('again');
  const { session, cursor } = await alice.look({ channels: 'again' });
  for (let n = 1; n <= 3; n++) await publish('again', n);
  await alice.take(3, { session, cursor });
  assert.deepEqual((await alice.take(3, { session, cursor })).messages.map(({ data }) => data), [1, 2, 3]);
});

test('a cursor that is put together from a message is good', async () => {
  const alice = await server.login('puts');
  const { cursor } = await alice.look({ channels: 'puts together,ü' });
  assert.ok(cursor.includes('puts!20together') && cursor.includes('!c3!bc'), cursor);
  await publish('puts together', 1);
  await publish('puts together', 2);
  const [message] = (await alice.take(2, { cursor })).messages;
  const { messages } = await alice.take(1, {
    cursor: `1~${message.epoch}~puts!20together~${message.offset}`,
  });
  assert.deepEqual(messages.map(({ data }) => data), [2]);
});

test('what was trimmed is told as a gap before the messages, never passed over', async () => {
  const alice = await server.login('gap');
  const { cursor } = await alice.look({ channels: 'gap' });
  const { epoch } = await publish('gap', 1);
  for (let n = 2; n <= 12; n++) await publish('gap', n);
  await until('the oldest are trimmed', async () => {
    const { channels } = (await server.api('GET', '/api/channels')).with(200);
    return channels.find(({ channel }) => channel === 'gap').tail === 8;
  });
  // The hub's window may still hold them; then nothing is missing, and no gap is told.
  const { gaps, messages } = await alice.take(5, { cursor });
  const missing = messages[0].offset - 1;
  assert.deepEqual(gaps, missing ? [{ channel: 'gap', from: 1, to: missing, reason: 'trimmed' }] : []);
  assert.deepEqual(
    messages.map(({ offset }) => offset),
    Array.from({ length: 12 - missing }, (_, n) => n + missing + 1),
  );
  const stranger = await server.login('gap2');
  const read = await stranger.take(5, { cursor: `1~${epoch}~gap~2` });
  assert.equal(read.gaps.length ? read.gaps[0].to + 1 : 3, read.messages[0].offset);
});

test('a cursor of another epoch is no error, but a gap without an end', async () => {
  const alice = await server.login('foreign');
  await publish('foreign', 1);
  await server.push({ to: ['foreign'], data: 'own' });
  const { gaps, messages } = await alice.take(2, { cursor: '1~other~@foreign~7~foreign~9' });
  assert.deepEqual(
    gaps.sort((a, b) => (a.channel < b.channel ? -1 : 1)),
    [
      { channel: '@foreign', from: 8, to: null, reason: 'epoch' },
      { channel: 'foreign', from: 10, to: null, reason: 'epoch' },
    ],
  );
  assert.deepEqual(
    messages.map(({ data }) => data).sort(),
    [1, 'own'],
    'what follows are the oldest that are kept',
  );
});

test('a cursor that is ahead of its log is a gap as well', async () => {
  const alice = await server.login('ahead');
  const { epoch } = await publish('ahead', 1);
  const { gaps, messages } = await alice.take(1, { cursor: `1~${epoch}~ahead~50` });
  assert.equal(gaps.length, 1);
  assert.equal(gaps[0].to, null);
  assert.deepEqual(messages.map(({ offset }) => offset), [1]);
});

test('a malformed cursor is refused', async () => {
  const alice = await server.login('malformed');
  for (const cursor of [
    'nonsense',
    '1',
    '2~a~b~1',
    '1~a~b',
    '1~a~b~x',
    '1~a~b~-1',
    '1~a~b~01',
    '1~a~b~1~b~2',
    '1~a~!zz~1',
    '1~a~!00~1',
    '1~a~~1',
    '1~a~b~99999999999999999999',
    `1~a~${'x'.repeat(256)}~1`,
    '1~a b~c~1',
  ]) {
    (await alice.poll({ cursor, hold_s: 0 })).refused(400, 'bad_cursor');
  }
});

test('a parameter that is not known is refused', async () => {
  const alice = await server.login('unknown');
  (await alice.poll({ hold_s: 0, colour: 'red' })).refused(400, 'bad_request');
  (await alice.poll({ hold_s: 0, _: '17' })).with(200);
});

test('channels are asked for by name, each percent-encoded when it holds a comma', async () => {
  const alice = await server.login('names');
  const { session } = await alice.look({ channels: 'a b,c%2Cd,ü' });
  const [{ channels }] = (await server.sessions('names')).filter((one) => one.session === session);
  assert.deepEqual(channels.sort(), ['a b', 'c,d', 'ü']);
  for (const name of ['@names', '@bob', 'x'.repeat(256), 'a%00b', 'a%E2%80%8Bb', 'a%0Ab'])
    (await alice.poll({ hold_s: 0, channels: name })).refused(400, 'bad_name');
  const many = Array.from({ length: 129 }, (_, n) => `c${n}`);
  (await alice.poll({ hold_s: 0, channels: many.join(',') })).refused(422, 'too_many_channels');
  await alice.look({ channels: many.slice(1).join(',') });
});

test('a session goes on through its polls, with the channels that it has', async () => {
  const alice = await server.login('goes-on');
  const first = await alice.look({ channels: 'goes-on' });
  const second = await alice.look({ session: first.session, cursor: first.cursor });
  const third = await alice.look({ session: first.session });
  assert.deepEqual([second.session, third.session], [first.session, first.session]);
  const sessions = await server.sessions('goes-on');
  assert.equal(sessions.length, 1);
  assert.deepEqual(sessions[0].channels, ['goes-on']);
});

test('an unknown session and that of another user become a new one', async () => {
  const [alice, mallory] = [await server.login('mine'), await server.login('not-mine')];
  const { session } = await alice.look();
  for (const unknown of [session, 'AAAAAAAAAAAAAAAAAAAAAA', 'x', '']) {
    const answer = await mallory.look({ session: unknown });
    assert.notEqual(answer.session, session);
  }
  assert.equal((await server.sessions('mine'))[0].session, session);
});

test('a newer poll of the same session takes over, and loses nothing', async () => {
  const alice = await server.login('taken');
  const { session, cursor } = await alice.look();
  const older = alice.poll({ session, cursor });
  await server.held('taken', session);
  const newer = alice.poll({ session, cursor });
  (await older).refused(409, 'session_taken_over');
  await server.push({ to: ['taken'], data: 1 });
  assert.equal((await newer).with(200).messages.length, 1);
});

test('what an aborted poll was sent comes again', async () => {
  const alice = await server.login('aborted');
  const { session, cursor } = await alice.look();
  const abort = new AbortController();
  const lost = alice.poll({ session, cursor }, { signal: abort.signal }).catch((error) => error);
  await server.held('aborted', session);
  abort.abort();
  assert.equal((await lost).name, 'AbortError');
  await server.push({ to: ['aborted'], data: 1 });
  const { messages, session: after } = await alice.take(1, { session, cursor });
  assert.equal(after, session);
  assert.deepEqual(messages.map(({ data }) => data), [1]);
  assert.equal((await alice.take(1, { session, cursor })).messages.length, 1, 'until the cursor moves');
});

test('of a session that was closed a poll is told so for the grace time, and not forever', async () => {
  const alice = await server.login('gone');
  const { session, cursor } = await alice.look();
  const closed = performance.now();
  assert.deepEqual((await alice.post('/v1/close', { session })).with(200), { closed: true });
  const refusal = (await alice.poll({ session, cursor, hold_s: 0 })).refused(410, 'session_closed');
  assert.equal(refusal.reconnect, false);
  await until('the session is forgotten', async () => {
    const asked = performance.now();
    const answer = await alice.poll({ session, cursor, hold_s: 0 });
    if (answer.status !== 410) assert.ok(performance.now() - closed >= 3000, 'the grace time is the least');
    else assert.ok(asked - closed < 15_000, 'it is told for too long');
    return answer.status === 200;
  });
});

test('a poll that is held while its session is closed answers with the close', async () => {
  const alice = await server.login('woken');
  const { session, cursor } = await alice.look();
  const polling = alice.poll({ session, cursor });
  await server.held('woken', session);
  (await alice.post('/v1/close', { session, reason: 'bye' })).with(200);
  assert.deepEqual((await polling).with(200).close, { code: 'client', reason: 'bye', reconnect: false });
});

test('many messages come in order, each once, over as many polls as it takes', async () => {
  const alice = await server.login('many');
  const { session, cursor } = await alice.look();
  const sent = Array.from({ length: 300 }, (_, n) => ({ n, text: 'x'.repeat(4000) }));
  for (let from = 0; from < sent.length; from += 20) {
    await Promise.all(sent.slice(from, from + 20).map((data) => server.push({ to: ['many'], data })));
  }
  const { messages } = await alice.take(300, { session, cursor });
  assert.deepEqual(messages.map(({ offset }) => offset), Array.from({ length: 300 }, (_, n) => n + 1));
  assert.deepEqual(messages.map(({ data }) => data.n).sort((a, b) => a - b), sent.map(({ n }) => n));
});

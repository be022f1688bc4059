import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Encke, EnckeError, pauseMs } from '../encke.js';
import { bare, message, opened, polling, settle, token, world } from './world.js';

// -- connecting

test('a stream is opened with the token in a header, and its messages are handed over', async () => {
  const w = await opened({ url: 'http://server/' });
  assert.equal(w.stream.headers.authorization, 'Bearer ' + token('alice'));
  assert.equal(w.stream.url, 'http://server/v1/sse?form=short', 'no token, and nothing else, in the address');
  assert.equal(w.stream.credentials, 'omit');
  assert.equal(w.client.state, 'open');
  assert.equal(w.client.session, 's1');
  assert.equal(w.client.user, 'alice');
  await w.stream.event(message(1), '1~e~@alice~1');
  await w.stream.event(message(2, { type: 'page', url: 'https://a/', data: undefined }), '1~e~@alice~2');
  assert.deepEqual(w.of('message'), [bare(message(1))]);
  assert.equal(w.of('page')[0].url, 'https://a/');
  assert.equal(w.client.cursor, '1~e~@alice~2');
  assert.deepEqual(w.of('state'), ['connecting', 'open']);
});

test('without a token the cookie of the same origin counts', async () => {
  const w = world();
  w.client.connect();
  await settle();
  const request = w.next('/v1/sse');
  assert.equal(request.credentials, 'same-origin');
  assert.equal(request.headers.authorization, undefined);
});

test('channels are asked for, and such as could be misread are encoded twice', async () => {
  const w = world({ token: 't', channels: ['news', 'a,b', '50%', 'ü x'] });
  w.client.connect();
  await settle();
  const request = w.next();
  assert.equal(request.query.channels, 'news,a%2Cb,50%25,ü x');
  assert.ok(!request.url.includes('+'), 'a space is never written as a plus');
});

test('connecting twice is connecting once', async () => {
  const w = await opened();
  w.client.connect();
  await settle();
  assert.ok(w.quiet);
});

test('a page whose address is not one to show is not handed over, but counted', async () => {
  const w = await opened();
  await w.stream.event(message(1, { type: 'page', url: 'java\nscript:alert(1)' }));
  assert.deepEqual(w.of('page'), []);
  assert.equal(w.of('error')[0].code, 'bad_url');
  assert.equal(w.client.cursor, '1~e~@alice~1');
});

test('a listener that throws harms no other', async () => {
  const w = await opened();
  const reported = [];
  const before = console.error;
  globalThis.reportError = (error) => reported.push(error);
  try {
    w.client.on('message', () => {
      throw new Error('mine');
    });
    const after = [];
    w.client.on('message', (m) => after.push(m.offset));
    await w.stream.event(message(1));
    await w.stream.event(message(2));
    assert.deepEqual(after, [1, 2]);
    assert.equal(reported.length, 2);
  } finally {
    delete globalThis.reportError;
    console.error = before;
  }
});

test('a listener can be taken away', async () => {
  const w = await opened();
  const got = [];
  const off = w.client.on('message', (m) => got.push(m.offset));
  await w.stream.event(message(1));
  off();
  await w.stream.event(message(2));
  assert.deepEqual(got, [1]);
});

// -- the cursor

test('the cursor is put together from messages that bring none', async () => {
  const w = await opened();
  await w.stream.event(message(1));
  await w.stream.event(message(7, { channel: 'news', epoch: 'f' }));
  assert.equal(w.client.cursor, '1~e~@alice~1~news~7:f');
});

test('repeats are dropped, another epoch is none', async () => {
  const w = await opened();
  for (const m of [message(1), message(2), message(2), message(1), message(3)]) await w.stream.event(m);
  await w.stream.event(message(1, { epoch: 'f' }));
  assert.deepEqual(w.of('message').map((m) => [m.epoch, m.offset]), [['e', 1], ['e', 2], ['e', 3], ['f', 1]]);
});

test('an id without an event tells the positions at rest', async () => {
  const w = await opened({ channels: ['news'] });
  await w.stream.write('id: 1~e~@alice~0~news~4\n\n');
  assert.equal(w.client.cursor, '1~e~@alice~0~news~4');
});

test('a listener that starts anew leaves the rest of what was read to the next connection', async () => {
  const w = await opened();
  const off = w.client.on('message', () => {
    off();
    w.client.reconnect();
  });
  const text = [1, 2].map((n) => `data: ${JSON.stringify(message(n))}\nid: 1~e~@alice~${n}\n\n`).join('');
  await w.stream.write(text);
  assert.equal(w.next('/v1/sse').query.cursor, '1~e~@alice~1');
  assert.deepEqual(w.of('message').map((m) => m.offset), [1]);
});

test('an id never moves a position back', async () => {
  const w = await opened();
  await w.stream.event(message(5), '1~e~@alice~3');
  assert.equal(w.client.cursor, '1~e~@alice~5');
});

test('a cursor of an unknown version is handed back as it came', async () => {
  const w = await opened();
  await w.stream.event(message(1), '2:whatever');
  assert.equal(w.client.cursor, '2:whatever');
  await w.stream.end();
  assert.equal(w.next('/v1/sse').query.cursor, '2:whatever');
});

test('after a loss the client goes on by its cursor and in its session', async () => {
  const w = await opened({ channels: ['news', 'quiet'] });
  await w.stream.event(message(4));
  await w.stream.event(message(9, { channel: 'news' }));
  await w.stream.end();
  const again = w.next('/v1/sse');
  assert.deepEqual(again.query, { cursor: '1~e~@alice~4~news~9', session: 's1', channels: 'quiet' });
  await again.open('s1', '1~e~@alice~4~news~9~quiet~0');
  await again.event(message(4));
  await again.event(message(5));
  assert.deepEqual(w.of('message').map((m) => m.offset), [4, 9, 5]);
});

test('gaps are told, and the position moves behind them', async () => {
  const w = await opened();
  await w.stream.event({ event: 'gap', channel: '@alice', from: 1, to: 12, reason: 'trimmed' });
  assert.deepEqual(w.of('gap'), [{ channel: '@alice', from: 1, to: 12, reason: 'trimmed' }]);
  assert.equal(w.client.cursor, '1~e~@alice~12');
  await w.stream.event({ event: 'gap', channel: '@alice', from: 13, to: null, reason: 'epoch' });
  assert.equal(w.client.cursor, '1~e~@alice~12', 'the new epoch is not known yet');
  await w.stream.event(message(3, { epoch: 'f' }), '1~f~@alice~3');
  assert.equal(w.client.cursor, '1~f~@alice~3');
});

test('a channel that a new token does not grant is told, and not asked for again', async () => {
  const w = await opened({ channels: ['news', 'secret'] });
  await w.stream.event(message(9, { channel: 'secret' }), '1~e~@alice~0~secret~9');
  await w.stream.event({ event: 'unsubscribed', channel: 'secret', reason: 'not_granted' });
  assert.deepEqual(w.of('unsubscribed'), [{ channel: 'secret', reason: 'not_granted' }]);
  assert.deepEqual(w.client.channels, ['news']);
  await w.stream.end();
  const { query } = w.next('/v1/sse');
  assert.deepEqual([query.channels, query.cursor.includes('secret')], ['news', false]);
});

test('a cursor that is refused becomes a gap in every channel, never silence', async () => {
  const w = world({ token: token('alice'), cursor: '1~e~@alice~4~news~9' });
  w.client.connect();
  await settle();
  await w.next().fail(400, 'bad_cursor');
  assert.deepEqual(w.of('gap'), [
    { channel: '@alice', from: 5, to: null, reason: 'cursor' },
    { channel: 'news', from: 10, to: null, reason: 'cursor' },
  ]);
  assert.deepEqual(w.next('/v1/sse').query, { channels: 'news' });
});

test('the cursor is remembered for each user', async () => {
  const kept = new Map();
  const storage = { getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value) };
  const w = await opened({ storage });
  await w.stream.event(message(6));
  assert.equal(kept.size, 0, 'not written for every message');
  await w.clock.pass(1000);
  assert.deepEqual([...kept.values()], ['1~e~@alice~6']);
  assert.equal(new Encke({ storage, token: token('alice') }).cursor, '1~e~@alice~6');
  assert.equal(new Encke({ storage, token: token('bob') }).cursor, null);
  assert.equal(new Encke({ storage, token: token('alice'), url: 'http://other' }).cursor, null);
});

// -- coming back

test('pauses: at once, then growing to 5 s, later slowly to 30 s, half of each by chance', () => {
  assert.equal(pauseMs(1, () => 1), 0);
  const longest = Array.from({ length: 40 }, (_, i) => pauseMs(i + 1, () => 1));
  for (let i = 1; i < longest.length; i++) assert.ok(longest[i] >= longest[i - 1]);
  assert.ok(longest.slice(0, 8).every((ms) => ms <= 5000));
  assert.equal(longest.at(-1), 30000);
  assert.ok(longest[8] < 7000);
  assert.equal(pauseMs(5, () => 0) * 2, pauseMs(5, () => 1));
});

test('a server that is away is tried again and again, with pauses', async () => {
  const w = world({ token: 't' });
  w.client.connect();
  await settle();
  await w.next().lose();
  await w.next().lose();
  assert.equal(w.client.state, 'waiting');
  assert.ok(w.quiet);
  await w.clock.pass(500);
  await w.next().lose();
  assert.equal(w.of('error').length, 3);
  assert.equal(w.of('error')[0].code, 'network');
  assert.equal(w.client.transport, 'sse', 'a server that is away says nothing about the transport');
});

test('a server that opens and drops at once is not hammered', async () => {
  const w = await opened();
  await w.stream.end();
  await (await w.next('/v1/sse').open()).end();
  assert.equal(w.client.state, 'waiting');
  assert.ok(w.quiet);
});

test('a good connection begins the count anew', async () => {
  const w = await opened();
  for (let i = 0; i < 5; i++) {
    await w.clock.pass(6000);
    await w.stream.end();
    w.stream = await w.next('/v1/sse').open();
  }
  assert.equal(w.client.state, 'open');
});

test('silence for longer than two and a half heartbeats is death', async () => {
  const w = await opened();
  await w.clock.pass(49000);
  assert.ok(!w.stream.aborted);
  await w.stream.write(': still here\n');
  await w.clock.pass(49000);
  assert.ok(!w.stream.aborted, 'a comment is a sign of life');
  await w.clock.pass(1500);
  assert.ok(w.stream.aborted);
  assert.equal(w.of('error')[0].code, 'silent');
  assert.equal(w.next('/v1/sse').query.session, 's1');
});

test('Retry-After is honoured', async () => {
  const w = world({ token: 't' });
  w.client.connect();
  await settle();
  await w.next().fail(503, 'overloaded', { 'retry-after': '7' });
  await w.clock.pass(6900);
  assert.ok(w.quiet);
  await w.clock.pass(2000);
  assert.equal(w.next().path, '/v1/sse');
});

test('being online again and being looked at again end a pause', async () => {
  for (const wake of [(w) => w.page.fire('online'), (w) => w.page.show('visible')]) {
    const w = world({ token: 't' });
    w.client.connect();
    await settle();
    await w.next().lose();
    await w.next().lose();
    assert.equal(w.client.state, 'waiting');
    await w.page.show('hidden');
    assert.ok(w.quiet);
    await wake(w);
    assert.equal(w.next().path, '/v1/sse');
  }
});

test('looking again drops a stream that should have been heard of', async () => {
  const w = await opened();
  await w.page.show('visible');
  assert.ok(!w.stream.aborted);
  await w.clock.pass(30000);
  await w.page.show('visible');
  assert.ok(w.stream.aborted);
  assert.equal(w.next().path, '/v1/sse');
  assert.deepEqual(w.of('error'), []);
});

// -- falling back

test('a stream that does not open in time gives way to polls', async () => {
  const w = world({ token: 't' });
  w.client.connect();
  await settle();
  const sse = w.next('/v1/sse');
  await sse.sse();
  await w.clock.pass(5000);
  assert.ok(sse.aborted);
  assert.equal(w.of('error')[0].code, 'no_open');
  const poll = w.next('/v1/poll');
  assert.equal(poll.query.hold_s, '0');
  await poll.json({ session: 's', cursor: '1~e~@alice~0', messages: [], gaps: [], close: null });
  assert.equal(w.client.state, 'open');
  assert.equal(w.client.transport, 'poll');
  const held = w.next('/v1/poll');
  assert.deepEqual(held.query, { cursor: '1~e~@alice~0', session: 's' });
  await w.page.fire('online');
  assert.ok(held.aborted);
  assert.equal(w.next().path, '/v1/sse', 'another network gets another chance');
});

test('so does one that is not there, or is no stream', async () => {
  for (const answer of [
    (r) => r.fail(404, 'not_found'),
    (r) => r.sse({ type: 'text/html' }),
    (r) => r.sse().then(() => r.end()),
  ]) {
    const w = world({ token: 't' });
    w.client.connect();
    await settle();
    await answer(w.next('/v1/sse'));
    assert.equal(w.next().path, '/v1/poll');
  }
});

test('so does one that lets its beginning through twice, and then nothing', async () => {
  const w = await opened();
  await w.clock.pass(51000);
  await w.next('/v1/sse').open();
  await w.clock.pass(51000);
  assert.equal(w.next().path, '/v1/poll');
});

// -- polls

test('polls hand over gaps and messages, and bring the cursor back', async () => {
  const w = await polling();
  await w.next().json({
    session: 's1',
    cursor: '1~e~@alice~6',
    close: null,
    gaps: [{ channel: '@alice', from: 1, to: 4 }],
    messages: [bare(message(5)), bare(message(6))],
  });
  assert.deepEqual(
    w.told.filter(([type]) => type === 'gap' || type === 'message').map(([type]) => type),
    ['gap', 'message', 'message'],
  );
  assert.equal(w.next().query.cursor, '1~e~@alice~6');
  assert.deepEqual(w.of('open').length, 1);
});

test('polls tell what a new token does not grant, before anything else, and go on at once', async () => {
  const w = await polling();
  const unsubscribed = [{ channel: 'secret', reason: 'not_granted' }];
  const rest = { close: null, gaps: [], messages: [] };
  await w.next().json({ session: 's1', cursor: '1~e~@alice~6', unsubscribed, ...rest });
  assert.deepEqual(w.of('unsubscribed'), unsubscribed);
  assert.equal(w.next().query.cursor, '1~e~@alice~6');
});

test('a poll that the server ends on purpose stays ended', async () => {
  const w = await polling();
  await w
    .next()
    .json({
      session: 's1',
      cursor: '1~e~@alice~0',
      messages: [],
      gaps: [],
      close: { code: 'operator', reason: 'bye', reconnect: false },
    });
  assert.equal(w.client.state, 'closed');
  assert.deepEqual(w.of('close'), [{ code: 'operator', reason: 'bye', reconnect: false }]);
  await w.clock.pass(3_600_000);
  assert.ok(w.quiet);
  assert.equal(w.clock.pending, 0);
});

test('a poll without an answer is dead after a minute', async () => {
  const w = await polling();
  const held = w.next();
  await w.clock.pass(61000);
  assert.ok(held.aborted);
  assert.equal(w.next().query.hold_s, '0');
});

test('empty answers without a hold do not make a busy loop', async () => {
  const w = await polling();
  for (let i = 0; i < 5; i++) {
    await w.next().json({ session: 's1', cursor: '1~e~@alice~0', messages: [], gaps: [], close: null });
    assert.ok(w.quiet);
    await w.clock.pass(1000);
  }
});

test('a session that the server has forgotten gets its new name', async () => {
  const w = await polling();
  await w
    .next()
    .json({ session: 's2', cursor: '1~e~@alice~1', messages: [bare(message(1))], gaps: [], close: null });
  assert.equal(w.client.session, 's2');
  assert.equal(w.next().query.session, 's2');
});

// -- being told to stay away, or to go on elsewhere

test('410 and a final close mean: stay away', async () => {
  for (const end of [
    (w) =>
      w.stream.event(
        { event: 'close', code: 'operator', reason: 'r', reconnect: false },
        '1~e~@alice~0~closed',
      ),
    async (w) => {
      await w.stream.end();
      await w.next().fail(410, 'session_closed');
    },
  ]) {
    const w = await opened();
    await end(w);
    assert.equal(w.client.state, 'closed');
    assert.equal(w.of('close').length, 1);
    await w.page.fire('online');
    await w.page.show('visible');
    await w.page.fire('pageshow', { persisted: true });
    w.page.fire('pagehide');
    await w.clock.pass(3_600_000);
    assert.ok(w.quiet);
    assert.equal(w.clock.pending, 0);
    assert.equal(w.page.beacons.length, 0);
    // Coming back on purpose is another matter: by the cursor, and without the session that is gone.
    w.client.reconnect();
    await settle();
    assert.deepEqual(w.next('/v1/sse').query, { cursor: '1~e~@alice~0' });
  }
});

test('a close that asks to come back is followed after a while, in a new session', async () => {
  const w = await opened();
  await w.stream.event({ event: 'close', code: 'shutting_down', reason: '', reconnect: true });
  assert.equal(w.client.state, 'waiting');
  assert.deepEqual(w.of('close')[0].reconnect, true);
  await w.clock.pass(2000);
  assert.ok(w.quiet);
  await w.clock.pass(3000);
  assert.deepEqual(w.next('/v1/sse').query, { cursor: '1~e~@alice~0' });
});

test('a server that stops says when to come back, and is not disturbed sooner', async () => {
  const w = await opened();
  await w.stream.event({ event: 'close', code: 'shutdown', reason: '', reconnect: true, retry_ms: 8000 });
  await w.clock.pass(7990);
  assert.ok(w.quiet);
  await w.clock.pass(2020);
  assert.deepEqual(w.next('/v1/sse').query, { cursor: '1~e~@alice~0' });
});

test('a session that another connection took over is left to it', async () => {
  const w = await polling();
  await w.next().fail(409, 'session_taken_over');
  assert.deepEqual(w.of('error'), []);
  await w.clock.pass(1000);
  assert.equal(w.next().query.session, undefined);
});

test('what can never succeed is not tried again', async () => {
  const w = world({ token: 't', channels: ['secret'] });
  w.client.connect();
  await settle();
  await w.next().fail(403, 'channel_forbidden');
  assert.equal(w.client.state, 'closed');
  assert.equal(w.of('error')[0].code, 'channel_forbidden');
  assert.deepEqual(w.of('close'), [
    { code: 'channel_forbidden', reason: 'channel_forbidden', reconnect: false },
  ]);
});

// -- tokens

test('a 401 is answered by one fresh token', async () => {
  let asked = 0;
  const w = world({ token: 'old', getToken: async () => `fresh${++asked}` });
  w.client.connect();
  await settle();
  await w.next().fail(401, 'token_expired');
  const second = w.next('/v1/sse');
  assert.equal(second.headers.authorization, 'Bearer fresh1');
  await second.fail(401, 'unauthorized');
  assert.equal(w.client.state, 'closed');
  assert.equal(asked, 1);
  assert.equal(w.of('error')[0].status, 401);
});

test('each expiry is worth a fresh token', async () => {
  let asked = 0;
  const w = world({ getToken: async () => `fresh${++asked}` });
  w.client.connect();
  await settle();
  await (await w.next().open()).end();
  await w.next().fail(401, 'token_expired');
  assert.equal(w.next().headers.authorization, 'Bearer fresh2');
  assert.equal(w.client.state, 'connecting');
});

test('without a way to a fresh token, a 401 is the end', async () => {
  const w = world({ token: 'old' });
  w.client.connect();
  await settle();
  await w.next().fail(401, 'unauthorized');
  assert.equal(w.client.state, 'closed');
});

test('a source of tokens that is down for a moment is asked again', async () => {
  let asked = 0;
  const w = world({ token: 'old', getToken: async () => {
    if (++asked === 1) throw new Error('down');
    return 'fresh';
  } });
  w.client.connect();
  await settle();
  await w.next().fail(401, 'token_expired');
  await w.next().fail(401, 'token_expired');
  assert.equal(w.next().headers.authorization, 'Bearer fresh');
});

// -- the page

test('a page that goes away ends its session by a beacon, and one that comes back goes on', async () => {
  const w = await opened({ url: 'http://server' });
  await w.stream.event(message(3));
  await w.page.fire('pagehide', { persisted: true });
  const body = '{"session":"s1","close_key":"key-s1"}';
  assert.deepEqual(w.page.beacons, [{ url: 'http://server/v1/close', body }]);
  assert.ok(w.stream.aborted);
  assert.equal(w.client.state, 'waiting');
  assert.equal(w.clock.pending, 0);
  await w.page.fire('pageshow', { persisted: true });
  assert.deepEqual(w.next('/v1/sse').query, { cursor: '1~e~@alice~3' });
  assert.equal(w.page.beacons.length, 1);
});

test('the first pageshow of a page changes nothing', async () => {
  const w = await opened();
  await w.page.fire('pageshow', { persisted: false });
  assert.ok(w.quiet);
});

// -- control

test('subscribing changes the held connection, and the next one too', async () => {
  const w = await opened();
  const subscribed = w.client.subscribe(['news']);
  await settle();
  const request = w.next('/v1/subscribe');
  assert.deepEqual(request.body, { session: 's1', channels: ['news'] });
  await request.json({ channels: ['@alice', 'news'] });
  assert.deepEqual(await subscribed, ['@alice', 'news']);
  assert.ok(!w.stream.aborted);
  await w.stream.end();
  assert.equal(w.next('/v1/sse').query.channels, 'news');
});

test('what was unsubscribed does not come back', async () => {
  const w = await opened({ channels: ['news'] });
  await w.stream.event(message(1, { channel: 'news' }), '1~e~@alice~0~news~1');
  const done = w.client.unsubscribe(['news']);
  await w.stream.event(message(2, { channel: 'news' }), '1~e~@alice~0~news~2');
  await w.next('/v1/unsubscribe').json({ channels: ['@alice'] });
  await done;
  assert.equal(w.of('message').length, 1);
  await w.stream.end();
  assert.deepEqual(w.next('/v1/sse').query, { cursor: '1~e~@alice~0', session: 's1' });
});

test('a refused channel is not asked for again', async () => {
  const w = await opened();
  const refused = assert.rejects(w.client.subscribe(['secret']), { code: 'channel_forbidden', status: 403 });
  await settle();
  await w.next('/v1/subscribe').fail(403, 'channel_forbidden');
  await refused;
  assert.deepEqual(w.client.channels, []);
});

test('a channel that is wanted while the connection is being made is asked for afterwards', async () => {
  const w = world({ token: 't' });
  w.client.connect();
  await settle();
  await w.client.subscribe(['news']);
  await w.next('/v1/sse').open();
  assert.deepEqual(w.next('/v1/subscribe').body, { session: 's1', channels: ['news'] });
});

test('a session that the server forgot is made anew when channels change', async () => {
  const w = await opened();
  const subscribed = w.client.subscribe(['news']);
  await settle();
  await w.next('/v1/subscribe').fail(404, 'session_unknown');
  assert.deepEqual(await subscribed, ['news']);
  assert.ok(w.stream.aborted);
  assert.equal(w.next('/v1/sse').query.channels, 'news');
});

test('a publish is repeated under its own key, and no longer than it may help', async () => {
  const w = world({ token: 't' });
  const published = w.client.publish('news', { a: 1 });
  await settle();
  const first = w.next('/v1/publish');
  assert.match(first.body.id, /^[0-9a-f]{32}$/);
  await first.lose();
  await w.clock.pass(500);
  const second = w.next('/v1/publish');
  assert.deepEqual(second.body, first.body);
  await second.fail(503, 'engine_unavailable', { 'retry-after': '3' });
  await w.clock.pass(2900);
  assert.ok(w.quiet);
  await w.clock.pass(900);
  await w.next('/v1/publish').json({ id: 'p', offset: 1, epoch: 'e', mode: 'memory' }, 202);
  assert.equal((await published).offset, 1);

  const refused = assert.rejects(w.client.publish('news', 1), EnckeError);
  await settle();
  await w.next('/v1/publish').fail(403, 'channel_forbidden');
  await refused;
  assert.ok(w.quiet);
  assert.equal(w.clock.pending, 0);
});

test('two publishes have two keys, and one may be given', async () => {
  const w = world({ token: 't' });
  w.client.publish('a', 1);
  w.client.publish('a', 1);
  w.client.publish('a', 1, { id: 'mine' });
  await settle();
  const ids = [w.next(), w.next(), w.next()].map((request) => request.body.id);
  assert.equal(new Set(ids).size, 3);
  assert.equal(ids[2], 'mine');
});

test('a request that is not answered is given up and made again', async () => {
  const w = world({ token: 't' });
  w.client.publish('a', 1);
  await settle();
  const first = w.next();
  await w.clock.pass(10000);
  assert.ok(first.aborted);
  await w.clock.pass(1000);
  assert.deepEqual(w.next().body, first.body);
});

test('what was shown is told, for the own channel only', async () => {
  const w = await opened();
  await w.stream.event(message(1));
  await w.stream.event(message(2));
  const [first] = w.of('message');
  const shown = w.client.shown(first);
  await settle();
  const request = w.next('/v1/ack');
  assert.deepEqual(request.body, { session: 's1', cursor: '1~e~@alice~1' });
  await request.json({ ok: true });
  await shown;
  await w.client.shown({ channel: 'news', offset: 1, epoch: 'e' });
  assert.ok(w.quiet);
  w.client.ack();
  await settle();
  assert.equal(w.next('/v1/ack').body.cursor, '1~e~@alice~2');
});

test('an acknowledgement from within a listener covers its message', async () => {
  const w = await opened();
  w.client.on('message', () => void w.client.ack());
  await w.stream.event(message(1));
  assert.equal(w.next('/v1/ack').body.cursor, '1~e~@alice~1');
});

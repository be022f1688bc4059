// The stream of server-sent events in all its cases.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { raw } from './support/raw.js';
import { Server } from './support/server.js';
import { until } from './support/until.js';

let server;
before(
  async () =>
    void (server = await Server.start({ env: { ENCKE_HEARTBEAT_S: '1', ENCKE_SESSION_GRACE_S: '3' } })),
);
after(() => server.stop());

const publish = async (channel, data) =>
  (await server.api('POST', '/api/publish', { channel, data })).with(202);

test('it opens with the session, the cursor and the heartbeat', async () => {
  const alice = await server.login('open');
  const stream = await alice.stream({ channels: 'open' });
  const { event, name, session, cursor, heartbeat_s, sseId } = stream.opened;
  assert.deepEqual([event, name, heartbeat_s], ['open', 'opened', 1]);
  assert.equal(sseId, cursor);
  assert.equal((await server.held('open')).session, session);
  assert.equal((await server.sessions('open'))[0].transport, 'sse');
  assert.match(stream.headers['content-type'], /^text\/event-stream/);
  assert.match(stream.headers['cache-control'], /no-store|no-cache/);
  await stream.drop();
});

test('a message has no event name, and its id is the cursor behind it', async () => {
  const alice = await server.login('message');
  const stream = await alice.stream();
  const { id } = await server.push({ to: ['message'], url: 'https://example.com/a?b=c' });
  const { name, sseId, ...message } = await stream.next();
  assert.equal(name, 'message');
  assert.deepEqual(Object.keys(message).sort(), [
    'channel',
    'epoch',
    'event',
    'id',
    'offset',
    'time',
    'type',
    'url',
  ]);
  assert.deepEqual(
    [message.event, message.id, message.type, message.url],
    ['message', id, 'page', 'https://example.com/a?b=c'],
  );
  assert.equal(sseId, `1~${message.epoch}~@message~${message.offset}`);
  await stream.drop();
});

test('silence is broken by a comment every heartbeat', async () => {
  const alice = await server.login('quiet');
  const stream = await alice.stream();
  await until('three heartbeats', () => stream.comments >= 3);
  assert.equal(stream.waiting, 0, 'a heartbeat is no event');
  await stream.drop();
});

test('Last-Event-ID goes on behind it, and wins over cursor', async () => {
  const alice = await server.login('last');
  const stream = await alice.stream({ channels: 'last' });
  await publish('last', 1);
  const { sseId: at } = await stream.next();
  await stream.drop();
  await publish('last', 2);
  const again = await alice.stream({ cursor: stream.opened.cursor }, { 'last-event-id': at });
  assert.equal((await again.next()).data, 2);
  await again.drop();
  const by = await alice.stream({ cursor: stream.opened.cursor });
  assert.equal((await by.next()).data, 1);
  await by.drop();
});

test('a session goes on over connections', async () => {
  const alice = await server.login('continues');
  const stream = await alice.stream({ channels: 'continues' });
  await stream.drop();
  await until('no connection serves it', async () =>
    (await server.sessions('continues')).every(({ connected }) => !connected),
  );
  await publish('continues', 1);
  const again = await alice.stream({ session: stream.session, cursor: stream.opened.cursor });
  assert.equal(again.session, stream.session);
  assert.equal((await again.next()).data, 1);
  assert.equal((await server.sessions('continues')).length, 1);
  await again.drop();
});

test('a newer connection takes the session over; the older is told', async () => {
  const alice = await server.login('taken');
  const older = await alice.stream();
  const newer = await alice.stream({ session: older.session, cursor: older.opened.cursor });
  assert.equal(newer.session, older.session);
  const close = await older.next();
  assert.deepEqual([close.event, close.name], ['close', 'close']);
  await older.done;
  await server.push({ to: ['taken'], data: 1 });
  assert.equal((await newer.next()).data, 1);
  await newer.drop();
});

test('a session may change its transport', async () => {
  const alice = await server.login('changes');
  const { session, cursor } = await alice.look({ channels: 'changes' });
  const stream = await alice.stream({ session, cursor });
  assert.equal(stream.session, session);
  await publish('changes', 1);
  assert.equal((await stream.next()).data, 1);
  assert.equal((await alice.take(1, { session, cursor })).session, session);
  await stream.done;
});

test('after a purposeful close the last id marks the cursor as closed, and an EventSource stays away', async () => {
  const alice = await server.login('closed');
  const stream = await alice.stream({ channels: 'closed' });
  (await alice.post('/v1/close', { session: stream.session, reason: 'enough' })).with(200);
  const { name, sseId, event, code, reason, reconnect } = await stream.next();
  assert.deepEqual(
    { name, event, code, reason, reconnect },
    { name: 'close', event: 'close', code: 'client', reason: 'enough', reconnect: false },
  );
  assert.match(sseId, /~closed$/);
  assert.equal(await stream.next(), null, 'the stream has ended');
  const back = await alice.events({}, { 'last-event-id': sseId });
  assert.equal(back.status, 204);
  assert.equal((await server.sessions('closed')).length, 0);
  await publish('closed', 1);
  const wished = await alice.stream({ cursor: sseId });
  assert.equal((await wished.next()).data, 1, 'coming back on purpose is allowed');
  await wished.drop();
});

test('a session that was closed is refused with 410', async () => {
  const alice = await server.login('refused');
  const { session } = await alice.look();
  (await alice.post('/v1/close', { session })).with(200);
  assert.equal((await alice.events({ session })).refused(410, 'session_closed').reconnect, false);
});

test('a gap is an event of its own name', async () => {
  const alice = await server.login('gap');
  await publish('gap', 1);
  const stream = await alice.stream({ cursor: '1~other~gap~4' });
  const { name, event, channel, from, to, reason } = await stream.next();
  assert.deepEqual(
    { name, event, channel, from, to, reason },
    { name: 'gap', event: 'gap', channel: 'gap', from: 5, to: null, reason: 'epoch' },
  );
  assert.equal((await stream.next()).data, 1);
  await stream.drop();
});

test('malformed cursors are refused, wherever they come from', async () => {
  const alice = await server.login('malformed');
  (await alice.events({ cursor: 'x' })).refused(400, 'bad_cursor');
  (await alice.events({}, { 'last-event-id': 'x' })).refused(400, 'bad_cursor');
  (await alice.events({ colour: 'red' })).refused(400, 'bad_request');
  (await alice.events({ channels: '@bob' })).refused(400, 'bad_name');
});

test('with a long cursor the id comes once in a while, and what comes again is recognised by its place', async () => {
  const alice = await server.login('long');
  const channels = Array.from({ length: 60 }, (_, n) => `long-channel-${n}`);
  const stream = await alice.stream({ channels: channels.join(',') });
  assert.ok(stream.opened.cursor.length > 512);
  let last = stream.lastEventId;
  for (let n = 0; n < 3; n++) await publish(channels[n], n);
  const events = [await stream.next(), await stream.next(), await stream.next()];
  assert.ok(
    events.some(({ sseId }) => sseId === undefined),
    'not with each event',
  );
  await until('at rest the id comes', () => stream.lastEventId !== last);
  last = stream.lastEventId;
  assert.ok(last.includes('long-channel-2~1'), last);
  await stream.drop();
});

test('text that would break the framing arrives as it was', async () => {
  const alice = await server.login('framing');
  const stream = await alice.stream();
  const data = {
    text: 'a\nb\r\nc\n\ndata: x\nevent: close\n\n',
    'key\n': '\u2028 \u0000 \ud83d\ude00 </script>',
  };
  await server.push({ to: ['framing'], data });
  assert.deepEqual((await stream.next()).data, data);
  await stream.drop();
});

test('over HTTP/1.0 the stream is not chunked and ends with the connection', async () => {
  const alice = await server.login('old');
  const reading = raw(
    server.port,
    `GET /v1/sse HTTP/1.0\r\nHost: x\r\nAuthorization: Bearer ${alice.token}\r\n\r\n`,
  );
  const { session } = await server.held('old');
  // Once it has been given something, it has certainly begun.
  const { id } = await server.push({ to: ['old'], data: 1 });
  await server.receipt(id, 'old', 'delivered');
  (await alice.post('/v1/close', { session })).with(200);
  const text = await reading;
  assert.ok(!/transfer-encoding/i.test(text), text);
  assert.match(text, /\r\n\r\nevent: ?opened\ndata: ?\{/);
});

test('HEAD and POST are no way to listen', async () => {
  const alice = await server.login('methods');
  for (const address of ['/v1/sse', '/v1/poll']) {
    (await server.ask('POST', address, { headers: alice.headers, body: {} })).refused(
      405,
      'method_not_allowed',
    );
    (await server.ask('DELETE', address, { headers: alice.headers })).refused(405, 'method_not_allowed');
  }
});

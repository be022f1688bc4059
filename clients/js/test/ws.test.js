import assert from 'node:assert/strict';
import { test } from 'node:test';
import { message, settle, token, world } from './world.js';

/** A client whose WebSocket is open. */
async function opened(options = {}) {
  const w = world({ url: 'https://server', token: token('alice'), transport: 'ws', ...options });
  w.client.connect();
  await settle();
  w.asked = await w.ticket();
  w.socket = await w.sockets.at(-1).open();
  return w;
}

test('a ticket says who it is, since no header can, and the token stays out of the address', async () => {
  const w = await opened({ channels: ['news'] });
  assert.equal(w.asked.headers.authorization, 'Bearer ' + token('alice'));
  assert.equal(w.asked.method, 'POST');
  assert.equal(w.socket.url, 'wss://server/v1/ws?form=short&ticket=T&channels=news');
  assert.deepEqual([w.client.state, w.client.transport, w.client.session], ['open', 'ws', 's1']);
  await w.socket.event(message(1));
  await w.socket.event(message(1));
  await w.socket.event(message(2));
  assert.deepEqual(w.of('message').map((m) => m.offset), [1, 2]);
  assert.equal(w.client.cursor, '1~e~@alice~2');
});

test('without an address the page is asked for it', async () => {
  const w = await opened({ url: undefined });
  assert.ok(w.socket.url.startsWith('ws://page/v1/ws?'));
});

test('after a loss it goes on by its cursor, in its session, with another ticket', async () => {
  const w = await opened();
  await w.socket.event(message(1));
  await w.socket.lose();
  await w.ticket('U');
  assert.deepEqual(w.sockets[1].query, { ticket: 'U', cursor: '1~e~@alice~1', session: 's1' });
  await w.sockets[1].open();
  await w.sockets[1].event(message(1));
  await w.sockets[1].event(message(2));
  assert.deepEqual(w.of('message').map((m) => m.offset), [1, 2]);
  assert.equal(w.client.transport, 'ws');
});

test('another transport goes on by the same cursor', async () => {
  const w = await opened({ transport: ['ws', 'sse'] });
  await w.socket.event(message(1));
  await w.socket.lose();
  await w.ticket();
  await w.sockets[1].lose();
  const request = w.next('/v1/sse');
  assert.deepEqual(request.query, { cursor: '1~e~@alice~1', session: 's1' });
  assert.equal(w.client.transport, 'sse');
});

test('auto begins with a WebSocket, and gives way to a stream and then to polls', async () => {
  const w = world({ url: 'http://server', token: 't', transport: 'auto' });
  w.client.connect();
  await settle();
  await w.ticket();
  await w.sockets[0].lose();
  assert.equal(w.of('error')[0].code, 'no_open');
  await w.next('/v1/sse').fail(404, 'not_found');
  await w.clock.pass(0);
  await w.clock.pass(500);
  assert.equal(w.client.transport, 'poll');
  await w
    .next('/v1/poll')
    .json({ session: 's1', cursor: '1~e~@alice~0', messages: [], gaps: [], close: null });
  assert.equal(w.client.state, 'open');
});

test('where there is no WebSocket at all, the next transport is taken', async () => {
  const w = world({ url: 'http://server', token: 't', transport: 'auto' }, { WebSocket: undefined });
  w.client.connect();
  await settle();
  w.next('/v1/sse');
});

test('a server that is away is no reason to give WebSocket up', async () => {
  const w = await opened({ transport: 'auto' });
  await w.socket.lose();
  await w.next('/v1/ticket').lose();
  assert.equal(w.client.state, 'waiting');
  await w.clock.pass(5000);
  await w.ticket();
  await w.sockets[1].open();
  assert.equal(w.client.transport, 'ws');
});

test('where a WebSocket is all there is, a poll finds out why it is refused', async () => {
  const w = world({ url: 'http://server', token: 't', transport: 'ws', cursor: '1~e~@alice~4' });
  w.client.connect();
  await settle();
  await w.ticket();
  await w.sockets[0].lose();
  const look = w.next('/v1/poll');
  assert.deepEqual(look.query, { hold_s: '0', cursor: '1~e~@alice~4' });
  await look.fail(403, 'channel_forbidden');
  assert.equal(w.client.state, 'closed');
  assert.equal(w.of('close')[0].code, 'channel_forbidden');
});

test('and if nothing is against it, what the poll brought counts, and the next attempt goes on from there', async () => {
  const w = world({ url: 'http://server', token: 't', transport: 'ws' });
  w.client.connect();
  await settle();
  await w.ticket();
  await w.sockets[0].lose();
  const { event: _, ...bare } = message(1);
  await w
    .next('/v1/poll')
    .json({ session: 's7', cursor: '1~e~@alice~1', messages: [bare], gaps: [], close: null });
  assert.deepEqual(
    w.of('message').map((m) => m.offset),
    [1],
  );
  assert.deepEqual([w.of('open'), w.of('error').map((error) => error.code)], [[], ['no_open']]);
  await w.ticket();
  assert.deepEqual(w.sockets[1].query, { ticket: 'T', cursor: '1~e~@alice~1', session: 's7' });
});

test('a token that is not good any more is renewed before the WebSocket is tried', async () => {
  const w = world({ url: 'http://server', token: 'old', transport: 'ws', getToken: () => 'new' });
  w.client.connect();
  await settle();
  await w.next('/v1/ticket').fail(401, 'token_expired');
  const again = await w.ticket();
  assert.equal(again.headers.authorization, 'Bearer new');
  await w.sockets[0].open();
  assert.equal(w.client.state, 'open');
});

test('a close from the server ends it, and the socket is let go', async () => {
  const w = await opened();
  await w.socket.event({ event: 'close', code: 'operator', reason: 'tidy', reconnect: false });
  assert.deepEqual(w.of('close'), [{ code: 'operator', reason: 'tidy', reconnect: false }]);
  assert.ok(w.socket.closed);
  await w.clock.pass(120000);
  assert.ok(w.quiet);
  assert.equal(w.clock.pending, 0);
});

test('a refusal that comes after the handshake is told as what it is', async () => {
  const w = world({ url: 'http://server', token: 't', transport: 'ws' });
  w.client.connect();
  await settle();
  await w.ticket();
  w.sockets[0].readyState = 1;
  await w.sockets[0].event({
    event: 'close',
    code: 'too_many_channels',
    reason: 'too many',
    reconnect: false,
  });
  assert.equal(w.client.state, 'closed');
  assert.equal(w.of('close')[0].code, 'too_many_channels');
});

test('one that does not open in time gives way', async () => {
  const w = world({ url: 'http://server', token: 't', transport: ['ws', 'poll'] });
  w.client.connect();
  await settle();
  await w.ticket();
  await w.clock.pass(5001);
  assert.ok(w.sockets[0].closed);
  w.next('/v1/poll');
});

test('silence is asked about, and only silence after that is death', async () => {
  const w = await opened();
  await w.clock.pass(19000);
  assert.deepEqual(w.socket.said, []);
  await w.clock.pass(2000);
  assert.deepEqual(w.socket.said, [{ do: 'ping' }]);
  await w.socket.event({ event: 'reply', result: { ok: true } });
  await w.clock.pass(19000);
  assert.equal(w.socket.said.length, 1);
  await w.clock.pass(2000);
  assert.equal(w.socket.said.length, 2);
  await w.clock.pass(28000);
  assert.equal(w.client.state, 'open');
  await w.clock.pass(4000);
  assert.equal(w.of('error').at(-1).code, 'silent');
  assert.ok(w.socket.closed);
  await w.ticket();
});

test('a page whose timers stood still asks before it gives up', async () => {
  const w = await opened();
  // A hidden page may be given one turn a minute.
  w.clock.now += 300000;
  await w.clock.pass(5000);
  assert.deepEqual(w.socket.said, [{ do: 'ping' }]);
  assert.equal(w.client.state, 'open');
  await w.socket.event({ event: 'reply', result: { ok: true } });
  await w.clock.pass(15000);
  assert.equal(w.client.state, 'open');
});

test('looking again has a WebSocket prove itself within seconds', async () => {
  const w = await opened();
  w.clock.now += 25000;
  await w.page.show('visible');
  assert.deepEqual(w.socket.said, [{ do: 'ping' }]);
  await w.clock.pass(10001);
  assert.equal(w.of('error').at(-1).code, 'silent');
});

test('what is asked goes over the connection itself', async () => {
  const w = await opened();
  const subscribed = w.client.subscribe(['news']);
  const published = w.client.publish('news', { text: 'hello' }, { id: 'k1' });
  await settle();
  assert.deepEqual(w.socket.said, [
    { do: 'subscribe', channels: ['news'], id: 1 },
    { do: 'publish', channel: 'news', data: { text: 'hello' }, key: 'k1', id: 2 },
  ]);
  await w.socket.event({
    event: 'reply',
    id: 1,
    result: { channels: ['news'], cursor: '1~e~@alice~0~news~7' },
  });
  await w.socket.event(message(8, { channel: 'news' }));
  await w.socket.event({
    event: 'reply',
    id: 2,
    result: { id: 'k1', offset: 8, epoch: 'e', mode: 'log' },
  });
  assert.deepEqual(await subscribed, ['news']);
  assert.equal((await published).offset, 8);
  assert.equal(w.client.cursor, '1~e~@alice~0~news~8');
  const [acked, left] = [w.client.ack(), w.client.unsubscribe(['news'])];
  await settle();
  assert.deepEqual(w.socket.said.slice(2), [
    { do: 'ack', cursor: '1~e~@alice~0~news~8', id: 3 },
    { do: 'unsubscribe', channels: ['news'], id: 4 },
  ]);
  await w.socket.event({ event: 'reply', id: 3, result: { ok: true } });
  await w.socket.event({ event: 'reply', id: 4, result: { channels: [], cursor: '1~e~@alice~0' } });
  await acked;
  assert.deepEqual(await left, []);
  assert.ok(w.quiet, 'nothing was posted');
});

test('what was asked for while the WebSocket was made is asked on it', async () => {
  const w = world({ url: 'http://server', token: 't', transport: 'ws' });
  w.client.connect();
  await settle();
  await w.ticket();
  w.client.subscribe(['late']);
  await w.sockets[0].open();
  assert.deepEqual(w.sockets[0].said, [{ do: 'subscribe', channels: ['late'], id: 1 }]);
});

test('a refusal by the connection is an error with its code', async () => {
  const w = await opened();
  const refused = assert.rejects(w.client.publish('secret', 1), {
    code: 'channel_forbidden',
    transient: false,
  });
  await settle();
  await w.socket.event({ event: 'reply', id: 1, error: { code: 'channel_forbidden', message: 'no' } });
  await refused;
  assert.ok(w.quiet);
});

test('what had no answer when the connection was lost is posted, under the same key', async () => {
  const w = await opened();
  const published = w.client.publish('news', 1, { id: 'k1' });
  await settle();
  await w.socket.lose();
  await w.ticket();
  await w.clock.pass(5000);
  const post = w.next('/v1/publish');
  assert.deepEqual(post.body, { channel: 'news', data: 1, id: 'k1' });
  await post.json({ id: 'k1', offset: 1, epoch: 'e', mode: 'log' }, 202);
  assert.equal((await published).offset, 1);
});

test('what can not be done now is tried again by a request', async () => {
  const w = await opened();
  const published = w.client.publish('news', 1, { id: 'k1' });
  await settle();
  await w.socket.event({ event: 'reply', id: 1, error: { code: 'engine_unavailable', message: 'not now' } });
  await w.clock.pass(5000);
  await w.next('/v1/publish').json({ id: 'k1', offset: 1, epoch: 'e', mode: 'log' }, 202);
  await published;
});

test('a question without an answer is given up', async () => {
  const w = await opened();
  w.client.publish('news', 1, { id: 'k1' }).catch(() => {});
  await w.clock.pass(10001);
  await w.clock.pass(1000);
  assert.equal(w.next('/v1/publish').body.id, 'k1');
  // An answer that is late answers no request.
  await w.socket.event({ event: 'reply', id: 1, result: {} });
  assert.equal(w.client.state, 'open');
});

test('what is too long for a message is posted, since it would end the connection', async () => {
  const w = await opened();
  w.client.publish('news', 'x'.repeat(30000)).catch(() => {});
  await settle();
  assert.deepEqual(w.socket.said, []);
  w.next('/v1/publish');
});

test('a close goes by a request of its own', async () => {
  const w = await opened();
  const closed = w.client.close('enough');
  await settle();
  assert.deepEqual(w.next('/v1/close').body, { session: 's1', reason: 'enough' });
  await w.requests.at(-1).json({ closed: true });
  assert.equal(await closed, true);
  assert.ok(w.socket.closed);
  assert.equal(w.clock.pending, 0);
});

test('a page that goes away lets its WebSocket go, so that the browser can keep the page', async () => {
  const w = await opened();
  await w.page.fire('pagehide', { persisted: true });
  assert.ok(w.socket.closed);
  assert.equal(w.page.beacons.length, 1);
  assert.equal(w.page.beacons[0].body, '{"session":"s1","close_key":"key-s1"}');
  await w.page.fire('pageshow', { persisted: true });
  await w.ticket();
  assert.deepEqual(w.sockets[1].query, { ticket: 'T', cursor: '1~e~@alice~0' });
});

test('what is no event ends the connection, and it comes back', async () => {
  const w = await opened();
  w.socket.onmessage({ data: 'not json' });
  await settle();
  assert.equal(w.of('error')[0].code, 'network');
  await w.ticket();
});

/** What applications ask of the client: listeners, iterations, channels, what a page shows of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { message, opened, settle, token, world } from './world.js';

const news = (offset) => message(offset, { channel: 'news' });

test('listeners are those of an EventTarget, and such as are given the value alone', async () => {
  const w = await opened();
  const told = [];
  const tell = (value) => told.push(['on', value.offset]);
  const listener = ({ type, detail }) => told.push([type, detail.offset]);
  w.client.addEventListener('message', listener, { once: true });
  w.client.on('message', tell);
  w.client.once('message', (value) => told.push(['once', value.offset]));
  const abort = new AbortController();
  w.client.on('message', (value) => told.push(['signal', value.offset]), { signal: abort.signal });
  await w.stream.event(message(1));
  assert.deepEqual(told.splice(0), [['on', 1], ['once', 1], ['signal', 1], ['message', 1]]);
  abort.abort();
  await w.stream.event(message(2));
  assert.deepEqual(told.splice(0), [['on', 2]]);
  w.client.off('message', tell);
  const aborted = w.client.on('message', tell, { signal: abort.signal });
  await w.stream.event(message(3));
  assert.deepEqual(told, []);
  aborted();
});

test('a channel has listeners of its own, and is subscribed by being asked for', async () => {
  const w = await opened({ channels: ['news'] });
  const told = [];
  const channel = w.client.channel('news');
  assert.equal(w.client.channel('news'), channel);
  channel.on('message', ({ offset }) => told.push(offset));
  channel.on('gap', ({ from, to }) => told.push([from, to]));
  await w.stream.event(message(1));
  await w.stream.event(news(1));
  await w.stream.event({ event: 'gap', channel: 'news', from: 2, to: 3 });
  assert.deepEqual(told, [1, [2, 3]]);
  assert.ok(w.quiet, 'it was subscribed already');
  w.client.channel('sport');
  await settle();
  assert.deepEqual(w.next('/v1/subscribe').body, { session: 's1', channels: ['sport'] });
  void channel.publish('hello', { id: 'k' });
  assert.deepEqual(w.next('/v1/publish').body, { channel: 'news', data: 'hello', id: 'k' });
});

test('what a channel has kept, and who follows it, is asked for by GET', async () => {
  const w = await opened();
  const kept = w.client.channel('@alice').history({ limit: 2, before: '1~e~@alice~9' });
  const request = w.next('/v1/channels/%40alice/history');
  assert.deepEqual([request.method, request.query], ['GET', { limit: '2', before: '1~e~@alice~9' }]);
  assert.equal(request.headers.authorization, 'Bearer ' + token('alice'));
  await request.json({ messages: [] });
  assert.deepEqual(await kept, { messages: [] });
  const there = w.client.presence('a/b c');
  await w.next('/v1/channels/a%2Fb%20c/presence').json({ users: ['bob'] });
  assert.deepEqual(await there, { users: ['bob'] });
});

test('messages are iterated, from one channel or from all, until the client is closed', async () => {
  const w = await opened({ channels: ['news'] });
  const collect = async (messages) => {
    const all = [];
    for await (const { channel, offset } of messages) all.push(channel + offset);
    return all;
  };
  const [one, all] = [collect(w.client.messages('news')), collect(w.client.messages())];
  await settle();
  await w.stream.event(message(1));
  await w.stream.event(news(1));
  await w.stream.event(news(2));
  await w.stream.event({ event: 'close', code: 'operator', reason: '', reconnect: false });
  assert.deepEqual(await one, ['news1', 'news2']);
  assert.deepEqual(await all, ['@alice1', 'news1', 'news2']);
});

test('an iteration ends by a signal or by leaving it, and then takes nothing more', async () => {
  const w = await opened({ channels: ['news'] });
  const abort = new AbortController();
  const messages = w.client.messages('news', { signal: abort.signal });
  const first = messages.next();
  await w.stream.event(news(1));
  assert.equal((await first).value.offset, 1);
  const second = messages.next();
  await settle();
  abort.abort();
  assert.equal((await second).done, true);
  const left = w.client.messages('news');
  const taken = left.next();
  await w.stream.event(news(2));
  assert.equal((await taken).value.offset, 2);
  assert.equal((await left.return()).done, true);
  await w.stream.event(news(3));
  assert.equal((await left.next()).done, true);
});

test('a loop that takes less than what comes is told so', async () => {
  const w = await opened({ channels: ['news'] });
  const messages = w.client.messages('news');
  const first = messages.next();
  await w.stream.event(news(1));
  assert.equal((await first).value.offset, 1);
  let chunk = '';
  for (let n = 2; n <= 1002; n++) chunk += `data: ${JSON.stringify(news(n))}\n\n`;
  await w.stream.write(chunk);
  await assert.rejects(messages.next(), { code: 'slow' });
});

test('the status is all that a page may show', async () => {
  const w = world({ token: token('alice') });
  assert.deepEqual(w.client.status, {
    state: 'idle', since: w.clock.now, session: null, transport: 'sse', user: 'alice', retryAt: null,
    shared: 'alone', error: null,
  });
  w.client.connect();
  await settle();
  for (let i = 0; i < 3; i++) {
    await w.next('/v1/sse').lose();
    if (i < 2) await w.clock.pass(i * 500);
  }
  const { state, retryAt, error, since } = w.client.status;
  assert.deepEqual([state, error.code], ['waiting', 'network']);
  assert.match(error.help, /^https:/);
  assert.ok(retryAt > since);
  await w.clock.pass(retryAt - w.clock.now);
  await w.next('/v1/sse').open();
  const open = w.client.status;
  assert.deepEqual([open.state, open.error, open.retryAt], ['open', null, null]);
});

test('a token that ends is replaced on the connection that there is', async () => {
  let made = 0;
  const w = await opened({ token: undefined, getToken: () => `${token('alice')}${++made}` });
  const told = [];
  w.client.on('expiring', (value) => told.push(value));
  await w.stream.event({ event: 'expiring', in_s: 60 });
  const request = w.next('/v1/refresh');
  assert.deepEqual(request.body, { session: 's1', token: token('alice') + '2' });
  assert.equal(request.headers.authorization, `Bearer ${token('alice')}2`);
  await request.json({ expires: '2024-01-01T00:01:00Z' });
  assert.deepEqual(told, [{ in_s: 60 }]);
  assert.deepEqual([w.client.state, w.of('state').length, w.of('error').length], ['open', 2, 0]);
  // Over a WebSocket it is asked there.
  const ws = world({ url: 'http://server', transport: 'ws', getToken: () => token('alice') + ++made });
  ws.client.connect();
  await settle();
  await ws.ticket();
  const socket = await ws.sockets[0].open();
  await socket.event({ event: 'expiring', in_s: 60 });
  assert.deepEqual(socket.said, [{ do: 'refresh', token: token('alice') + made, id: 1 }]);
});

test('without a source of tokens the end is only told, and a source that fails costs nothing', async () => {
  for (const getToken of [undefined, () => Promise.reject(new Error('away')), () => null]) {
    const w = await opened({ getToken });
    await w.stream.event({ event: 'expiring', in_s: 9 });
    assert.ok(w.quiet);
    assert.equal(w.client.state, 'open');
  }
});

test('a cause is named when an origin is refused, and only if no answer was ever read', async () => {
  const asked = [];
  const refuse = async (url, init) => {
    asked.push([url, init.mode]);
    if (init.mode !== 'no-cors') throw new TypeError('Failed to fetch');
    return Response.error();
  };
  const options = { url: 'http://server', token: token('alice') };
  const w = world(options, { fetch: refuse });
  w.client.connect();
  await settle();
  assert.equal(w.of('error')[0].code, 'origin_refused');
  assert.match(w.of('error')[0].message, /http:\/\/server .* http:\/\/page /);
  assert.deepEqual(asked.slice(0, 2), [
    ['http://server/v1/sse?form=short', undefined],
    ['http://server/client.js', 'no-cors'],
  ]);
});

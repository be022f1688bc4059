/** Listeners that call the client in the midst of what they are told. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { message, settle, token, world } from './world.js';

const CURSOR = '1~e~@alice~0';
const bare = (event) => {
  const { event: _, ...rest } = event;
  return rest;
};
const answer = (cursor, messages = [], more = {}) => ({
  session: 's1',
  cursor,
  messages: messages.map(bare),
  gaps: [],
  close: null,
  ...more,
});
const offsets = (w) => w.of('message').map((m) => m.offset);

/** Several messages in one chunk, the cursor behind each. */
const chunk = (...numbers) =>
  numbers.map((n) => `id: 1~e~@alice~${n}\ndata: ${JSON.stringify(message(n))}\n\n`).join('');

/**
 * The transports: how each is opened, how it brings messages 1 and 2 together, and how the next connection is
 * served, which tells the cursor that it was asked for with.
 */
const TRANSPORTS = {
  sse: {
    async open(w) {
      w.stream = await w.next('/v1/sse').open();
    },
    bring: (w) => w.stream.write(chunk(1, 2)),
    async next(w, ...messages) {
      const request = await w.next('/v1/sse').open('s1', '1~e~@alice~1');
      for (const m of messages) await request.event(m);
      return request.query.cursor;
    },
  },
  poll: {
    async open(w) {
      let request = w.next('/v1/poll');
      // The one that was held before.
      if (request.aborted) request = w.next('/v1/poll');
      await request.json(answer(CURSOR));
    },
    bring: (w) => w.next('/v1/poll').json(answer('1~e~@alice~2', [message(1), message(2)])),
    async next(w, ...messages) {
      const request = w.next('/v1/poll');
      await request.json(answer('1~e~@alice~2', messages));
      return request.query.cursor;
    },
  },
  ws: {
    async open(w) {
      await w.ticket();
      w.socket = await w.sockets.at(-1).open();
    },
    async bring(w) {
      for (const n of [1, 2]) w.socket.event(message(n));
      await settle();
    },
    async next(w, ...messages) {
      await w.ticket();
      const socket = await w.sockets.at(-1).open('s1', '1~e~@alice~1');
      for (const m of messages) await socket.event(m);
      return socket.query.cursor;
    },
  },
  iframe: {
    async open(w) {
      await w.ticket();
      w.frame = w.page.frames.at(-1);
      await w.page.post({ event: 'open', session: 's1', cursor: CURSOR, heartbeat_s: 20 });
    },
    async bring(w) {
      for (const n of [1, 2]) w.page.post(message(n), { from: w.frame, source: w.frame.contentWindow ?? {} });
      await settle();
    },
    async next(w, ...messages) {
      await w.ticket();
      const frame = w.page.frames.at(-1);
      await w.page.post({ event: 'open', session: 's1', cursor: '1~e~@alice~1', heartbeat_s: 20 });
      for (const m of messages) await w.page.post(m);
      return frame.query.cursor;
    },
  },
};

async function opened(transport, options = {}) {
  const w = world({ url: 'http://server', token: token('alice'), transport, ...options });
  w.client.connect();
  await settle();
  await TRANSPORTS[transport].open(w);
  assert.equal(w.client.state, 'open');
  return w;
}

for (const [name, transport] of Object.entries(TRANSPORTS)) {
  test(`${name}: what comes behind the message at which a listener starts anew is not taken for handed over`, async () => {
    const w = await opened(name);
    const off = w.client.on('message', () => {
      off();
      w.client.reconnect();
    });
    await transport.bring(w);
    assert.deepEqual(offsets(w), [1]);
    assert.equal(w.client.cursor, '1~e~@alice~1', 'the cursor does not cover what was not handed over');
    assert.equal(await transport.next(w, message(2)), '1~e~@alice~1');
    assert.deepEqual(offsets(w), [1, 2]);
  });

  test(`${name}: the same when a listener closes it, and connects again`, async () => {
    const w = await opened(name);
    const off = w.client.on('message', () => {
      off();
      // The page goes away and comes back, which needs no answer from the server.
      w.page.fire('pagehide', { persisted: true });
      w.page.fire('pageshow', { persisted: true });
    });
    await transport.bring(w);
    assert.deepEqual(offsets(w), [1]);
    assert.equal(await transport.next(w, message(2)), '1~e~@alice~1');
    assert.deepEqual(offsets(w), [1, 2]);
  });

  test(`${name}: a listener that starts anew when it is open is told once for each connection that stays`, async () => {
    const w = await opened(name);
    assert.equal(w.of('open').length, 1);
    const off = w.client.on('state', (state) => {
      if (state !== 'open') return;
      off();
      w.client.reconnect();
    });
    w.client.reconnect();
    await settle();
    await TRANSPORTS[name].open(w);
    assert.equal(w.client.state, 'connecting');
    assert.equal(w.of('open').length, 1, 'the one that was given up is not told as open');
    await TRANSPORTS[name].open(w);
    assert.equal(w.client.state, 'open');
    assert.equal(w.of('open').length, 2);
  });
}

test('every listener hears of everything in the order in which it happened, whatever another does on hearing of it', async () => {
  const w = world({ token: token('alice') });
  const heard = [];
  w.client.on('state', (state) => {
    if (state === 'waiting') w.client.close('enough');
  });
  for (const type of ['state', 'close', 'error'])
    w.client.on(type, (value) => heard.push(value.code ?? value));
  w.client.connect();
  await settle();
  await w.next('/v1/sse').lose();
  await w.next('/v1/sse').lose();
  assert.equal(w.client.state, 'closed');
  assert.deepEqual(heard, ['connecting', 'network', 'network', 'waiting', 'closed', 'client']);
  assert.equal(w.clock.pending, 0);
});

test('a listener of an error that starts anew begins with the preferred transport, and stays with it', async () => {
  const w = world({ token: token('alice') });
  const off = w.client.on('error', () => {
    off();
    w.client.reconnect();
  });
  w.client.connect();
  await settle();
  await w.next('/v1/sse').fail(404, 'not_found');
  await w.next('/v1/sse').open();
  assert.equal(w.client.transport, 'sse');
  assert.deepEqual(
    w.of('open').map((open) => open.transport),
    ['sse'],
  );
});

test('a cursor that is refused loses no channel, whatever the listener of the first gap does', async () => {
  const told = (w) => w.of('gap').map((gap) => gap.channel);
  const refused = async (act) => {
    const w = world({ token: token('alice'), cursor: '1~e~@alice~4~a~9~b~3' });
    const off = w.client.on('gap', () => {
      off();
      act(w.client);
    });
    w.client.connect();
    await settle();
    await w.next().fail(400, 'bad_cursor');
    return w;
  };
  const anew = await refused((client) => client.reconnect());
  assert.deepEqual(told(anew), ['@alice', 'a', 'b']);
  assert.deepEqual(anew.next('/v1/sse').query, { channels: 'a,b' });
  const without = await refused((client) => void client.unsubscribe(['b']));
  assert.deepEqual(told(without), ['@alice', 'a']);
  assert.deepEqual(without.next('/v1/sse').query, { channels: 'a' });
});

test('a listener of a close that is to come back may come back at once', async () => {
  const w = await opened('sse');
  w.client.on('close', () => w.client.reconnect());
  await w.stream.event({ event: 'close', code: 'shutdown', reason: '', reconnect: true, retry_ms: 8000 });
  assert.deepEqual(w.next('/v1/sse').query, { cursor: CURSOR });
  await w.clock.pass(3000);
  assert.ok(w.quiet, 'the pause that was given up starts nothing');
});

test('a listener may unsubscribe from what else is in the same answer', async () => {
  const w = await opened('poll');
  w.client.on('message', (m) => m.channel === 'a' && void w.client.unsubscribe(['b']));
  await w
    .next('/v1/poll')
    .json(answer('1~e~@alice~0~a~1~b~1', [message(1, { channel: 'a' }), message(1, { channel: 'b' })]));
  assert.deepEqual(w.of('message').map((m) => m.channel), ['a']);
  assert.equal(w.client.cursor, '1~e~@alice~0~a~1');
});

// Ending sessions on purpose, from either side: answered only after everything is freed.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Server } from './support/server.js';
import { until } from './support/until.js';

let server;
const took = [];
before(async () => void (server = await Server.start()));
after(async () => {
  took.sort((a, b) => a - b);
  const at = (share) => took[Math.min(took.length - 1, Math.floor(share * took.length))].toFixed(1);
  console.log(
    `from the request to the answer that all is freed, in ms over ${took.length} closes: p50 ${at(0.5)}, p99 ${at(0.99)}`,
  );
  await server.stop();
});

/** Sends a close, notes how long it took, and gives the answer. */
async function timed(send) {
  const began = performance.now();
  const answer = await send();
  took.push(performance.now() - began);
  return answer.with(200);
}

/** Looks once, and once only: the answer to the close was the promise. */
async function isFreed(user, session) {
  const [sessions, one, online, all] = await Promise.all([
    server.sessions(user),
    server.presence(user),
    server.api('GET', '/api/users?online=true&limit=1000'),
    server.sessions(),
  ]);
  assert.deepEqual(sessions.filter((left) => left.session === session), []);
  assert.ok(!all.some((left) => left.session === session));
  return { one, online: online.with(200).users.some(({ id }) => id === user) };
}

const beacon = (session, more = {}) =>
  server.ask('POST', '/v1/close', {
    body: JSON.stringify({ session, ...more }),
    headers: { 'content-type': 'text/plain;charset=UTF-8' },
  });

/** Ways to wait. Each gives the session, and a promise of how the waiting ended. */
const waits = {
  poll: async (user) => {
    const { session, cursor, close_key } = await user.look();
    const polling = user.poll({ session, cursor });
    await server.held(user.name, session);
    return { session, close_key, ended: polling.then((answer) => answer.with(200).close) };
  },
  sse: async (user) => {
    const stream = await user.stream();
    return {
      session: stream.session,
      close_key: stream.opened.close_key,
      ended: stream
        .next()
        .then(({ code, reason, reconnect }) => stream.done.then(() => ({ code, reason, reconnect }))),
    };
  },
};

for (const [transport, wait] of Object.entries(waits)) {
  describe(`while a ${transport} waits`, () => {
    test('the client closes by JSON', async () => {
      const alice = await server.login(`json-${transport}`);
      for (let round = 0; round < 20; round++) {
        const { session, ended } = await wait(alice);
        assert.deepEqual(await timed(() => alice.post('/v1/close', { session, reason: 'bye' })), {
          closed: true,
        });
        const { one, online } = await isFreed(alice.name, session);
        assert.deepEqual([one.online, one.sessions, online], [false, 0, false]);
        assert.deepEqual(await ended, { code: 'client', reason: 'bye', reconnect: false });
        assert.deepEqual((await alice.post('/v1/close', { session })).with(200), { closed: false });
      }
    });

    test('the client closes by a beacon, which can bring no token', async () => {
      const alice = await server.login(`beacon-${transport}`);
      const { session, close_key, ended } = await wait(alice);
      (await beacon(session)).refused(401, 'unauthorized');
      assert.deepEqual(await timed(() => beacon(session, { close_key })), { closed: true });
      assert.equal((await isFreed(alice.name, session)).one.online, false);
      assert.deepEqual(await ended, { code: 'client', reason: '', reconnect: false });
      assert.deepEqual((await beacon(session, { close_key })).with(200), { closed: false });
    });

    test('the operator closes a session', async () => {
      const alice = await server.login(`op-session-${transport}`);
      const [left, stays] = [await wait(alice), await wait(alice)];
      assert.deepEqual(
        await timed(() => server.api('POST', '/api/close', { session: left.session, reason: 'tidy' })),
        { closed: 1 },
      );
      const { one } = await isFreed(alice.name, left.session);
      assert.deepEqual([one.online, one.sessions], [true, 1], 'the other tab stays');
      assert.deepEqual(await left.ended, { code: 'operator', reason: 'tidy', reconnect: false });
      (await alice.poll({ session: left.session, hold_s: 0 })).refused(410, 'session_closed');
      (await alice.post('/v1/close', { session: stays.session })).with(200);
      await stays.ended;
    });

    test('the operator closes a user, with all sessions', async () => {
      const alice = await server.login(`op-user-${transport}`);
      const both = [await wait(alice), await wait(alice)];
      assert.deepEqual(await timed(() => server.api('POST', '/api/close', { user: alice.name })), {
        closed: 2,
      });
      for (const { session, ended } of both) {
        assert.equal((await isFreed(alice.name, session)).one.online, false);
        assert.deepEqual(await ended, { code: 'operator', reason: '', reconnect: false });
      }
    });

    test('the operator sends a user away to come back', async () => {
      const alice = await server.login(`op-back-${transport}`);
      const { session, ended } = await wait(alice);
      assert.deepEqual(
        await timed(() =>
          server.api('POST', '/api/close', { user: alice.name, reason: 'moving', reconnect: true }),
        ),
        { closed: 1 },
      );
      assert.equal((await isFreed(alice.name, session)).one.online, false);
      assert.deepEqual(await ended, { code: 'operator', reason: 'moving', reconnect: true });
      const back = await alice.poll({ session, hold_s: 0 });
      assert.notEqual(back.status, 410, 'who is asked to come back must not be refused');
      assert.notEqual(back.with(200).session, session);
    });
  });
}

test('a session between its polls is closed as well', async () => {
  const alice = await server.login('between');
  const { session } = await alice.look();
  assert.deepEqual(await timed(() => alice.post('/v1/close', { session })), { closed: true });
  assert.equal((await isFreed('between', session)).one.online, false);
});

test('a session of another user can not be closed, whatever is known of it', async () => {
  const [alice, mallory] = [await server.login('victim'), await server.login('mallory')];
  const { session } = await alice.look();
  assert.deepEqual((await mallory.post('/v1/close', { session })).with(200), { closed: false });
  assert.equal(await server.isOnline('victim'), true);
});

test('what is no session is not closed', async () => {
  const alice = await server.login('nothing');
  for (const session of ['AAAAAAAAAAAAAAAAAAAAAA', 'x', '']) {
    assert.deepEqual((await alice.post('/v1/close', { session })).with(200), { closed: false });
    (await beacon(session)).refused(401, 'unauthorized');
    (await beacon(session, { close_key: 'AAAAAAAAAAAAAAAAAAAAAA' })).refused(401, 'unauthorized');
    assert.deepEqual((await server.api('POST', '/api/close', { session })).with(200), { closed: 0 });
  }
  assert.deepEqual((await server.api('POST', '/api/close', { user: 'nobody-of-this-name' })).with(200), {
    closed: 0,
  });
});

test('a close that is not as it should be is refused', async () => {
  const alice = await server.login('wrong');
  const { session } = await alice.look();
  for (const body of [
    {},
    { session: 1 },
    { session, colour: 1 },
    { session, reason: 'x'.repeat(257) },
    { session, reason: 'a\u0000b' },
  ]) {
    (await alice.post('/v1/close', body)).refused(400, 'bad_request');
    (await beacon(undefined, body)).refused(400, 'bad_request');
  }
  (
    await server.ask('POST', '/v1/close', {
      body: 'session=x',
      headers: { 'content-type': 'application/x-www-form-urlencoded', ...alice.headers },
    })
  ).refused(415, 'unsupported_media_type');
  for (const body of [
    {},
    { user: 'wrong', session },
    { user: 1 },
    { user: 'wrong', reconnect: 'yes' },
    { user: 'wrong', reason: 'x'.repeat(257) },
  ]) {
    (await server.api('POST', '/api/close', body)).refused(400, 'bad_request');
  }
  (await server.api('POST', '/api/close', { user: '' })).refused(400, 'bad_name');
  (await server.ask('POST', '/api/close', { body: { user: 'wrong' } })).refused(401, 'unauthorized');
  (await server.ask('POST', '/api/close', { body: { user: 'wrong' }, headers: alice.headers })).refused(
    401,
    'unauthorized',
  );
  assert.equal(await server.isOnline('wrong'), true);
});

test('sockets and sessions are given back', async () => {
  const before = await server.metric('encke_sessions');
  const carol = await server.login('carol');
  const streams = await Promise.all(Array.from({ length: 50 }, () => carol.stream()));
  assert.equal(await server.metric('encke_sessions'), before + 50);
  assert.ok((await server.metric('encke_connections_held')) >= 50);
  assert.deepEqual((await server.api('POST', '/api/close', { user: 'carol' })).with(200), { closed: 50 });
  assert.equal(await server.metric('encke_sessions'), before);
  for (const stream of streams) assert.equal((await stream.next()).code, 'operator');
  await Promise.all(streams.map((stream) => stream.done));
  await until('no stream is left', async () => (await server.metric('encke_connections_held')) === 0);
});

test('a close and a push at the same moment: the message is in the poll, or waits for the next login', async () => {
  for (let round = 0; round < 20; round++) {
    const alice = await server.login(`race-${round}`);
    const { session, cursor } = await alice.look();
    const polling = alice.poll({ session, cursor });
    await server.held(alice.name, session);
    const [, answer] = await Promise.all([
      server.push({ to: [alice.name], data: round }),
      polling,
      alice.post('/v1/close', { session }),
    ]);
    const got = answer.with(200).messages;
    const later = (await alice.look()).messages;
    assert.equal([...got, ...later].length, 1, `${got.length} and ${later.length}`);
  }
});

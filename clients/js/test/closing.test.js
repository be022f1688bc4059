// What ends a session on purpose, and what that does to a request that is under way.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bare, message, opened, polling, settle, world } from './world.js';

test('a close goes over its own connection, and there is no coming back', async () => {
  const w = await opened();
  const closed = w.client.close('done here');
  await settle();
  const request = w.next('/v1/close');
  assert.equal(request.method, 'POST');
  assert.deepEqual(request.body, { session: 's1', reason: 'done here' });
  await w.stream.event(
    { event: 'close', code: 'client', reason: 'done here', reconnect: false },
    '1~e~@alice~0~closed',
  );
  assert.ok(w.stream.aborted, 'nothing is held any more');
  await request.json({ closed: true });
  assert.equal(await closed, true);
  assert.deepEqual(w.of('close'), [{ code: 'client', reason: 'done here', reconnect: false }]);
  assert.equal(w.client.state, 'closed');
  assert.equal(w.client.session, null);
  await w.page.fire('online');
  await w.clock.pass(3_600_000);
  assert.ok(w.quiet);
  assert.equal(w.clock.pending, 0);
});

test('a close during a held poll', async () => {
  const w = await polling();
  const held = w.next('/v1/poll');
  const closed = w.client.close();
  await settle();
  await w.next('/v1/close').json({ closed: true });
  assert.equal(await closed, true);
  assert.ok(held.aborted);
  assert.equal(w.of('close').length, 1);
  assert.equal(w.clock.pending, 0);
});

test('a close that gets no answer still closes this side', async () => {
  const w = await opened();
  const closed = w.client.close();
  await settle();
  await w.stream.end();
  for (let i = 0; i < 3; i++) {
    await w.next('/v1/close').lose();
    await w.clock.pass(5000);
  }
  assert.equal(await closed, false);
  assert.equal(w.client.state, 'closed');
  assert.ok(w.quiet, 'a lost connection does not come back while it is being closed');
  assert.equal(w.clock.pending, 0);
});

test('closing before there is a session gives the request up', async () => {
  const w = world({ token: 't' });
  w.client.connect();
  await settle();
  assert.equal(await w.client.close(), false);
  assert.ok(w.next().aborted);
  assert.equal(w.client.state, 'closed');
  assert.equal(w.clock.pending, 0);
});

test('closing during a pause ends the pause', async () => {
  const w = world({ token: 't' });
  w.client.connect();
  await settle();
  await w.next().lose();
  await w.next().lose();
  assert.equal(await w.client.close(), false);
  assert.equal(w.clock.pending, 0);
});

test('closing twice is closing once, and connecting waits for it', async () => {
  const w = await opened();
  const first = w.client.close();
  assert.equal(w.client.close(), first);
  w.client.connect();
  await settle();
  const request = w.next('/v1/close');
  assert.ok(w.quiet);
  await request.json({ closed: true });
  assert.deepEqual(w.next('/v1/sse').query, { cursor: '1~e~@alice~0' });
});

test('a listener may close the client in the middle of an answer', async () => {
  const w = await polling();
  w.client.on('message', () => void w.client.close());
  await w
    .next()
    .json({
      session: 's1',
      cursor: '1~e~@alice~2',
      messages: [bare(message(1)), bare(message(2))],
      gaps: [],
      close: null,
    });
  await w.next('/v1/close').json({ closed: true });
  assert.equal(w.client.state, 'closed');
  assert.equal(w.client.cursor, '1~e~@alice~2');
});

test('reconnect replaces a connection', async () => {
  const w = await opened();
  w.client.reconnect();
  await settle();
  assert.ok(w.stream.aborted);
  assert.equal(w.next('/v1/sse').query.session, 's1');
});

test('a revoked token is worth one fresh one, and a user who is kept away stays away', async () => {
  const w = world({ token: 'old', getToken: async () => 'fresh' });
  w.client.connect();
  await settle();
  await w.next().fail(401, 'revoked');
  assert.equal(w.next().headers.authorization, 'Bearer fresh');
  await w.requests.at(-1).fail(401, 'revoked');
  assert.deepEqual(w.of('close').map(({ code, reconnect }) => [code, reconnect]), [['revoked', false]]);
  const banned = world({ token: 'old', getToken: async () => 'fresh' });
  banned.client.connect();
  await settle();
  await banned.next().fail(403, 'banned');
  assert.equal(banned.client.state, 'closed');
  assert.equal(banned.of('close')[0].code, 'banned');
  for (const code of ['revoked', 'banned']) {
    const live = await opened();
    await live.stream.event({ event: 'close', code, reason: '', reconnect: false });
    assert.equal(live.client.state, 'closed');
    assert.equal(live.clock.pending, 0, 'nothing brings it back');
  }
});

test('the key of a beacon is that of the session, however it was told', async () => {
  const w = await polling();
  // Later answers do not say it again; a session in the place of the first has its own.
  const answer = { cursor: '1~e~@alice~0', messages: [], gaps: [], close: null };
  await w.next('/v1/poll').json({ ...answer, session: 's1' });
  await w.clock.pass(1000);
  await w.next('/v1/poll').json({ ...answer, session: 's2', close_key: 'key-s2' });
  await w.page.fire('pagehide', { persisted: true });
  assert.deepEqual(w.page.beacons.map(({ body }) => body), ['{"session":"s2","close_key":"key-s2"}']);
  const other = await polling();
  await other.next('/v1/poll').json({ ...answer, session: 's2' });
  await other.page.fire('pagehide', { persisted: true });
  assert.deepEqual(other.page.beacons.map(({ body }) => body), ['{"session":"s2"}'], 'not that of another');
});

test('a request that was given up and arrives late does not cost the session; another client does', async () => {
  const w = await polling();
  const held = w.next('/v1/poll');
  const subscribed = w.client.subscribe(['news']);
  await w.next('/v1/subscribe').fail(404, 'session_unknown');
  await subscribed;
  assert.ok(held.aborted, 'it asks anew');
  await w.next('/v1/poll').fail(409, 'session_taken_over');
  await w.clock.pass(1000);
  const again = w.next('/v1/poll');
  assert.equal(again.query.session, 's1');
  await again.fail(409, 'session_taken_over');
  await w.clock.pass(1000);
  assert.equal(w.next('/v1/poll').query.session, undefined);
});

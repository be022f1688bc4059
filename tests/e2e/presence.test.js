// Who is online: two tabs, clients that go without a word, and servers that die.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Server } from './support/server.js';
import { always, until } from './support/until.js';

const GRACE_S = 2;
/** What looking takes on a loaded machine, on top of the grace time. */
const SLACK_MS = 5000;

describe('a session outlives its connection by the grace time', () => {
  let server;
  before(async () => void (server = await Server.start({ env: { ENCKE_SESSION_GRACE_S: String(GRACE_S) } })));
  after(() => server.stop());

  test('a user with two tabs is online until the second is gone', async () => {
    const alice = await server.login('tabs');
    const [first, second] = [await alice.stream(), await alice.stream()];
    assert.deepEqual(await server.presence('tabs'), { online: true, sessions: 2 });
    (await alice.post('/v1/close', { session: first.session })).with(200);
    assert.deepEqual(await server.presence('tabs'), { online: true, sessions: 1 });
    (await alice.post('/v1/close', { session: second.session })).with(200);
    assert.deepEqual(await server.presence('tabs'), { online: false, sessions: 0 });
  });

  for (const transport of ['sse', 'poll']) {
    test(`a client that is killed without a word is offline within the grace time, by ${transport}`, async () => {
      const name = `killed-${transport}`;
      // A process of its own, so that it can be killed as a browser can.
      const client = server.startCli('listen', '--user', name, '--transport', transport);
      await server.held(name);
      await client.kill('SIGKILL');
      const killed = performance.now();
      await until('the server has seen that the connection is gone', async () => {
        const [session] = await server.sessions(name);
        return !session || !session.connected;
      });
      assert.ok(
        (await server.isOnline(name)) || performance.now() - killed >= GRACE_S * 1000,
        'it is given its grace time',
      );
      await until('it is offline', async () => !(await server.isOnline(name)), GRACE_S * 1000 + SLACK_MS);
      const took = performance.now() - killed;
      console.log(
        `a client that was killed was offline after ${Math.round(took)} ms; the grace time is ${GRACE_S} s`,
      );
      assert.ok(took >= GRACE_S * 1000 - 50, `it was offline after ${took} ms already`);
      assert.deepEqual(await server.sessions(name), []);
      const { last_seen } = await until('it was written down', () => server.user(name));
      assert.ok(Date.now() - Date.parse(last_seen) < 60_000);
    });
  }

  test('a client that comes back within the grace time was never offline', async () => {
    const alice = await server.login('back');
    const stream = await alice.stream();
    await stream.drop();
    await until('no node serves the session', async () => !(await server.sessions('back'))[0].connected);
    const again = await alice.stream({ session: stream.session, cursor: stream.opened.cursor });
    assert.equal(again.session, stream.session);
    await always('it stays online past the first grace time', GRACE_S * 1000 + 1000, () =>
      server.isOnline('back'),
    );
    await again.drop();
  });

  test('a client between two polls is online', async () => {
    const alice = await server.login('between');
    let at = await alice.look();
    for (let n = 0; n < 3; n++) {
      assert.ok(await server.isOnline('between'));
      at = (await alice.poll({ session: at.session, cursor: at.cursor, hold_s: 1 })).with(200);
    }
    assert.equal((await server.sessions('between')).length, 1);
  });

  test('a session that was forgotten goes on from its cursor under a new id', async () => {
    const alice = await server.login('forgotten');
    const { session, cursor } = await alice.look({ channels: 'forgotten' });
    await until('it is forgotten', async () => (await server.sessions('forgotten')).length === 0);
    await server.push({ to: ['forgotten'], data: 'own' });
    (await server.api('POST', '/api/publish', { channel: 'forgotten', data: 'channel' })).with(202);
    const answer = await alice.take(2, { session, cursor });
    assert.notEqual(answer.session, session);
    assert.deepEqual(answer.messages.map(({ data }) => data).sort(), ['channel', 'own']);
    (await alice.post('/v1/subscribe', { session, channels: ['x'] })).refused(404, 'session_unknown');
  });
});

describe('after the server', () => {
  for (const signal of ['SIGKILL', 'SIGTERM']) {
    test(`ended by ${signal} no user is online until they come back, and what was accepted is delivered`, async () => {
      const server = await Server.start();
      try {
        const [alice, bob] = [await server.login('alice'), await server.login('bob')];
        const stream = await alice.stream({ channels: 'news' });
        const at = await bob.look({ channels: 'news' });
        const shown = await server.push({ to: ['alice'], data: 'before' });
        const { sseId } = await stream.next();
        (await alice.post('/v1/ack', { session: stream.session, cursor: sseId })).with(200);
        await server.receipt(shown.id, 'alice', 'shown');
        const delivered = await server.push({ to: ['alice'], data: 'seen' });
        const { sseId: last } = await stream.next();
        await server.receipt(delivered.id, 'alice', 'delivered');
        // No client has got these when the server dies.
        const waiting = await server.push({ to: ['bob', 'carol'], data: 'accepted' });
        const brief = await server.push({ to: ['carol'], data: 'brief', ttl_s: 1 });
        const published = (
          await server.api('POST', '/api/publish', { channel: 'news', data: 'accepted too', id: 'k' })
        ).with(202);
        await server.receipt(brief.id, 'carol', 'expired');
        await server.restart(signal);

        assert.deepEqual(await server.sessions(), []);
        assert.deepEqual((await server.api('GET', '/api/users?online=true')).with(200).users, []);
        for (const name of ['alice', 'bob', 'carol']) assert.equal(await server.isOnline(name), false);
        assert.deepEqual(await server.receipts(shown.id), { alice: 'shown' });
        assert.deepEqual(await server.receipts(delivered.id), { alice: 'delivered' });
        assert.deepEqual(await server.receipts(waiting.id), { bob: 'queued', carol: 'queued' });
        assert.deepEqual(await server.receipts(brief.id), { carol: 'expired' });
        const again = (
          await server.api('POST', '/api/publish', { channel: 'news', data: 'accepted too', id: 'k' })
        ).with(202);
        assert.deepEqual(again, published, 'idempotency keys outlive the process');

        // The session is not known any more; the cursor is enough.
        const back = await alice.stream({ session: stream.session }, { 'last-event-id': last });
        assert.notEqual(back.session, stream.session);
        const news = await back.next();
        assert.deepEqual([news.channel, news.data], ['news', 'accepted too']);
        assert.equal(await server.isOnline('alice'), true);
        const { messages, gaps } = await bob.take(2, { session: at.session, cursor: at.cursor });
        assert.deepEqual([messages.map(({ data }) => data).sort(), gaps], [['accepted', 'accepted too'], []]);
        const carol = await (await server.login('carol')).take(1);
        assert.deepEqual(
          carol.messages.map(({ id }) => id),
          [waiting.id],
        );
        await server.receipt(waiting.id, 'carol', 'delivered');
        await back.drop();
      } finally {
        await server.stop();
      }
    });
  }

  test('died under a storm of pushes, all that were accepted are there, in order, once', async () => {
    const server = await Server.start();
    try {
      const accepted = new Map();
      let stop = false;
      const senders = Array.from({ length: 8 }, async (_, sender) => {
        for (let n = 0; !stop; n++) {
          const id = `${sender}-${n}`;
          try {
            const answer = await server.api('POST', '/api/push', { to: ['storm'], data: id, id });
            if (answer.status === 202) accepted.set(id, answer.json.id);
          } catch {
            return; // It died; what it did not answer it did not accept.
          }
        }
      });
      await until('a good many are accepted', () => accepted.size >= 200);
      await server.kill('SIGKILL');
      stop = true;
      await Promise.all(senders);
      await server.startAgain();
      const storm = await server.login('storm');
      const { messages, gaps } = await storm.take(accepted.size);
      assert.deepEqual(gaps, []);
      const data = messages.map((message) => message.data);
      assert.equal(new Set(data).size, data.length, 'none comes twice');
      for (const [data, id] of accepted)
        assert.ok(
          messages.some((message) => message.id === id && message.data === data),
          `${data} was accepted and is lost`,
        );
      assert.deepEqual(messages.map(({ offset }) => offset), messages.map((_, n) => n + 1));
    } finally {
      await server.stop();
    }
  });

  test('that kept nothing but memory a cursor is of another epoch, and that is told', async () => {
    const server = await Server.start({ engine: 'memory' });
    try {
      const alice = await server.login('alice');
      await server.push({ to: ['alice'], data: 'lost' });
      const { cursor } = await alice.take(1, { channels: 'news' });
      await server.restart();
      await server.push({ to: ['alice'], data: 'new' });
      const { gaps, messages } = await alice.take(1, { cursor });
      assert.deepEqual(
        gaps.find(({ channel }) => channel === '@alice'),
        { channel: '@alice', from: 2, to: null, reason: 'epoch' },
      );
      assert.deepEqual(messages.map(({ data }) => data), ['new']);
    } finally {
      await server.stop();
    }
  });
});

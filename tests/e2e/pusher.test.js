// Applications of Pusher Channels: pusher-js, laravel-echo and the server library, as their projects publish
// them, without a change.
import assert from 'node:assert/strict';
import { createHash, createHmac } from 'node:crypto';
import { after, before, describe, test } from 'node:test';

import Echo from 'laravel-echo';

import { APP, backend, client, named, settings, subscribed } from './support/pusher.js';
import { Server } from './support/server.js';
import { always, until } from './support/until.js';

/** Long enough for what must not come. */
const QUIET_MS = 500;
const numbers = (n) => Array.from({ length: n }, (_, k) => k);
const ok = async (answer) => {
  const response = await answer;
  assert.equal(response.status, 200);
  return response.json();
};

describe('pusher-js over WebSocket', () => {
  let server;
  let app;
  before(async () => {
    const options = { client_events: true, subscription_count: true, presence_max_members: 3 };
    server = await Server.start({ engine: 'memory', env: settings(options) });
    app = backend(server);
  });
  after(() => server.stop());

  test('a public channel: events in order, and what others publish', { timeout: 30_000 }, async () => {
    const pusher = await client(server);
    const channel = await subscribed(pusher, 'news');
    for (const n of numbers(20)) await ok(app.trigger('news', 'number', { n }));
    await until('all have come', () => named(channel, 'number').length === 20);
    assert.deepEqual(named(channel, 'number').map(([, data]) => data.n), numbers(20));
    const plain = { channel: 'pusher:1:news', data: { of: 'native' } };
    (await server.api('POST', '/api/publish', plain)).with(202);
    await until('it has come', () => named(channel, 'message').length === 1);
    assert.deepEqual(named(channel, 'message')[0][1], { of: 'native' });
    pusher.unsubscribe('news');
    const count = channel.events.length;
    await until('it follows it no more', async () => {
      const { channels } = await ok(app.get({ path: '/channels' }));
      return channels.news === undefined;
    });
    await ok(app.trigger('news', 'number', { n: 'late' }));
    await always('nothing comes any more', QUIET_MS, () => channel.events.length === count);
    const native = await server.login('native');
    const { messages } = await native.look({ cursor: 'earliest', channels: 'pusher:1:news' });
    const data = messages.map((message) => message.data).filter(({ event }) => event === 'number');
    assert.deepEqual(data[0], { event: 'number', data: '{"n":0}' });
    pusher.disconnect();
  });

  test('a private channel: client events to the others, and refusals', { timeout: 30_000 }, async () => {
    const [alice, bob] = [await client(server), await client(server)];
    const [hers, his] = [await subscribed(alice, 'private-room'), await subscribed(bob, 'private-room')];
    assert.ok(hers.trigger('client-typing', { who: 'alice' }));
    await until('it has come', () => named(his, 'client-typing').length === 1);
    assert.deepEqual(named(his, 'client-typing')[0][1], { who: 'alice' });
    await ok(app.trigger('private-room', 'x', 1, { socket_id: alice.connection.socket_id }));
    await until('it has come', () => named(his, 'x').length === 1);
    await always('nothing comes back', QUIET_MS, () => {
      return named(hers, 'x').length === 0 && named(hers, 'client-typing').length === 0;
    });
    const auth = `${APP.key}:${'0'.repeat(64)}`;
    const forged = await client(server, {}, {
      channelAuthorization: { customHandler: (_, done) => done(null, { auth }) },
    });
    const refused = forged.subscribe('private-room');
    const errors = [];
    refused.bind('pusher:subscription_error', (error) => errors.push(error));
    await until('it is refused', () => errors.length === 1);
    assert.deepEqual([errors[0].type, errors[0].status], ['AuthError', 401]);
    assert.equal(forged.connection.state, 'connected');
    [alice, bob, forged].forEach((pusher) => pusher.disconnect());
  });

  test('client events: only where they are allowed, and so many', { timeout: 30_000 }, async () => {
    const pusher = await client(server);
    const channel = await subscribed(pusher, 'private-rates');
    await subscribed(pusher, 'open');
    pusher.connection.send_event('client-x', {}, 'open');
    await until('it is refused', () => pusher.errors.length === 1);
    pusher.connection.send_event('client-x', {}, 'private-others');
    await until('it is refused', () => pusher.errors.length === 2);
    pusher.connection.send_event('client-x', 'x'.repeat(10_240), 'private-rates');
    await until('it is refused', () => pusher.errors.length === 3);
    for (const n of numbers(30)) channel.trigger('client-x', { n });
    await until('it is refused', () => pusher.errors.some((error) => error.data?.code === 4301));
    assert.equal(pusher.connection.state, 'connected');
    pusher.disconnect();
  });

  test('a presence channel: who is there, each user once, at most so many', { timeout: 30_000 }, async () => {
    const alice = await client(server, { user: 'alice', info: { name: 'Alice' } });
    const hers = await subscribed(alice, 'presence-room');
    assert.deepEqual([hers.members.count, hers.members.me], [1, { id: 'alice', info: { name: 'Alice' } }]);
    const bobs = [await client(server, { user: 'bob' }), await client(server, { user: 'bob' })];
    const his = [];
    for (const bob of bobs) his.push(await subscribed(bob, 'presence-room'));
    assert.deepEqual(Object.keys(his[1].members.members).sort(), ['alice', 'bob']);
    await until('bob is there', () => named(hers, 'pusher:member_added').length === 1);
    const waves = [];
    hers.bind('client-wave', (_, { user_id }) => waves.push(user_id));
    his[0].trigger('client-wave', {});
    await until('it has come', () => waves.length === 1);
    assert.deepEqual(waves, ['bob']);
    const { users } = await ok(app.get({ path: '/channels/presence-room/users' }));
    assert.deepEqual(users, [{ id: 'alice' }, { id: 'bob' }]);
    const carol = await client(server, { user: 'carol' });
    await subscribed(carol, 'presence-room');
    const dave = await client(server, { user: 'dave' });
    const errors = [];
    dave.subscribe('presence-room').bind('pusher:subscription_error', (error) => errors.push(error));
    await until('it is refused', () => errors.length === 1);
    assert.equal(errors[0].type, 'LimitReached');
    bobs[0].disconnect();
    await always('bob is still there', QUIET_MS, () => named(hers, 'pusher:member_removed').length === 0);
    bobs[1].disconnect();
    await until('bob is gone', () => named(hers, 'pusher:member_removed').length === 1);
    assert.equal(hers.members.count, 2);
    [alice, carol, dave].forEach((pusher) => pusher.disconnect());
    await until('all are gone', async () => {
      const { occupied } = await ok(app.get({ path: '/channels/presence-room' }));
      return !occupied;
    });
  });

  test('cache channels, encrypted channels, counts', { timeout: 30_000 }, async () => {
    const pusher = await client(server);
    const empty = await subscribed(pusher, 'cache-a');
    await until('there is none', () => named(empty, 'pusher:cache_miss').length === 1);
    await ok(app.trigger('cache-a', 'price', { of: 7 }));
    const other = await client(server);
    const full = await subscribed(other, 'cache-a');
    await until('it has come', () => named(full, 'price').length === 1);
    const { cache } = await ok(app.get({ path: '/channels/cache-a', params: { info: 'cache' } }));
    assert.equal(cache.data, '{"of":7}');
    await until('it is told how many there are', () => empty.subscriptionCount === 2);
    const master = backend(server, { encryptionMasterKeyBase64: Buffer.alloc(32, 7).toString('base64') });
    const nacl = (await import('tweetnacl')).default;
    const sealed = await client(server, {}, {
      nacl,
      channelAuthorization: {
        customHandler: ({ socketId, channelName }, done) =>
          done(null, master.authorizeChannel(socketId, channelName)),
      },
    });
    const secret = await subscribed(sealed, 'private-encrypted-a');
    await ok(master.trigger('private-encrypted-a', 'e', { secret: 'ü' }));
    await until('it has come', () => named(secret, 'e').length === 1);
    assert.deepEqual(named(secret, 'e')[0][1], { secret: 'ü' });
    [pusher, other, sealed].forEach((one) => one.disconnect());
  });

  test('users: sign-in, their channel, watchlists, the end of connections', { timeout: 30_000 }, async () => {
    const alice = await client(server, { user: 'alice', watchlist: ['bob', 'carol'] });
    const seen = [];
    alice.user.watchlist.bind('online', ({ user_ids }) => seen.push(['online', user_ids]));
    alice.user.watchlist.bind('offline', ({ user_ids }) => seen.push(['offline', user_ids]));
    alice.signin();
    await alice.user.signinDonePromise;
    await until('it is told', () => seen.length === 1);
    assert.deepEqual(seen[0], ['offline', ['bob', 'carol']]);
    const bob = await client(server, { user: 'bob' });
    const events = [];
    bob.user.bind('hello', (data) => events.push(data));
    bob.signin();
    await until('bob is seen', () => seen.length === 2);
    assert.deepEqual(seen[1], ['online', ['bob']]);
    await until('its channel is subscribed', () => bob.user.serverToUserChannel?.subscribed);
    await ok(app.sendToUser('bob', 'hello', { n: 1 }));
    await until('it has come', () => events.length === 1);
    const thief = await client(server, { user: 'eve' });
    const errors = [];
    thief.connection.bind('message', ({ event, data }) => {
      if (event === 'pusher:subscription_error') errors.push(data.status);
    });
    thief.send_event('pusher:subscribe', { channel: '#server-to-user-bob', auth: '' });
    await until('it is refused', () => errors.length === 1);
    assert.deepEqual(errors, [401]);
    await ok(app.terminateUserConnections('bob'));
    await until('bob is away', () => bob.connection.state === 'disconnected');
    await until('bob is seen to go', () => seen.length === 3);
    assert.deepEqual(seen[2], ['offline', ['bob']]);
    assert.equal(thief.connection.state, 'connected');
    [alice, bob, thief].forEach((pusher) => pusher.disconnect());
  });

  test('who may not be served is told why, and stays away', { timeout: 30_000 }, async () => {
    const stranger = await client(server, {}, { key: 'no-such-key', connects: false });
    await until('it is told', () => stranger.errors.some((error) => error.data?.code === 4001));
    await until('it stays away', () => stranger.connection.state !== 'connecting');
    assert.notEqual(stranger.connection.state, 'connected');
    stranger.disconnect();
    const forger = await client(server, { user: 'eve' }, {
      userAuthentication: {
        customHandler: (_, done) => done(null, { auth: `${APP.key}:x`, user_data: '{"id":"alice"}' }),
      },
    });
    forger.signin();
    await until('it is refused', () => forger.errors.some((error) => error.data?.code === 4009));
    forger.disconnect();
  });
});

describe('the HTTP API', () => {
  let server;
  let app;
  before(async () => {
    server = await Server.start({ engine: 'memory', env: settings() });
    app = backend(server);
  });
  after(() => server.stop());

  /** A signed request, of whatever parts. */
  const signed = (method, address, { body = '', time = Date.now() / 1000, md5, key = APP.key } = {}) => {
    const hash = md5 ?? (body === '' ? undefined : createHash('md5').update(body).digest('hex'));
    const query = { auth_key: key, auth_timestamp: String(Math.floor(time)), auth_version: '1.0' };
    if (hash !== undefined) query.body_md5 = hash;
    const text = Object.entries(query).sort().map(([name, value]) => `${name}=${value}`).join('&');
    const signature = createHmac('sha256', APP.secret).update(`${method}\n${address}\n${text}`).digest('hex');
    return fetch(`${server.url}${address}?${text}&auth_signature=${signature}`, {
      method,
      ...(body === '' ? {} : { body, headers: { 'content-type': 'application/json' } }),
    });
  };

  test('answers are those that the library expects', { timeout: 30_000 }, async () => {
    const pusher = await client(server, { user: 'alice' });
    await subscribed(pusher, 'a');
    await subscribed(pusher, 'presence-b');
    const text = async (answer) => (await answer).text();
    assert.equal(await text(app.trigger('a', 'x', { n: 1 })), '{}');
    assert.equal(await text(app.triggerBatch([{ channel: 'a', name: 'x', data: 1 }])), '{}');
    const info = { info: 'subscription_count,user_count' };
    assert.deepEqual(await ok(app.trigger(['a', 'presence-b'], 'x', 1, info)), {
      channels: { a: { subscription_count: 1 }, 'presence-b': { subscription_count: 1, user_count: 1 } },
    });
    const batch = [
      { channel: 'a', name: 'x', data: 1, info: 'subscription_count' },
      { channel: 'presence-b', name: 'x', data: 1 },
    ];
    assert.deepEqual(await ok(app.triggerBatch(batch)), { batch: [{ subscription_count: 1 }, {}] });
    assert.deepEqual(await ok(app.get({ path: '/channels' })), { channels: { a: {}, 'presence-b': {} } });
    const params = { filter_by_prefix: 'presence-', info: 'user_count' };
    assert.deepEqual(await ok(app.get({ path: '/channels', params })), {
      channels: { 'presence-b': { user_count: 1 } },
    });
    assert.deepEqual(await ok(app.get({ path: '/channels/none' })), { occupied: false });
    const refused = (request) => request.then(() => 0, (error) => error.status);
    assert.equal(await refused(app.get({ path: '/channels', params: { info: 'user_count' } })), 400);
    assert.equal(await refused(app.get({ path: '/channels/a/users' })), 400);
    assert.equal(await refused(app.trigger('a', 'x', 'x'.repeat(10_241))), 413);
    assert.equal(await refused(app.trigger('a', 'pusher:x', 1)), 400);
    for (const event of [
      { name: 'x', channel: 'a:b', data: '1' },
      { name: 'x', channels: [], data: '1' },
      { name: 'x', channels: numbers(101).map(String), data: '1' },
      { name: 'x'.repeat(201), channel: 'a', data: '1' },
      { name: 'x', channel: 'a', data: '1', socket_id: 'a.b' },
      { name: 'x', channel: 'a' },
    ]) {
      const body = JSON.stringify(event);
      assert.equal((await signed('POST', `/apps/${APP.id}/events`, { body })).status, 400, body);
    }
    pusher.disconnect();
  });

  test('what is not signed as it should be does nothing', { timeout: 30_000 }, async () => {
    const pusher = await client(server);
    const channel = await subscribed(pusher, 'signed');
    const body = JSON.stringify({ name: 'x', channel: 'signed', data: '1' });
    const path = `/apps/${APP.id}/events`;
    const now = Date.now() / 1000;
    for (const [what, parts] of [
      ['an old timestamp', { body, time: now - 700 }],
      ['a timestamp to come', { body, time: now + 700 }],
      ['the hash of another body', { body, md5: '0'.repeat(32) }],
      ['another key', { body, key: 'other-key' }],
    ]) {
      assert.equal((await signed('POST', path, parts)).status, 401, what);
    }
    assert.equal((await fetch(`${server.url}${path}`, { method: 'POST', body })).status, 401);
    assert.equal((await signed('POST', '/apps/2/events', { body })).status, 404);
    assert.equal((await signed('POST', path, { body })).status, 200);
    await until('it has come', () => named(channel, 'x').length === 1);
    await always('nothing else comes', QUIET_MS, () => named(channel, 'x').length === 1);
    pusher.disconnect();
  });
});

for (const transport of ['xhr_streaming', 'xhr_polling']) {
  describe(`pusher-js by ${transport}`, () => {
    let server;
    let app;
    before(async () => {
      server = await Server.start({ engine: 'memory', env: settings({ client_events: true }) });
      app = backend(server);
    });
    after(() => server.stop());

    test('all that there is over WebSocket', { timeout: 60_000 }, async () => {
      const alice = await client(server, { user: 'alice', transport });
      assert.equal(alice.connection.connection.transport.name, transport);
      const bob = await client(server, { user: 'bob' });
      const [hers, his] = [await subscribed(alice, 'presence-a'), await subscribed(bob, 'presence-a')];
      await until('bob is there', () => hers.members.count === 2);
      assert.deepEqual(Object.keys(his.members.members).sort(), ['alice', 'bob']);
      for (const n of numbers(50)) await ok(app.trigger('presence-a', 'number', n));
      await until('all have come', () => named(hers, 'number').length === 50);
      assert.deepEqual(named(hers, 'number').map(([, n]) => n), numbers(50));
      hers.trigger('client-wave', { of: 'alice' });
      await until('it has come', () => named(his, 'client-wave').length === 1);
      his.trigger('client-wave', { of: 'bob' });
      await until('it has come', () => named(hers, 'client-wave').length === 1);
      assert.deepEqual(named(hers, 'client-wave')[0][1], { of: 'bob' });
      alice.signin();
      await alice.user.signinDonePromise;
      await ok(app.terminateUserConnections('alice'));
      await until('alice is away', () => alice.connection.state === 'disconnected');
      await until('alice is seen to go', () => his.members.count === 1);
      [alice, bob].forEach((pusher) => pusher.disconnect());
    });

    test('more than its client keeps of one response, each once', { timeout: 60_000 }, async () => {
      const pusher = await client(server, { transport });
      const channel = await subscribed(pusher, 'large');
      const filling = 'x'.repeat(8_000);
      for (const n of numbers(80)) await ok(app.trigger('large', 'number', { n, filling }));
      await until('all have come', () => named(channel, 'number').length === 80);
      assert.deepEqual(named(channel, 'number').map(([, { n }]) => n), numbers(80));
      assert.equal(pusher.connection.state, 'connected');
      pusher.disconnect();
    });

    test('who may not be served is told why', { timeout: 30_000 }, async () => {
      const stranger = await client(server, { transport }, { key: 'no-such-key', connects: false });
      await until('it stays away', () => stranger.connection.state === 'disconnected');
      stranger.disconnect();
      const address = `${server.url}/pusher/app/${APP.key}/1/0123abcv/xhr_send`;
      const unknown = await fetch(address, { method: 'POST', body: '[]' });
      assert.equal(unknown.status, 404);
    });
  });
}

describe('laravel-echo', () => {
  test('channels of all kinds, and whispers', { timeout: 30_000 }, async () => {
    const server = await Server.start({ engine: 'memory', env: settings({ client_events: true }) });
    const app = backend(server);
    const echo = async (user) => {
      const options = { user, info: { name: user } };
      const pusher = await client(server, options);
      return new Echo({ broadcaster: 'pusher', client: pusher, namespace: 'App.Events' });
    };
    const [alice, bob] = [await echo('alice'), await echo('bob')];
    const seen = [];
    const note = (name) => (data) => seen.push([name, data]);
    alice.channel('orders').listen('OrderShipped', note('shipped'));
    alice.private('orders.1').listenForWhisper('typing', note('typing'));
    alice.join('chat').here(note('here')).joining(note('joining')).leaving(note('leaving'));
    await until('she is there', () => seen.length === 1);
    assert.deepEqual(seen.pop(), ['here', [{ name: 'alice' }]]);
    bob.join('chat');
    await until('he is there', () => seen.length === 1);
    assert.deepEqual(seen.pop(), ['joining', { name: 'bob' }]);
    await ok(app.trigger('orders', 'App\\Events\\OrderShipped', { id: 7 }));
    await until('it has come', () => seen.length === 1);
    assert.deepEqual(seen.pop(), ['shipped', { id: 7 }]);
    const his = bob.private('orders.1');
    await until('he is subscribed', () => his.subscription.subscribed);
    his.whisper('typing', { name: 'bob' });
    await until('it has come', () => seen.length === 1);
    assert.deepEqual(seen.pop(), ['typing', { name: 'bob' }]);
    bob.leave('chat');
    await until('he is gone', () => seen.length === 1);
    assert.deepEqual(seen.pop(), ['leaving', { name: 'bob' }]);
    [alice, bob].forEach((one) => one.disconnect());
    await server.stop();
  });
});

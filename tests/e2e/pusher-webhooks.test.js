// Webhooks of Pusher applications: a backend gets them, and the libraries of Pusher for Node and Python
// verify them without a change.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Driver } from './support/driver.js';
import { APP, backend, client, subscribed } from './support/pusher.js';
import { Server } from './support/server.js';
import { always, until } from './support/until.js';
import { endpoint } from './support/webhooks.js';

/** Long enough for what must not come. */
const QUIET_MS = 500;
const OTHER = { id: '2', key: 'other-key', secret: 'other-secret' };

describe('webhooks', () => {
  let hooks;
  let server;
  let app;
  before(async () => {
    hooks = await endpoint();
    const of = ({ id, key, secret }, more) =>
      `{ id = "${id}", key = "${key}", secret = "${secret}", webhook = "${hooks.at}/${id}", ` +
      `webhook_allow_private = true${more} }`;
    const first = of(APP, ', client_events = true, subscription_count = true');
    const second = of(OTHER, ', webhook_events = ["member_added", "cache_miss"]');
    const env = { ENCKE_DIALECTS_PUSHER: 'true', ENCKE_PUSHER_APPS: `[${first}, ${second}]` };
    server = await Server.start({ engine: 'log', env });
    app = backend(server);
  });
  after(async () => {
    await server.stop();
    hooks.close();
    hooks.closeAllConnections();
  });

  const of = (channel, url = '/1') => hooks.events(url).filter((event) => event.channel === channel);
  const names = (channel, url) => of(channel, url).map(({ name }) => name);

  test('each thing once, in order, and of its application alone', { timeout: 60_000 }, async () => {
    const alice = await client(server, { user: 'alice', info: { name: 'Alice' } });
    const room = await subscribed(alice, 'presence-room');
    const again = await client(server, { user: 'alice' });
    await subscribed(again, 'presence-room');
    const bob = await client(server, { user: 'bob' });
    await subscribed(bob, 'presence-room');
    room.trigger('client-wave', { to: 'all', n: 1 });
    await until('the event is told', () => names('presence-room').includes('client_event'));
    again.disconnect();
    bob.disconnect();
    await until('bob is gone', () => names('presence-room').includes('member_removed'));
    alice.disconnect();
    await until('the channel is empty', () => names('presence-room').includes('channel_vacated'));
    const told = of('presence-room');
    const members = told.filter(({ name }) => name.startsWith('member_'));
    assert.deepEqual(
      members.map(({ name, user_id }) => [name, user_id]),
      [
        ['member_added', 'alice'],
        ['member_added', 'bob'],
        ['member_removed', 'bob'],
        ['member_removed', 'alice'],
      ],
    );
    assert.deepEqual(told.filter(({ name }) => name === 'client_event'), [
      {
        name: 'client_event',
        channel: 'presence-room',
        event: 'client-wave',
        data: '{"to":"all","n":1}',
        socket_id: told.find(({ name }) => name === 'client_event').socket_id,
        user_id: 'alice',
      },
    ]);
    assert.deepEqual(
      told.map(({ name }) => name).filter((name) => name.startsWith('channel_')),
      ['channel_occupied', 'channel_vacated'],
    );
    const cached = await client(server);
    await subscribed(cached, 'cache-news');
    await until('the miss is told', () => names('cache-news').includes('cache_miss'));
    await until('the count is told', () => names('cache-news').includes('subscription_count'));
    const count = of('cache-news').find(({ name }) => name === 'subscription_count');
    assert.equal(count.subscription_count, 1);
    cached.disconnect();

    const options = { key: OTHER.key, ...signs(server, OTHER, 'carol') };
    const other = await client(server, { user: 'carol' }, options);
    await subscribed(other, 'presence-room');
    await subscribed(other, 'cache-news');
    const theirs = () => hooks.events('/2').map(({ name, channel }) => [name, channel]);
    await until('both are told', () => theirs().length === 2);
    other.disconnect();
    await always('nothing else is', QUIET_MS, () => theirs().length === 2);
    assert.deepEqual(theirs(), [
      ['member_added', 'presence-room'],
      ['cache_miss', 'cache-news'],
    ]);
    assert.ok(hooks.events('/1').every(({ user_id }) => user_id !== 'carol'));
  });

  test('libraries verify them by the secret of the application alone', { timeout: 60_000 }, async () => {
    const driver = new Driver('pusher');
    const { id: app_id, key, secret } = APP;
    await driver.ask({ do: 'begin', app: { app_id, key, secret, host: '127.0.0.1', port: 1 } });
    const others = backend(server, { appId: OTHER.id, key: OTHER.key, secret: OTHER.secret });
    const taken = hooks.got.filter(({ url }) => url === '/1');
    assert.ok(taken.length > 0);
    for (const request of taken) {
      const hook = app.webhook(request);
      assert.ok(hook.isValid());
      assert.ok(hook.getEvents().length > 0 && Math.abs(hook.getTime() - Date.now()) < 300_000);
      assert.ok(!others.webhook(request).isValid());
      const changed = request.rawBody.replace('channel', 'chanel');
      assert.ok(!app.webhook({ ...request, rawBody: changed }).isValid());
      const { 'x-pusher-key': named, 'x-pusher-signature': signature } = request.headers;
      const call = async (...args) =>
        (await driver.ask({ do: 'call', method: 'validate_webhook', arguments: args })).answer;
      assert.deepEqual(await call(named, signature, request.rawBody), JSON.parse(request.rawBody));
      assert.equal(await call(named, signature, `${request.rawBody} `), null);
    }
    driver.close();
  });

  test('what is not taken comes again, also when the server was killed', { timeout: 90_000 }, async () => {
    const alice = await client(server, { user: 'alice' });
    const channel = await subscribed(alice, 'private-notes');
    await until('all before is told', () => {
      return names('cache-news').includes('channel_vacated') && names('private-notes').length === 2;
    });
    const refused = () => hooks.got.filter(({ url, status }) => url === '/1' && status !== 200).length;
    hooks.status = 307;
    channel.trigger('client-n', 0);
    await until('it is refused', () => refused() >= 2);
    assert.equal(hooks.got.filter(({ url }) => url === '/elsewhere').length, 0, 'no redirect is followed');
    hooks.status = 500;
    channel.trigger('client-n', 1);
    // What is written is told, whatever becomes of the server.
    await until('operators are told, and both are written', async () => {
      const { webhooks } = (await server.api('GET', '/api/hooks')).with(200);
      const { lag, last_failure } = webhooks.find((one) => one.of === 'pusher:1');
      return lag >= 2 && last_failure?.error === 'the answer has the status 500';
    });
    await server.restart('SIGKILL');
    hooks.status = 200;
    const told = () => {
      const events = of('private-notes').filter(({ event }) => event === 'client-n');
      return events.map(({ data }) => data);
    };
    await until('both are told', () => told().includes('1'));
    assert.deepEqual([...new Set(told())], ['0', '1']);
    const { headers } = hooks.got.findLast(({ url }) => url === '/1');
    assert.match(headers['webhook-id'], /^evt_/);
    alice.disconnect();
  });
});

/** What has a client of another application sign in. */
function signs(server, { id: appId, key, secret }, user) {
  const signer = backend(server, { appId, key, secret });
  const customHandler = ({ socketId, channelName }, done) =>
    done(null, signer.authorizeChannel(socketId, channelName, { user_id: user }));
  return { channelAuthorization: { customHandler } };
}

// Libraries of Pusher as their projects publish them, without a change: the server library for Node, which is
// asked all that its project's own tests ask a remote server; the server library for Python; and pysher, a
// client for Python that others wrote.
import assert from 'node:assert/strict';
import http from 'node:http';
import { createRequire } from 'node:module';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';

import { Driver } from './support/driver.js';
import { APP, settings } from './support/pusher.js';
import { Server } from './support/server.js';
import { always, until } from './support/until.js';

const PusherServer = createRequire(import.meta.url)('pusher');
/** Long enough for what must not come. */
const QUIET_MS = 500;

let server;
let address;
before(async () => {
  server = await Server.start({ engine: 'memory', env: settings({ client_events: true }) });
  address = new URL(server.url);
});
after(() => server.stop());

/** A proxy that tunnels, with the number of those that it has made. */
async function tunnelling() {
  const proxy = http.createServer();
  proxy.requests = 0;
  proxy.on('connect', (request, socket, head) => {
    proxy.requests++;
    const { hostname, port } = new URL(`http://${request.url}`);
    const there = net.connect(port, hostname, () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      there.write(head);
      there.pipe(socket).pipe(there);
    });
    there.on('error', () => socket.destroy());
    socket.on('error', () => there.destroy());
  });
  await new Promise((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  return proxy;
}

/** An agent whose connections go through a tunnel of this proxy. */
function through(proxy) {
  const agent = new http.Agent();
  agent.createConnection = ({ host, port }, done) => {
    const options = { port: proxy.address().port, method: 'CONNECT', path: `${host}:${port}`, agent: false };
    http.request({ host: '127.0.0.1', ...options }).once('connect', (_, socket) => done(null, socket)).end();
  };
  return agent;
}

describe('the server library for Node', () => {
  const library = (options) =>
    PusherServer.forURL(`http://${APP.key}:${APP.secret}@${address.host}/apps/${APP.id}`, options);
  const body = async (answer) => {
    const response = await answer;
    assert.equal(response.status, 200);
    return response.json();
  };
  const single = (pusher) => pusher.trigger('integration', 'event', 'test', null);

  test('events, alone and together', { timeout: 30_000 }, async () => {
    assert.deepEqual(await body(single(library())), {});
    const batch = [
      { channel: 'integration', name: 'event', data: 'test' },
      { channel: 'integration2', name: 'event2', data: 'test2' },
    ];
    assert.deepEqual(await body(library().triggerBatch(batch)), {});
  });

  test('channels, and a refusal', { timeout: 30_000 }, async () => {
    assert.deepEqual((await body(library().get({ path: '/channels' }))).channels, {});
    assert.equal((await body(library().get({ path: '/channels/CHANNEL' }))).occupied, false);
    await assert.rejects(library().get({ path: '/channels/CHANNEL/users' }), (error) => {
      assert.ok(error instanceof PusherServer.RequestError);
      assert.deepEqual([error.message, error.status], ['Unexpected status code 400', 400]);
      return true;
    });
  });

  test('the same through a proxy', { timeout: 30_000 }, async () => {
    const proxy = await tunnelling();
    const pusher = library({ agent: through(proxy) });
    assert.deepEqual((await body(pusher.get({ path: '/channels' }))).channels, {});
    assert.equal(proxy.requests, 1);
    assert.deepEqual(await body(single(pusher)), {});
    assert.equal(proxy.requests, 2);
    proxy.close();
  });
});

describe('libraries for Python', () => {
  let driver;
  before(async () => {
    driver = new Driver('pusher');
    const { id: app_id, key, secret } = APP;
    const app = { app_id, key, secret, host: address.hostname, port: Number(address.port) };
    await driver.ask({ do: 'begin', app });
  });
  after(() => driver.close());

  const call = async (method, ...args) =>
    (await driver.ask({ do: 'call', method, arguments: args })).answer;

  const subscribers = async (channel) =>
    (await call('channel_info', channel, ['subscription_count'])).subscription_count ?? 0;

  /** A client with every event that it was told of, connected. */
  async function client(user) {
    const events = [];
    const named = (name) => events.filter(({ event }) => event === name).map(({ data }) => data);
    const name = driver.name((said) => events.push(said));
    const ask = (what, more) => driver.ask({ do: what, client: name, ...more });
    await ask('connect', { user });
    await until('it is connected', () => named('connected').length === 1);
    // The answer may come before the client has a channel to give it to, so the server is asked.
    const subscribe = async (channel, ...events) => {
      const count = await subscribers(channel);
      await ask('subscribe', { channel, events });
      await until('it is subscribed', async () => (await subscribers(channel)) === count + 1);
    };
    return { ask, named, subscribe };
  }

  test('the server library: every call', { timeout: 60_000 }, async () => {
    const alice = await client('alice');
    await alice.subscribe('presence-python');
    await alice.subscribe('python', 'x', 'y', 'z');
    assert.deepEqual(await call('trigger', ['python', 'presence-python'], 'x', { n: 1 }), {});
    const batch = ['y', 'z'].map((name) => ({ channel: 'python', name, data: { name } }));
    assert.deepEqual(await call('trigger_batch', batch), {});
    await until('all have come', () => alice.named('z').length === 1);
    assert.deepEqual(
      ['x', 'y', 'z'].map((name) => JSON.parse(alice.named(name)[0])),
      [{ n: 1 }, { name: 'y' }, { name: 'z' }],
    );
    const { socket_id } = alice.named('connected')[0];
    await call('trigger', 'python', 'y', 'to the others', socket_id);
    await always('nothing comes', QUIET_MS, () => alice.named('y').length === 1);
    assert.deepEqual(await call('channels_info', 'presence-', ['user_count']), {
      channels: { 'presence-python': { user_count: 1 } },
    });
    assert.deepEqual(await call('channel_info', 'python', ['subscription_count']), {
      occupied: true,
      subscription_count: 1,
    });
    assert.deepEqual(await call('users_info', 'presence-python'), { users: [{ id: 'alice' }] });
    assert.deepEqual(await call('terminate_user_connections', 'nobody-at-all'), {});
    await assert.rejects(call('users_info', 'python'), /^Error: PusherBadRequest: /);
    await alice.ask('disconnect');
    await until('she is gone', async () => !(await call('channel_info', 'presence-python')).occupied);
  });

  test('pysher: private channels, and events to each other', { timeout: 60_000 }, async () => {
    const [alice, bob] = [await client('alice'), await client('bob')];
    for (const one of [alice, bob]) await one.subscribe('private-python', 'client-wave');
    await alice.ask('trigger', { channel: 'private-python', event: 'client-wave', data: { of: 'alice' } });
    await until('it has come', () => bob.named('client-wave').length === 1);
    assert.deepEqual(bob.named('client-wave'), [{ of: 'alice' }]);
    assert.deepEqual(alice.named('client-wave'), []);
    for (const one of [alice, bob]) await one.ask('disconnect');
  });

  test('pysher: comes back when the server was killed', { timeout: 60_000 }, async () => {
    const alice = await client('alice');
    await alice.subscribe('python', 'x');
    await server.restart('SIGKILL');
    await until('it is connected again', () => alice.named('connected').length === 2);
    await until('it is subscribed again', async () => (await subscribers('python')) === 1);
    await call('trigger', 'python', 'x', 'after');
    await until('it has come', () => alice.named('x').length === 1);
    await alice.ask('disconnect');
  });
});

// The clients of Bayeux that others wrote, as their projects publish them, without a change: those of CometD
// and Faye for Node, CometD's for Java and aiocometd for Python. By every transport that they have, over a
// crash of the server and from one node to another.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { CometClient, DrivenClient, FayeClient } from './support/bayeux.js';
import { Driver } from './support/driver.js';
import { Front } from './support/front.js';
import { freePort } from './support/port.js';
import { Server } from './support/server.js';
import { always, until } from './support/until.js';

const SWITCHED_ON = { ENCKE_DIALECTS_BAYEUX: 'true' };
/** Long enough for what must not come. */
const QUIET_MS = 500;
/** How often the server writes a session down because its client has received something. */
const JOURNAL_EVERY_MS = 5_000;

const publish = async (server, channel, data) =>
  (await server.api('POST', '/api/publish', { channel, data })).with(202);
const numbers = (n, from = 0) => Array.from({ length: n }, (_, k) => from + k);
/** What was received, each once, in the order of its first arrival. */
const once = (data) => [...new Set(data)];

/** Programs of other languages, which all tests share. */
const drivers = { cometd: new Driver('cometd'), aiocometd: new Driver('aiocometd') };
after(() => Promise.all(Object.values(drivers).map((driver) => driver.close())));

const comet = (transport) => ({
  transport,
  open: (url, options) => new CometClient(url, { websocket: transport === 'websocket', ...options }).open(),
  acknowledges: true,
});
const faye = (transport) => ({
  transport,
  open: async (url, options) => new FayeClient(url, { transport, ...options }),
  acknowledges: false,
});
const driven = (name, transport) => ({
  transport,
  open: (url, options) => new DrivenClient(drivers[name]).open(url, { transport, ...options }),
  acknowledges: true,
});

const KINDS = {
  'CometD by long-polling': comet('long-polling'),
  'CometD over WebSocket': comet('websocket'),
  'CometD for Java by long-polling': driven('cometd', 'long-polling'),
  'CometD for Java over WebSocket': driven('cometd', 'websocket'),
  'aiocometd by long-polling': driven('aiocometd', 'long-polling'),
  'aiocometd over WebSocket': driven('aiocometd', 'websocket'),
  'Faye over WebSocket': faye('websocket'),
  'Faye by long-polling': faye('long-polling'),
};
/** Those whose messages are acknowledged. */
const ACKNOWLEDGING = Object.keys(KINDS).filter((kind) => KINDS[kind].acknowledges);

describe('clients of CometD and Faye', () => {
  let server;
  before(async () => void (server = await Server.start({ engine: 'memory', env: SWITCHED_ON })));
  after(() => server.stop());

  for (const [kind, { open, transport }] of Object.entries(KINDS)) {
    test(`${kind}: messages both ways, patterns, the end`, { timeout: 60_000 }, async () => {
      const { token } = await server.login(`user of ${kind}`);
      const client = await open(server.url, { token });
      const room = `/room${kind.replace(/\W/g, '')}`;
      await client.subscribe(`${room}/*`);
      assert.equal(client.transport, transport);
      await until('it is online', () => server.isOnline(`user of ${kind}`));
      for (const n of numbers(10)) await publish(server, `${room}/${n}`, { n });
      await client.publish(`${room}/own`, 'own');
      await publish(server, `${room}/deep/1`, 'too deep');
      await publish(server, `${room}/last`, 'last');
      await until('all have come', () => client.data.includes('last'));
      assert.deepEqual(client.data, [...numbers(10).map((n) => ({ n })), 'own', 'last']);
      const reader = await server.login('reader');
      const { messages } = await reader.look({ cursor: 'earliest', channels: `${room}/own` });
      assert.deepEqual(messages.map(({ data, from }) => [data, from]), [['own', `user of ${kind}`]]);
      await client.unsubscribe(`${room}/*`);
      const count = client.received.length;
      await publish(server, `${room}/1`, 'after the end');
      await always('nothing comes any more', QUIET_MS, () => client.received.length === count);
      await client.close();
      await until('it is offline', async () => !(await server.isOnline(`user of ${kind}`)));
    });
  }

  test('CometD: batches, services, pushes, what is refused', { timeout: 60_000 }, async () => {
    const alice = await server.login('alice');
    const client = await new CometClient(server.url, { token: alice.token }).open();
    const backend = await server.login('backend');
    const first = await backend.look({ channels: '/service/sum' });
    await client.subscribe('/a');
    await client.subscribe('/a');
    client.batch((cometd) => numbers(20).forEach((n) => cometd.publish('/a', n)));
    await until('all have come', () => client.data.length >= 40);
    assert.deepEqual(once(client.data), numbers(20), 'in order; to both listeners');
    const answer = client.remoteCall('sum', [1, 2]);
    const { messages } = await backend.take(1, { session: first.session, cursor: first.cursor });
    const [{ from, data: { id, data } }] = messages;
    assert.deepEqual([from, data], ['alice', [1, 2]]);
    await server.push({ to: [from], data: { channel: '/service/sum', id, data: 3 } });
    assert.equal((await answer).data, 3);
    const pushed = [];
    client.on('/service/push', (message) => pushed.push(message.data.url));
    await server.push({ to: ['alice'], url: 'http://example.com/page' });
    await until('the push has come', () => pushed.length === 1);
    assert.deepEqual(pushed, ['http://example.com/page']);
    const invalid = ({ reply }) => reply.error === '403::subscription_invalid';
    await assert.rejects(client.subscribe('/a/*/b'), invalid);
    await client.close();
  });

  test('CometD: a session that is over is begun anew by itself', { timeout: 60_000 }, async () => {
    const client = await new CometClient(server.url, {}).open();
    const { clientId } = client;
    const [{ session }] = (await server.sessions()).filter((one) => one.session === clientId);
    (await server.api('POST', '/api/close', { session, reconnect: true })).with(200);
    await until('it has shaken hands again', () => client.handshakes === 2);
    assert.notEqual(client.clientId, clientId);
    await client.close();
  });
});

/** Publishes until told to stop, and again what was not accepted; gives how many there are. */
function publishing(servers, channel) {
  let goes = true;
  const all = (async () => {
    let n = 0;
    for (; goes; n++) {
      await until(`${n} is accepted`, async () => {
        for (const server of servers) {
          try {
            await server.api('POST', '/api/publish', { channel, data: n, id: `${channel} ${n}` });
            return true;
          } catch {}
        }
        return false;
      });
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    return n;
  })();
  return async () => ((goes = false), all);
}

describe('a server that is killed', () => {
  for (const kind of Object.keys(KINDS)) {
    test(`${kind}: nothing is lost`, { timeout: 120_000 }, async () => {
      const server = await Server.start({ engine: 'log', env: SWITCHED_ON });
      const { token } = await server.login('alice');
      const client = await KINDS[kind].open(server.url, { token });
      await client.subscribe('/news/*');
      const stop = publishing([server], '/news/today');
      for (const seen of [20, 60]) {
        await until('messages come', () => once(client.data).length > seen);
        await server.restart('SIGKILL');
      }
      await until('messages come again', () => once(client.data).length > 100);
      const count = await stop();
      await until('the last has come', () => once(client.data).length >= count);
      if (KINDS[kind].acknowledges) {
        assert.deepEqual(once(client.data), numbers(count), 'each, and in order');
        assert.equal(client.handshakes, 1, 'the session went on');
      }
      await client.close();
      await server.stop();
    });
  }
});

test('what was acknowledged before does not come again after a crash', { timeout: 120_000 }, async () => {
  const server = await Server.start({ engine: 'log', env: SWITCHED_ON });
  const { token } = await server.login('alice');
  const client = await new CometClient(server.url, { token }).open();
  await client.subscribe('/news/*');
  for (const n of numbers(10)) await publish(server, '/news/first', n);
  await until('all have come', () => client.data.length === 10);
  // What is written down no client sees.
  const { channels } = (await server.api('GET', '/api/channels?limit=1000')).with(200);
  assert.deepEqual(channels.filter(({ channel }) => channel.includes('session')), []);
  let crashes = 0;
  await until('nothing comes again', async () => {
    // How far a session has come is written down every five seconds, when a connect comes. Nothing tells when
    // that was done, so a crash may come too early, and another follows.
    const began = performance.now();
    await until('it was written down', async () => {
      await publish(server, '/news/more', 'more');
      return performance.now() - began > JOURNAL_EVERY_MS;
    });
    await publish(server, '/news/more', 'the last');
    await until('all have come', () => client.data.at(-1) === 'the last');
    const seen = client.data.length;
    await server.restart('SIGKILL');
    const last = `after crash ${++crashes}`;
    await publish(server, '/news/last', last);
    await until('it goes on', () => client.data.includes(last));
    return !client.data.slice(seen).some((data) => typeof data === 'number');
  }, 60_000);
  assert.equal(client.handshakes, 1);
  await client.close();
  await server.stop();
});

describe('two nodes', () => {
  for (const kind of ACKNOWLEDGING.filter((kind) => kind.startsWith('CometD'))) {
    test(`${kind}: a client goes to another node, and nothing is lost`, { timeout: 120_000 }, async () => {
      const env = { ...SWITCHED_ON, ENCKE_SESSION_GRACE_S: '5' };
      const server = await Server.start({ cluster: 'redis', env });
      const nodes = [server.node(0), server.node(1)];
      const ports = nodes.map(({ url }) => Number(new URL(url).port));
      // Each client stays with one node as long as that is there.
      let wanted = [ports[0]];
      const front = new Front(() => wanted);
      const port = await freePort();
      await front.listen(port);
      const { token } = await server.login('alice');
      const client = await KINDS[kind].open(`http://127.0.0.1:${port}`, { token });
      await client.subscribe('/news/*');
      const stop = publishing(nodes, '/news/today');
      await until('messages come', () => once(client.data).length > 20);
      wanted = [ports[1]];
      await server.killNode(0);
      await until('messages come from the other node', () => once(client.data).length > 60);
      await server.startNode(0);
      const count = await stop();
      await until('the last has come', () => once(client.data).length >= count);
      assert.deepEqual(once(client.data), numbers(count), 'each, and in order');
      assert.equal(client.handshakes, 1, 'the session went on');
      await client.close();
      await front.close();
      await server.stop();
    });
  }

  test('each request to the next node: over WebSocket nothing is lost', { timeout: 60_000 }, async () => {
    const server = await Server.start({ cluster: 'redis', env: SWITCHED_ON });
    const { token } = await server.login('alice');
    const client = await KINDS['CometD over WebSocket'].open(server.url, { token });
    await client.subscribe('/news/*');
    for (const n of numbers(50)) await publish(server, '/news/today', n);
    await until('all have come', () => client.data.length === 50);
    assert.deepEqual([client.data, client.handshakes], [numbers(50), 1]);
    await client.close();
    await server.stop();
  });

  const polling = Object.entries(KINDS).filter(([, { transport }]) => transport === 'long-polling');
  const withoutAck = (url, options) => comet('long-polling').open(url, { ...options, ack: false });
  for (const [kind, { open }] of [...polling, ['CometD without ack', { open: withoutAck }]]) {
    test(`each request to the next node, ${kind}: each message once`, { timeout: 60_000 }, async () => {
      const server = await Server.start({ cluster: 'redis', env: SWITCHED_ON });
      const { token } = await server.login('alice');
      const client = await open(server.url, { token });
      for (const room of ['/news', '/sport']) await client.subscribe(`${room}/*`);
      const stops = ['/news/today', '/sport/today'].map((channel) => publishing([server], channel));
      for (const n of numbers(20)) await client.publish('/news/own', `own ${n}`);
      await until('messages come', () => client.data.length > 200);
      const counts = await Promise.all(stops.map((stop) => stop()));
      const isOf = (channel) => (one) => one.channel === channel;
      const of = (channel) => client.received.filter(isOf(channel)).map(({ data }) => data);
      const all = [
        ['/news/today', numbers(counts[0])],
        ['/sport/today', numbers(counts[1])],
        ['/news/own', numbers(20).map((n) => `own ${n}`)],
      ];
      await until('all have come', () => all.every(([channel, data]) => of(channel).length >= data.length));
      await client.unsubscribe('/sport/*');
      await publish(server, '/sport/today', 'after the end');
      await publish(server, '/news/last', 'last');
      await until('it goes on', () => client.data.includes('last'));
      for (const [channel, data] of all) assert.deepEqual(of(channel), data, 'each once, and in order');
      assert.deepEqual(of('/news/last'), ['last']);
      if ('handshakes' in client) assert.equal(client.handshakes, 1, 'it is one session');
      await client.close();
      await until('it is offline', async () => !(await server.isOnline('alice')));
      await server.stop();
    });
  }

  test('each request to the next node, and one is killed: nothing is lost', { timeout: 60_000 }, async () => {
    const server = await Server.start({ cluster: 'redis', env: SWITCHED_ON });
    const { token } = await server.login('alice');
    const client = await KINDS['CometD by long-polling'].open(server.url, { token });
    await client.subscribe('/news/*');
    const stop = publishing([server], '/news/today');
    for (const node of [0, 1]) {
      const seen = once(client.data).length;
      await until('messages come', () => once(client.data).length > seen + 30);
      await server.killNode(node);
      const left = once(client.data).length;
      await until('messages come from the other node', () => once(client.data).length > left + 30);
      await server.startNode(node);
    }
    const count = await stop();
    await until('the last has come', () => once(client.data).length >= count);
    assert.deepEqual(once(client.data), numbers(count), 'each, and in order');
    assert.equal(client.handshakes, 1, 'it is one session');
    await client.close();
    await server.stop();
  });
});

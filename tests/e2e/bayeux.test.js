// The clients of CometD and Faye, as their projects publish them, without a change: by every transport that
// they have in Node, over a crash of the server and from one node to another.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { CometClient, FayeClient } from './support/bayeux.js';
import { Front } from './support/front.js';
import { freePort } from './support/port.js';
import { Server } from './support/server.js';
import { always, until } from './support/until.js';

const SWITCHED_ON = { ENCKE_DIALECTS_BAYEUX: 'true' };
/** Long enough for what must not come. */
const QUIET_MS = 500;

const publish = async (server, channel, data) =>
  (await server.api('POST', '/api/publish', { channel, data })).with(202);
const numbers = (n, from = 0) => Array.from({ length: n }, (_, k) => from + k);
/** What was received, each once, in the order of its first arrival. */
const once = (data) => [...new Set(data)];

const KINDS = {
  'CometD by long-polling': (url, options) => new CometClient(url, options).open(),
  'CometD over WebSocket': (url, options) => new CometClient(url, { websocket: true, ...options }).open(),
  'Faye over WebSocket': async (url, options) => new FayeClient(url, options),
  'Faye by long-polling': async (url, options) =>
    new FayeClient(url, { transport: 'long-polling', ...options }),
};
const TRANSPORTS = {
  'CometD by long-polling': 'long-polling',
  'CometD over WebSocket': 'websocket',
  'Faye over WebSocket': 'websocket',
  'Faye by long-polling': 'long-polling',
};

describe('clients of CometD and Faye', () => {
  let server;
  before(async () => void (server = await Server.start({ engine: 'memory', env: SWITCHED_ON })));
  after(() => server.stop());

  for (const [kind, open] of Object.entries(KINDS)) {
    test(`${kind}: messages both ways, patterns, the end`, { timeout: 60_000 }, async () => {
      const { token } = await server.login(`user of ${kind}`);
      const client = await open(server.url, { token });
      const room = `/room${kind.replace(/\W/g, '')}`;
      await client.subscribe(`${room}/*`);
      assert.equal(client.transport, TRANSPORTS[kind]);
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

/** Those whose messages are acknowledged. */
const ACKNOWLEDGING = Object.keys(KINDS).filter((kind) => kind.startsWith('CometD'));

describe('a server that is killed', () => {
  for (const kind of Object.keys(KINDS)) {
    test(`${kind}: nothing is lost`, { timeout: 120_000 }, async () => {
      const server = await Server.start({ engine: 'log', env: SWITCHED_ON });
      const { token } = await server.login('alice');
      const client = await KINDS[kind](server.url, { token });
      await client.subscribe('/news/*');
      const stop = publishing([server], '/news/today');
      for (const seen of [20, 60]) {
        await until('messages come', () => once(client.data).length > seen);
        await server.restart('SIGKILL');
      }
      await until('messages come again', () => once(client.data).length > 100);
      const count = await stop();
      await until('the last has come', () => once(client.data).length >= count);
      if (ACKNOWLEDGING.includes(kind)) {
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
  // How far a session has come is written down once in a while, when a connect comes.
  await until('that is written down', async () => {
    await publish(server, '/news/more', 'more');
    const { channels } = (await server.api('GET', '/api/channels?limit=1000')).with(200);
    return channels.some(({ channel, head }) => channel.startsWith('bayeux-session:') && head >= 2);
  });
  await server.restart('SIGKILL');
  await publish(server, '/news/last', 'last');
  await until('it goes on', () => client.data.includes('last'));
  assert.deepEqual(client.data.filter((data) => typeof data === 'number'), numbers(10));
  assert.equal(client.handshakes, 1);
  await client.close();
  await until('nothing is left of it', async () => {
    const { channels } = (await server.api('GET', '/api/channels?limit=1000')).with(200);
    return !channels.some(({ channel, head, tail }) => channel.startsWith('bayeux-session:') && tail <= head);
  });
  await server.stop();
});

describe('two nodes', () => {
  for (const kind of ACKNOWLEDGING) {
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
      const client = await KINDS[kind](`http://127.0.0.1:${port}`, { token });
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
});

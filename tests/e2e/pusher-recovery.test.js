// What pusher-js has missed comes when it is back: a network that is gone for 20 s, a server that is
// restarted, a client that goes to another node. The client is as its project publishes it, in a browser and
// in Node; nothing is lost or out of order, and what comes twice is only what was not acknowledged yet.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';

import { launch } from './support/browser.js';
import { APP, backend, client, named, settings, subscribed } from './support/pusher.js';
import { Relay } from './support/relay.js';
import { Server } from './support/server.js';
import { until } from './support/until.js';

const AWAY_MS = 20_000;
const EVERY_MS = 20;
/** How long pusher-js may take to be back over HTTP: it waits for answers that will not come. */
const BACK_MS = 60_000;
const resolve = createRequire(import.meta.url).resolve;
const PUSHER = readFileSync(path.join(path.dirname(resolve('pusher-js/package.json')), 'dist/web/pusher.js'));
const PAGE = `<!doctype html><meta charset="utf-8"><title>Pusher</title><script src="/pusher.js"></script>
<script>
  window.received = [];
  window.connections = 0;
  window.openAt = (port) => new Promise((done) => {
    const pusher = (window.pusher = new Pusher('${APP.key}', {
      cluster: 'any', wsHost: '127.0.0.1', wsPort: port, forceTLS: false, enableStats: false,
      enabledTransports: ['ws'],
    }));
    pusher.connection.bind('connected', () => (window.connections += 1));
    const channel = pusher.subscribe('news');
    channel.bind('number', (n) => window.received.push(n));
    channel.bind('pusher:subscription_succeeded', done);
  });
</script>`;

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** How many numbers have to come before a server is stopped: each takes at least `EVERY_MS`. */
const SETTLED = 75;
/** Publishes numbers, one after the other, until it is stopped; how many then. */
const numbers = (app, channel) => {
  let [goesOn, n] = [true, 0];
  const done = (async () => {
    for (; goesOn; n += 1) {
      // What a server that stops did not take is published again.
      for (;;) {
        const answer = await app().trigger(channel, 'number', n).catch(() => undefined);
        if (answer?.status === 200) break;
        await sleep(EVERY_MS);
      }
      await sleep(EVERY_MS);
    }
    return n;
  })();
  const stop = () => {
    goesOn = false;
    return done;
  };
  // So many that are published from now on have come: its client is subscribed, and where it stands is
  // written, which takes a tenth of a second and two appends behind that.
  stop.settled = async (received) => {
    const last = n + SETTLED;
    await until('it goes on', async () => (await received()).includes(last));
  };
  return stop;
};
/**
 * All have come, in order, but for what came last before each time that the server was killed, or the network
 * reset before the client's kernel had acknowledged what it had handed on already: twice.
 */
const atLeastOnce = (received, count, breaks) => {
  assert.deepEqual([...new Set(received)], upTo(count));
  const back = received.filter((n, index) => index > 0 && n !== received[index - 1] + 1);
  // What a killed server took and did not answer was published again besides.
  assert.ok(back.length <= 2 * breaks, `${received}`);
};
const upTo = (count) => Array.from({ length: count }, (_, n) => n);

describe('what pusher-js has missed comes when it is back', () => {
  let site, origin, browser;
  before(async () => {
    site = http.createServer((request, response) => {
      const isScript = request.url === '/pusher.js';
      const type = isScript ? 'text/javascript' : 'text/html';
      response.writeHead(200, { 'content-type': `${type}; charset=utf-8` }).end(isScript ? PUSHER : PAGE);
    });
    await new Promise((done) => site.listen(0, '127.0.0.1', done));
    origin = `http://127.0.0.1:${site.address().port}`;
    browser = await launch();
  });
  after(async () => {
    await browser?.close();
    site.closeAllConnections();
    site.close();
  });

  const open = async (t, relay) => {
    const context = await browser.newContext();
    t.after(() => context.close());
    const page = await context.newPage();
    await page.goto(`${origin}/`);
    await page.evaluate((port) => window.openAt(port), relay.port);
    const has = (name) => page.evaluate((of) => window[of], name);
    const isBack = (count) => until('it is back', async () => (await has('connections')) >= count);
    const hasAll = async (count) => {
      await until('all have come', async () => (await has('received')).length >= count);
      assert.deepEqual(await has('received'), upTo(count));
    };
    const hasAllAtLeastOnce = async (count, breaks) => {
      await until('all have come', async () => (await has('received')).includes(count - 1));
      atLeastOnce(await has('received'), count, breaks);
    };
    return { context, has, isBack, hasAll, hasAllAtLeastOnce };
  };

  test('in a tab that was offline for 20 s', { timeout: 120_000 }, async (t) => {
    const server = await Server.start({ engine: 'memory', env: settings() });
    t.after(() => server.stop());
    const relay = await Relay.to(server.port);
    t.after(() => relay.close());
    const tabs = [await open(t, relay), await open(t, relay)];
    const app = backend(server);
    for (const { context } of tabs) await context.setOffline(true);
    relay.cut();
    // What a relay or a browser's kernel has acknowledged when the network goes is theirs to hand on, which
    // no server can know; so nothing is on its way then.
    const stop = numbers(() => app, 'news');
    await sleep(AWAY_MS);
    relay.target = server.port;
    for (const { context } of tabs) await context.setOffline(false);
    for (const { isBack } of tabs) await isBack(2);
    const count = await stop();
    assert.ok(count > 100, `${count}`);
    for (const { hasAllAtLeastOnce } of tabs) await hasAllAtLeastOnce(count, 1);
  });

  test('in a tab whose server is restarted', { timeout: 120_000 }, async (t) => {
    const server = await Server.start({ engine: 'log', env: settings() });
    t.after(() => server.stop());
    const relay = await Relay.to(server.port);
    t.after(() => relay.close());
    const { has, isBack, hasAll } = await open(t, relay);
    const stop = numbers(() => backend(server), 'news');
    for (const connections of [2, 3]) {
      await stop.settled(() => has('received'));
      await server.restart('SIGTERM');
      await isBack(connections);
    }
    await hasAll(await stop());
  });

  test('in a tab whose server is killed', { timeout: 120_000 }, async (t) => {
    const server = await Server.start({ engine: 'log', env: settings() });
    t.after(() => server.stop());
    const { has, isBack, hasAllAtLeastOnce } = await open(t, server);
    const stop = numbers(() => backend(server), 'news');
    for (const connections of [2, 3]) {
      await stop.settled(() => has('received'));
      await server.restart('SIGKILL');
      await isBack(connections);
    }
    await hasAllAtLeastOnce(await stop(), 2);
  });

  for (const transport of ['xhr_polling', 'xhr_streaming'])
    test(`in Node by ${transport}, for a user who is known`, { timeout: 120_000 }, async (t) => {
      const server = await Server.start({ engine: 'log', env: settings() });
      t.after(() => server.stop());
      const relay = await Relay.to(server.port);
      t.after(() => relay.close());
      const pusher = await client(relay, { user: 'alice', transport });
      t.after(() => pusher.disconnect());
      const room = await subscribed(pusher, 'presence-room');
      const received = () => named(room, 'number').map(([, n]) => n);
      const app = backend(server);
      const publish = async (from, to) => {
        for (let n = from; n < to; n += 1) await app.trigger('presence-room', 'number', n);
      };
      await publish(0, 5);
      await until('all have come', () => received().length === 5);
      let connections = 0;
      pusher.connection.bind('connected', () => (connections += 1));
      relay.cut();
      relay.target = server.port;
      await publish(5, 10);
      await until('it is back', () => connections > 0, BACK_MS);
      await until('all have come', () => received().includes(9));
      // Whether the last answer had come nothing says before the next request.
      atLeastOnce(received(), 10, 1);
      pusher.disconnect();
      await server.restart('SIGTERM');
      const { channels } = (await server.api('GET', '/api/channels?prefix=pusher:1:%23')).with(200);
      assert.deepEqual(channels, [], 'what was said to a connection is gone with it');
      const { users } = (await server.api('GET', '/api/users?prefix=pusher:1:')).with(200);
      assert.deepEqual(users, []);
    });

  for (const signal of ['SIGTERM', 'SIGKILL'])
    test(`in a tab and in Node that go from node to node by ${signal}`, { timeout: 180_000 }, async (t) => {
      const server = await Server.start({ cluster: 'redis', env: settings() });
      t.after(() => server.stop());
      const nodes = [server.node(0), server.node(1)];
      const ports = nodes.map((node) => Number(new URL(node.url).port));
      const relay = await Relay.to(ports[0]);
      t.after(() => relay.close());
      const { has, isBack, hasAllAtLeastOnce } = await open(t, relay);
      const pusher = await client(relay, { user: 'alice' });
      t.after(() => pusher.disconnect());
      const room = await subscribed(pusher, 'presence-room');
      let living = 1;
      const stops = ['news', 'presence-room'].map((name) => numbers(() => backend(nodes[living]), name));
      const received = () => named(room, 'number').map(([, n]) => n);
      for (const round of [0, 1, 2]) {
        await stops[0].settled(() => has('received'));
        await stops[1].settled(received);
        const gone = round % 2;
        living = 1 - gone;
        // The next connection goes to the other node, while this one stops.
        relay.target = ports[living];
        await server.killNode(gone, signal);
        await isBack(round + 2);
        await until('it is back', () => pusher.connection.state === 'connected');
        await server.startNode(gone);
      }
      const [news, inRoom] = [await stops[0](), await stops[1]()];
      const kills = signal === 'SIGKILL' ? 3 : 0;
      await hasAllAtLeastOnce(news, kills);
      await until('all have come', () => received().includes(inRoom - 1));
      atLeastOnce(received(), inRoom, kills);
    });
});

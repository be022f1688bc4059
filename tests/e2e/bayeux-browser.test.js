// The clients of CometD and Faye in a real browser: by all of their transports, from the server's own origin
// and from another one. Chromium lets a page that was put in the place of the server's own open no WebSocket,
// so that is tried from another origin alone.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import http from 'node:http';
import { createRequire } from 'node:module';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';

import { CometClient } from './support/bayeux.js';
import { launch } from './support/browser.js';
import { Front } from './support/front.js';
import { freePort } from './support/port.js';
import { temporaryDirectory } from './support/program.js';
import { Server } from './support/server.js';
import { until } from './support/until.js';

const resolve = createRequire(import.meta.url).resolve;
const COMETD = path.dirname(resolve('cometd/package.json'));
const FAYE = path.join(path.dirname(resolve('faye/package.json')), 'client', 'faye-browser.js');

const PAGE = `<!doctype html><meta charset="utf-8"><title>Bayeux</title>
<script src="/pages/faye.js"></script>
<script type="module">
  import { AckExtension, CometD } from '/pages/cometd/cometd.js';
  window.received = [];
  window.viaCometd = (url, transport, token, ack) => new Promise((resolve, reject) => {
    const client = (window.client = new CometD());
    client.configure({ url, logLevel: 'error' });
    for (const type of client.getTransportTypes()) if (type !== transport) client.unregisterTransport(type);
    if (ack) client.registerExtension('ack', new AckExtension());
    client.addListener('/meta/handshake', ({ successful }) => successful && client.batch(() =>
      client.subscribe('/room/*', ({ data }) => window.received.push(data),
        (reply) => reply.successful ? resolve(client.getTransport().type) : reject(new Error(reply.error)))));
    client.handshake({ ext: { token } });
    window.publish = (data) => client.publish('/room/1', data);
  });
  window.viaFaye = async (url, transport, token, channels = ['/room/*']) => {
    const client = new Faye.Client(url, { retry: 1 });
    const all = ['websocket', 'eventsource', 'long-polling', 'cross-origin-long-polling'];
    for (const other of all) if (other !== transport) client.disable(other);
    client.addExtension({ outgoing: (message, callback) => callback(
      message.channel === '/meta/handshake' ? { ...message, ext: { token } } : message) });
    for (const channel of channels) await client.subscribe(channel, (data) => window.received.push(data));
    window.publish = (data) => client.publish('/room/1', data);
    return client._dispatcher.connectionType;
  };
  window.isReady = true;
</script>`;

/** What a page asks for below `/pages/`. */
function file(name) {
  if (name === '/pages/faye.js') return ['text/javascript', readFileSync(FAYE)];
  const module = /^\/pages\/cometd\/(\w+\.js)$/.exec(name);
  if (module) return ['text/javascript', readFileSync(path.join(COMETD, module[1]))];
  return ['text/html', PAGE];
}

describe('clients of CometD and Faye in a browser', () => {
  let server, site, browser, other;
  before(async () => {
    const port = await freePort();
    other = `http://127.0.0.1:${port}`;
    site = http.createServer((request, response) => {
      const [type, body] = file(request.url);
      response.writeHead(200, { 'content-type': `${type}; charset=utf-8` }).end(body);
    });
    await new Promise((done) => site.listen(port, '127.0.0.1', done));
    server = await Server.start({
      engine: 'memory',
      env: { ENCKE_DIALECTS_BAYEUX: 'true', ENCKE_ALLOWED_ORIGINS: other },
    });
    browser = await launch();
  });
  after(async () => {
    await browser?.close();
    await server.stop();
    site.closeAllConnections();
    site.close();
  });

  async function open(t, isForeign, url = server.url) {
    const context = await browser.newContext();
    t.after(() => context.close());
    const page = await context.newPage();
    const errors = [];
    page.on('pageerror', (error) => errors.push(String(error)));
    await page.route(`${url}/pages/**`, (route) => {
      const [type, body] = file(new URL(route.request().url()).pathname);
      return route.fulfill({ status: 200, contentType: `${type}; charset=utf-8`, body });
    });
    await page.goto(`${isForeign ? other : url}/pages/`);
    await page.waitForFunction(() => window.isReady);
    return { page, errors };
  }

  const publish = async (data, channel = '/room/7', to = server) =>
    (await to.api('POST', '/api/publish', { channel, data })).with(202);

  for (const [client, transport, isForeign, ack] of [
    ['viaCometd', 'websocket', true, true],
    ['viaCometd', 'long-polling', false, true],
    ['viaCometd', 'long-polling', true, true],
    ['viaCometd', 'callback-polling', true, false],
    ['viaFaye', 'websocket', true],
    ['viaFaye', 'eventsource', false],
    ['viaFaye', 'long-polling', false],
    ['viaFaye', 'cross-origin-long-polling', true],
    ['viaFaye', 'callback-polling', true],
  ]) {
    const where = isForeign ? 'another origin' : 'the same origin';
    test(`${client}, ${transport}, from ${where}`, { timeout: 60_000 }, async (t) => {
      const { token } = await server.login(`${client} ${transport} ${isForeign}`);
      const { page, errors } = await open(t, isForeign);
      const url = `${server.url}/${client === 'viaFaye' ? 'bayeux' : 'cometd'}`;
      const used = await page.evaluate(
        ([client, ...rest]) => window[client](...rest), [client, url, transport, token, ack],
      );
      assert.equal(used, transport);
      for (let n = 0; n < 10; n++) await publish(n);
      await page.evaluate(() => window.publish('line\u2028end'));
      await until('all have come', async () => (await page.evaluate(() => window.received.length)) >= 11);
      const received = await page.evaluate(() => window.received);
      assert.deepEqual(received, [...Array.from({ length: 10 }, (_, n) => n), 'line\u2028end']);
      assert.deepEqual(errors, []);
    });
  }

  test('Faye, eventsource, a place that was taken meanwhile', { timeout: 60_000 }, async (t) => {
    const { dir, remove } = await temporaryDirectory();
    const config = path.join(dir, 'encke.toml');
    const granted = 'subscribe = "users"\npublish = "users"\n';
    const bounded = `[[rules]]\nchannel = "/few"\n${granted}followers_max = 1\n`;
    await writeFile(config, `${bounded}[[rules]]\nchannel = "*"\n${granted}`);
    // So that a stream is as good as its connects say, which come each second.
    const env = { ENCKE_DIALECTS_BAYEUX: 'true', ENCKE_SESSION_GRACE_S: '1', ENCKE_HOLD_S: '1' };
    const bound = await Server.start({ engine: 'memory', env, args: ['--config', config] });
    const port = await freePort();
    const way = async () => {
      const front = new Front(() => [bound.port]);
      await front.listen(port);
      return front;
    };
    let front = await way();
    const url = `http://127.0.0.1:${port}`;
    const { page } = await open(t, false, url);
    const asked = (channel) => {
      const all = [];
      const text = (request) => decodeURIComponent(request.url()) + (request.postData() ?? '');
      page.on('request', (request) => text(request).includes(channel) && all.push(request));
      return all;
    };
    const [handshakes, connects] = [asked('/meta/handshake'), asked('/meta/connect')];
    const { token } = await bound.login('alice');
    const used = await page.evaluate(
      (rest) => window.viaFaye(...rest), [`${url}/bayeux`, 'eventsource', token, ['/few', '/all']],
    );
    assert.equal(used, 'eventsource');
    await until('it is online', () => bound.isOnline('alice'));
    await front.close();
    await until('the hub has let it go', async () => (await bound.sessions('alice')).length === 0);
    const second = new CometClient(bound.url, { token: (await bound.login('bob')).token });
    await second.open();
    await second.subscribe('/few');
    front = await way();
    const received = (data) => page.evaluate((one) => window.received.includes(one), data);
    await until('messages come', async () => {
      await publish('for all', '/all', bound);
      return received('for all');
    });
    const count = connects.length;
    await until('it has asked several times', () => connects.length >= count + 4);
    assert.equal(handshakes.length, 1, 'its session goes on');
    await publish('for few', '/few', bound);
    await until('the other one has it', () => second.data.includes('for few'));
    await publish('the last', '/all', bound);
    await until('it has the last', () => received('the last'));
    assert.ok(!(await received('for few')));
    const streams = (await bound.sessions('alice')).map(({ transport }) => transport);
    assert.deepEqual(streams, ['bayeux-eventsource']);
    await second.close();
    await front.close();
    await bound.stop();
    await remove();
  });
});

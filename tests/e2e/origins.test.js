// The browser client on pages of other origins than the server's: WebSocket, the forever frame, and what
// happens to pages that are not on the list.
import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, test } from 'node:test';

import { launch } from './support/browser.js';
import { Server } from './support/server.js';
import { always, until } from './support/until.js';

const HEARTBEAT_S = 2;
/** Longer than two and a half heartbeats: what was to come has come, or a silence was found out. */
const QUIET_MS = 7000;

/** The two names by which pages of this machine are reached, and such as are not of it, as they say. */
const HERE = ['127.0.0.1', 'localhost'];
const ELSEWHERE = ['stranger.example', 'www.stranger.example'];

/** Serves one page, from an origin of its own; two of them by its two names. */
async function startPages(html = '<!doctype html><title>a page</title>', [address, name] = HERE) {
  const server = http.createServer((request, response) => {
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' });
    response.end(html);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  return {
    byAddress: `http://${address}:${port}`,
    byName: `http://${name}:${port}`,
    stop: () => new Promise((resolve) => (server.closeAllConnections(), server.close(resolve))),
  };
}

let browser;
let pages;
let strangers;
let server;
before(async () => {
  [browser, pages, strangers] = await Promise.all([
    launch(),
    startPages(),
    startPages(undefined, ELSEWHERE),
  ]);
  server = await Server.start({
    env: {
      ENCKE_ALLOWED_ORIGINS: [pages.byAddress, pages.byName].join(','),
      ENCKE_HEARTBEAT_S: String(HEARTBEAT_S),
      ENCKE_SESSION_GRACE_S: '10',
    },
  });
});
after(async () => {
  await browser?.close();
  await server?.stop();
  await Promise.all([pages?.stop(), strangers?.stop()]);
});

const publish = async (channel, data) =>
  (await server.api('POST', '/api/publish', { channel, data })).with(202);

/** A page with a client on it, and what the client has told. */
class Guest {
  dialogs = [];
  errors = [];
  /** The console's words. */
  words = [];
  /** The data connections that were asked for. */
  asked = [];

  /**
   * @param {string} origin
   * @param {string} name the user
   * @param {object} options the client's, besides the address and the token
   */
  static async open(origin, name, options) {
    const guest = await Guest.visit(origin, name);
    await guest.connect(options);
    return guest;
  }

  static async visit(origin, name) {
    const guest = new Guest();
    guest.user = await server.login(name);
    guest.context = await browser.newContext();
    guest.page = await guest.context.newPage();
    guest.page.on('dialog', (dialog) => (guest.dialogs.push(dialog.message()), dialog.dismiss()));
    guest.page.on('pageerror', (error) => guest.errors.push(String(error)));
    guest.page.on('console', (message) => guest.words.push(message.text()));
    guest.page.on(
      'request',
      (request) => /\/v1\/(sse|poll|stream|ws)\?/.test(request.url()) && guest.asked.push(request.url()),
    );
    guest.page.on('websocket', (socket) => guest.asked.push(socket.url()));
    await guest.page.goto(origin);
    return guest;
  }

  connect(options) {
    return this.page.evaluate(async ([url, options]) => {
      const { Encke } = await import(`${url}/client.js`);
      window.client = new Encke({ url, ...options });
      window.told = Object.fromEntries(['message', 'gap', 'open', 'close', 'error', 'state'].map((type) => {
        const all = [];
        client.on(type, (value) => all.push(type === 'error' ? value.code : value));
        return [type, all];
      }));
      client.connect();
    }, [server.url, { token: this.user.token, ...options }]);
  }

  told(type) {
    return this.page.evaluate((type) => told[type], type);
  }

  /** The data of all messages, as text. */
  data() {
    return this.page.evaluate(() => told.message.map(({ data }) => JSON.stringify(data)));
  }

  state(state) {
    return until(`${this.user.name} is ${state}`, () =>
      this.page.evaluate((state) => client.state === state, state),
    );
  }

  has(count) {
    return until(
      `${this.user.name} has ${count} messages`,
      async () => (await this.page.evaluate(() => told.message.length)) >= count,
    );
  }

  close() {
    return this.context.close();
  }
}

for (const transport of ['iframe', 'ws', 'sse', 'poll']) {
  for (const which of ['byAddress', 'byName']) {
    test(`a listed page gets its messages and is asked for nothing twice, ${transport}, ${which === 'byName' ? 'another site' : 'another port'}`, async () => {
      const name = `${transport}-${which}`;
      const guest = await Guest.open(pages[which], name, { transport, channels: [name] });
      await guest.state('open');
      assert.equal((await server.held(name)).transport, transport);
      await server.push({ to: [name], data: 'pushed' });
      await publish(name, 'published');
      await guest.has(2);
      assert.deepEqual(await guest.data(), ['"pushed"', '"published"']);
      // The other way: over the socket itself, or by requests beside the stream.
      const answer = await guest.page.evaluate(async (name) => {
        await client.subscribe([`${name}-more`]);
        const arrived = new Promise((resolve) => client.on('message', resolve));
        const { offset } = await client.publish(`${name}-more`, 'mine');
        // What a channel still has under way when it is left is not handed over.
        await arrived;
        await client.ack();
        await client.unsubscribe([`${name}-more`]);
        return { offset, channels: client.channels };
      }, name);
      assert.deepEqual(answer, { offset: 1, channels: [name] });
      assert.equal((await guest.data()).length, 3);
      if (transport !== 'poll') assert.equal(guest.asked.length, 1, 'one data connection for all of it');
      assert.deepEqual(
        [guest.errors, guest.dialogs, await guest.told('error'), await guest.told('gap')],
        [[], [], [], []],
      );
      assert.equal(await guest.page.evaluate(() => client.close()), true);
      assert.deepEqual(await server.sessions(name), []);
      assert.equal(await guest.page.evaluate(() => document.querySelectorAll('iframe').length), 0);
      await guest.close();
    });
  }
}

test('no token is in any address; a ticket is, and is good once', async () => {
  const guest = await Guest.open(pages.byName, 'tickets', { transport: 'iframe' });
  await guest.state('open');
  const [address] = guest.asked;
  assert.ok(!address.includes(guest.user.token) && !/token|jwt/.test(address), address);
  assert.match(address, /[?&]ticket=[0-9a-f]{32}\b/);
  const again = await server.ask('GET', address.slice(server.url.length));
  again.refused(401, 'unauthorized');
  await guest.close();
});

test('the cookie of a login is enough on the own origin, by WebSocket and by frame', async () => {
  for (const transport of ['ws', 'iframe']) {
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(server.url);
    await page.evaluate(async ([user, transport]) => {
      await fetch('/v1/login', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ user }),
      });
      const { Encke } = await import('/client.js');
      window.got = [];
      const client = new Encke({ transport });
      client.on('message', ({ data }) => got.push(data));
      client.connect();
      await new Promise((resolve) => client.on('open', resolve));
    }, [`cookie-${transport}`, transport]);
    await server.push({ to: [`cookie-${transport}`], data: 'for the cookie' });
    await until('it has come', () => page.evaluate(() => got.includes('for the cookie')));
    await context.close();
  }
});

test('a frame goes on in another when it has become long, without loss or repeat', async () => {
  const guest = await Guest.open(pages.byName, 'long', { transport: 'iframe', channels: ['long'] });
  await guest.state('open');
  const { session } = await server.held('long');
  // Three times what a frame takes, with the scripts around it.
  const [count, bytes] = [800, 1000];
  const filler = '\u20ac</script>'.repeat(bytes / 12).slice(0, bytes);
  for (let n = 1; n <= count; n++) await publish('long', { n, filler });
  await guest.has(count);
  const offsets = await guest.page.evaluate(() => told.message.map(({ offset }) => offset));
  assert.deepEqual(offsets, Array.from({ length: count }, (_, index) => index + 1));
  assert.ok(
    await guest.page.evaluate(
      (filler) => told.message.every(({ data, offset }) => data.n === offset && data.filler === filler),
      filler,
    ),
    'all of it as it was',
  );
  assert.ok(guest.asked.length >= 3, `${guest.asked.length} frames were enough`);
  for (const address of guest.asked.slice(1))
    assert.ok(
      new URL(address).searchParams.get('session') === session && new URL(address).searchParams.has('cursor'),
      address,
    );
  assert.deepEqual(
    [await guest.told('close'), await guest.told('gap'), await guest.told('error'), guest.errors],
    [[], [], [], []],
  );
  assert.equal((await server.sessions('long')).length, 1);
  assert.equal(
    await guest.page.evaluate(() => document.querySelectorAll('iframe').length),
    1,
    'the frames before are gone',
  );
  const frame = guest.page.frames().find((frame) => frame.url().startsWith(server.url));
  assert.ok(await frame.evaluate(() => document.scripts.length) <= 1, 'scripts take themselves away');
  await guest.close();
});

test('data does nothing in a frame but arrive', async () => {
  const guest = await Guest.open(pages.byAddress, 'evil', { transport: 'iframe' });
  await guest.state('open');
  const evil = [
    '</script><script>alert(1)</script>',
    '<!--<script>',
    '-->',
    '</SCRIPT\n>',
    '\u2028alert(2)\u2029',
    '");alert(3);("',
    '\\");alert(4)//',
    '\\u003c/script>\\u003cscript>alert(5)</script>',
    '<img src=x onerror=alert(6)>',
    { '</script>': { '<svg onload=alert(7)>': '\u2028' } },
    { event: 'close', code: 'operator', reason: '', reconnect: false },
  ];
  for (const data of evil) await server.push({ to: ['evil'], data });
  // The same member twice would be a mistake in a script.
  (
    await server.api(
      'POST',
      '/api/push',
      '{"to":["evil"],"data":{"__proto__":{"a":1},"__proto__":{"b":2}}}',
      { 'content-type': 'application/json' },
    )
  ).with(202);
  await guest.has(evil.length + 1);
  assert.deepEqual(await guest.data(), [
    ...evil.map((data) => JSON.stringify(data)),
    '{"__proto__":{"b":2}}',
  ]);
  const frame = guest.page.frames().find((frame) => frame.url().startsWith(server.url));
  assert.equal(await frame.evaluate(() => document.querySelectorAll('img, svg, script').length), 0);
  assert.equal(await guest.page.evaluate(() => ({}).a ?? ({}).b), undefined, 'no prototype was changed');
  assert.deepEqual([guest.dialogs, guest.errors, await guest.told('close')], [[], [], []]);
  await guest.close();
});

test('a frame that falls silent is given up, and another goes on from there', async () => {
  const guest = await Guest.open(pages.byName, 'silent', { transport: 'iframe', channels: ['silent'] });
  await guest.state('open');
  await publish('silent', 1);
  await guest.has(1);
  // Nothing is closed and nothing is answered, as when a network goes away.
  server.program.child.kill('SIGSTOP');
  try {
    await until('the silence is found out', async () => (await guest.told('error')).includes('silent'));
  } finally {
    server.program.child.kill('SIGCONT');
  }
  await guest.state('open');
  await publish('silent', 2);
  await guest.has(2);
  assert.deepEqual(await guest.data(), ['1', '2']);
  assert.deepEqual(await guest.told('gap'), []);
  await guest.close();
});

test('heartbeats keep a quiet frame, and pings a quiet WebSocket', async () => {
  for (const transport of ['iframe', 'ws']) {
    const guest = await Guest.open(pages.byAddress, `quiet-${transport}`, { transport });
    await guest.state('open');
    await always(
      `${transport} goes on`,
      QUIET_MS,
      async () => guest.asked.length === 1 && (await guest.told('error')).length === 0,
    );
    await guest.close();
  }
});

test('a page that is not on the list gets no ticket, no WebSocket and no frame', async () => {
  for (const transport of ['iframe', 'ws']) {
    const guest = await Guest.open(strangers.byName, `stranger-${transport}`, { transport });
    await until('it was refused', async () => (await guest.told('error')).length > 0);
    assert.deepEqual(await guest.told('open'), []);
    assert.deepEqual(await server.sessions(`stranger-${transport}`), []);
    await guest.close();
  }
  // A ticket that another page got does not help it.
  const guest = await Guest.visit(strangers.byName, 'stolen');
  const ticket = async () => (await guest.user.post('/v1/ticket')).with(200).ticket;
  const opened = await guest.page.evaluate((address) => new Promise((resolve) => {
    const socket = new WebSocket(address);
    socket.onopen = () => resolve(true);
    socket.onerror = () => resolve(false);
  }), `${server.url.replace('http', 'ws')}/v1/ws?ticket=${await ticket()}`);
  assert.equal(opened, false);
  await guest.close();
});

test('a frame of the stream is shown to no origin but the one that it is for', async () => {
  /** Puts the stream into a frame of this page, by a good ticket, and gives what the page hears of it. */
  const embed = async (page, embedder) => {
    const guest = await Guest.visit(page, 'framed');
    const ticket = (await guest.user.post('/v1/ticket')).with(200).ticket;
    await guest.page.evaluate((address) => {
      window.heard = [];
      addEventListener('message', ({ data }) => heard.push(data));
      const frame = document.createElement('iframe');
      frame.src = address;
      document.body.append(frame);
      // A frame that is shown after all never ends to load.
      return new Promise((resolve) => (frame.onload = resolve, setTimeout(resolve, 10_000)));
    }, `${server.url}/v1/stream?as=iframe&origin=${encodeURIComponent(embedder)}&ticket=${ticket}`);
    const inside = guest.page.frames().find((frame) => frame !== guest.page.mainFrame());
    return { guest, inside };
  };
  // What the list has, but this page is not: the browser refuses to show it.
  for (const [page, embedder] of [
    [strangers.byName, pages.byName],
    [strangers.byAddress, pages.byAddress],
    [pages.byAddress, pages.byName],
  ]) {
    const { guest, inside } = await embed(page, embedder);
    // The tools are told of it a moment later than the page.
    await until(`the browser refuses ${page} the frame for ${embedder}`, () =>
      inside.url().startsWith('chrome-error:'),
    );
    await until('it says why', () => guest.words.some((words) => words.includes('frame-ancestors')));
    assert.deepEqual(await guest.page.evaluate(() => heard), [], `${page} for ${embedder}`);
    await guest.close();
  }
  // What the list has not: the server refuses to write it.
  for (const embedder of [
    strangers.byName,
    'null',
    '*',
    `${pages.byName}.evil.example`,
    `${pages.byName}/`,
  ]) {
    const { guest, inside } = await embed(strangers.byName, embedder);
    assert.deepEqual(await guest.page.evaluate(() => heard), [], embedder);
    assert.equal((await inside.content()).includes('postMessage'), false);
    await guest.close();
    const { token } = guest.user;
    const refused = await server.ask('GET', `/v1/stream?as=iframe&origin=${encodeURIComponent(embedder)}`, {
      headers: { authorization: `Bearer ${token}` },
    });
    refused.refused(403, 'origin_forbidden');
  }
});

test('where something on the way lets no WebSocket through, auto goes on by SSE', async () => {
  // A proxy of the old kind: it hands on requests, and knows of no other protocol.
  const proxy = http.createServer((request, response) => {
    const onward = http.request(
      `${server.url}${request.url}`,
      { method: request.method, headers: request.headers },
      (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
      },
    );
    onward.on('error', () => response.destroy());
    response.on('close', () => onward.destroy());
    request.pipe(onward);
  });
  await new Promise((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const guest = await Guest.visit(pages.byName, 'behind');
  await guest.connect({ url: `http://127.0.0.1:${proxy.address().port}`, transport: 'auto' });
  await guest.state('open');
  assert.equal((await server.held('behind')).transport, 'sse');
  assert.deepEqual(await guest.told('error'), ['no_open']);
  await server.push({ to: ['behind'], data: 'through' });
  await guest.has(1);
  await guest.close();
  await new Promise((resolve) => (proxy.closeAllConnections(), proxy.close(resolve)));
});

test('auto is by WebSocket where nothing is in the way, and stays with it when the server was gone for a while', async () => {
  const guest = await Guest.open(pages.byName, 'auto', { transport: 'auto', channels: ['auto'] });
  await guest.state('open');
  await publish('auto', 1);
  await guest.has(1);
  await server.restart();
  await publish('auto', 2);
  await guest.has(2);
  assert.equal((await server.held('auto')).transport, 'ws');
  assert.deepEqual([await guest.data(), await guest.told('gap')], [['1', '2'], []]);
  await guest.close();
});

test('a frame does not keep its page from being loaded', async () => {
  const early = await startPages(`<!doctype html><title>early</title><script type="module">
    import { Encke } from '${server.url}/client.js';
    const { url, token } = JSON.parse(decodeURIComponent(location.hash.slice(1)));
    window.client = new Encke({ url, token, transport: 'iframe' });
    window.frames_at_load = null;
    addEventListener('load', () => (window.frames_at_load = document.querySelectorAll('iframe').length));
    client.connect();
  </script><img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=" alt="">`);
  const other = await Server.start({ env: { ENCKE_ALLOWED_ORIGINS: early.byName } });
  const user = await other.login('early');
  const context = await browser.newContext();
  const page = await context.newPage();
  // This waits for the page to be loaded.
  await page.goto(
    `${early.byName}/#${encodeURIComponent(JSON.stringify({ url: other.url, token: user.token }))}`,
  );
  await until('the frame is open', () => page.evaluate(() => window.client?.state === 'open'));
  assert.equal(await page.evaluate(() => window.frames_at_load), 0);
  const [length, session] = await page.evaluate(() => [history.length, client.session]);
  await page.evaluate(() => client.reconnect());
  await until('it is open again', () => page.evaluate(() => client.state === 'open'));
  assert.deepEqual(
    await page.evaluate(() => [history.length, client.session]),
    [length, session],
    'another frame is no step in the history',
  );
  await context.close();
  await other.stop();
  await early.stop();
});

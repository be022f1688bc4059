// Without any client of ours: Chromium's own EventSource, at an address with a ticket, and npm's
// `eventsource`, with a token, through connections that are cut.
import assert from 'node:assert/strict';
import http from 'node:http';
import net from 'node:net';
import { after, before, test } from 'node:test';

import { EventSource } from 'eventsource';

import { launch } from './support/browser.js';
import { Server } from './support/server.js';
import { until } from './support/until.js';

let browser;
let server;
before(async () => {
  browser = await launch();
  server = await Server.start({ env: { ENCKE_SESSION_GRACE_S: '1' } });
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const listen = (one) => new Promise((resolve) => one.listen(0, '127.0.0.1', resolve));

/** A way to the server whose connections can be cut. */
async function way() {
  const sockets = new Set();
  const relay = net.createServer((socket) => {
    const onward = net.connect(Number(new URL(server.url).port), '127.0.0.1');
    for (const [from, to] of [
      [socket, onward],
      [onward, socket],
    ]) {
      sockets.add(from);
      from.on('error', () => to.destroy()).on('close', () => (sockets.delete(from), to.destroy()));
      from.pipe(to);
    }
  });
  await listen(relay);
  const cut = () => sockets.forEach((socket) => socket.destroy());
  const stop = () => (cut(), new Promise((resolve) => relay.close(resolve)));
  return { url: `http://127.0.0.1:${relay.address().port}`, cut, stop };
}

test('an EventSource comes back by its ticket after each cut, and misses and repeats nothing', async () => {
  const relay = await way();
  // In dev mode pages of this machine may ask.
  const pages = http.createServer((_, response) =>
    response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>a page</title>'),
  );
  await listen(pages);
  try {
    const alice = await server.login('alice');
    const { ticket } = (await alice.post('/v1/ticket')).with(200);
    const page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${pages.address().port}/`);
    await page.evaluate((address) => {
      window.told = { open: 0, opened: [], data: [], closed: 0 };
      const { told } = window;
      const stream = new EventSource(address);
      stream.onopen = () => (told.open += 1);
      stream.addEventListener('opened', ({ data }) => told.opened.push(JSON.parse(data).session));
      stream.onmessage = ({ data }) => told.data.push(JSON.parse(data).data);
      stream.onerror = () => (told.closed += stream.readyState === EventSource.CLOSED ? 1 : 0);
    }, `${relay.url}/v1/sse?ticket=${ticket}`);
    const told = () => page.evaluate(() => window.told);
    for (let number = 1; number <= 3; number++) {
      await until(`it has opened ${number} times`, async () => (await told()).opened.length === number);
      await server.push({ to: ['alice'], data: `live ${number}` });
      await until('it has what came', async () => (await told()).data.includes(`live ${number}`));
      relay.cut();
      // Its session is over by then, at the last.
      if (number === 3) await until('it is gone', async () => !(await server.isOnline('alice')));
      await server.push({ to: ['alice'], data: `away ${number}` });
      await until('it has what it missed', async () => (await told()).data.includes(`away ${number}`));
    }
    const { open, opened, data, closed } = await told();
    assert.deepEqual([open, opened.length, new Set(opened).size, closed], [4, 4, 1, 0]);
    assert.deepEqual(data, ['live 1', 'away 1', 'live 2', 'away 2', 'live 3', 'away 3']);
    await page.close();
  } finally {
    await relay.stop();
    await new Promise((resolve) => (pages.closeAllConnections(), pages.close(resolve)));
  }
});

test("npm's eventsource goes on by its last event id after each cut, and stays away when it is told to", async () => {
  const relay = await way();
  const bob = await server.login('bob');
  const stream = new EventSource(`${relay.url}/v1/sse`, {
    fetch: (address, given) =>
      fetch(address, { ...given, headers: { ...given.headers, authorization: `Bearer ${bob.token}` } }),
  });
  try {
    const told = { opened: 0, data: [], closes: [] };
    stream.addEventListener('opened', () => (told.opened += 1));
    stream.addEventListener('close', ({ data }) => told.closes.push(JSON.parse(data).code));
    stream.onmessage = ({ data }) => told.data.push(JSON.parse(data).data);
    for (let number = 1; number <= 2; number++) {
      await until(`it has opened ${number} times`, () => told.opened === number);
      await server.push({ to: ['bob'], data: `live ${number}` });
      await until('it has what came', () => told.data.includes(`live ${number}`));
      relay.cut();
      await server.push({ to: ['bob'], data: `away ${number}` });
      await until('it has what it missed', () => told.data.includes(`away ${number}`));
    }
    assert.deepEqual(told.data, ['live 1', 'away 1', 'live 2', 'away 2']);
    (await server.api('POST', '/api/close', { user: 'bob' })).with(200);
    await until('it stays away', () => stream.readyState === stream.CLOSED);
    assert.deepEqual([told.closes, told.opened], [['operator'], 3]);
  } finally {
    stream.close();
    await relay.stop();
  }
});

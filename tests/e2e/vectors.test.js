// What a browser makes of server-sent events, byte by byte: EventSource is the oracle for the project's own
// parsers, and for what the server writes.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import { after, before, test } from 'node:test';

import { launch } from './support/browser.js';
import { Server } from './support/server.js';
import { until } from './support/until.js';

const read = (file) => readFile(new URL(`../../${file}`, import.meta.url), 'utf8');
const { streams, data } = JSON.parse(await read('tests/vectors/sse.json'));
/** Longer than any one packet, so that characters of three bytes are cut wherever the network pleases. */
const LONG = '\u20ac'.repeat(20_000);

let browser;
before(async () => void (browser = await launch()));
after(() => browser?.close());

/** Serves the streams as the bytes they are, the parser, and a page that is of the same origin. */
async function serveStreams() {
  const server = http.createServer(async (request, response) => {
    const stream = streams[Number(/^\/stream\/(\d+)$/.exec(request.url)?.[1])];
    if (stream) {
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
      request.socket.setNoDelay(true);
      for (const chunk of stream.chunks) {
        // The pause only makes it likely that the browser reads them apart; what comes out has to be the same
        // in any case.
        await new Promise((resolve) =>
          response.write(Buffer.from(chunk, 'latin1'), () => setTimeout(resolve, 5)),
        );
      }
      response.end();
    } else if (/^\/client\/[a-z-]+\.js$/.test(request.url)) {
      response.writeHead(200, { 'content-type': 'text/javascript' });
      response.end(await read(`clients/js${request.url}`));
    } else {
      response.writeHead(200, { 'content-type': 'text/html' });
      response.end('<!doctype html><title>streams</title>');
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    stop: () => new Promise((resolve) => (server.closeAllConnections(), server.close(resolve))),
  };
}

test('the vectors are what EventSource makes of the bytes, and the client reads them the same', async (t) => {
  const site = await serveStreams();
  const page = await browser.newPage();
  await page.goto(site.url);
  const names = [...new Set(streams.flatMap(({ events }) => events.map(([name]) => name)))];
  for (const [number, { name, events }] of streams.entries()) {
    await t.test(name, async () => {
      const found = await page.evaluate(async ([address, names]) => {
        const byBrowser = await new Promise((resolve) => {
          const told = [];
          const source = new EventSource(address);
          for (const name of names)
            source.addEventListener(name, ({ type, data, lastEventId }) =>
              told.push([type, data, lastEventId]),
            );
          // It says so when the stream has ended, and would ask for it once more.
          source.onerror = () => (source.close(), resolve(told));
        });
        const { SseParser } = await import('/client/sse-parser.js');
        const byClient = [];
        const parser = new SseParser(({ event, data, lastEventId }) =>
          byClient.push([event, data, lastEventId]),
        );
        const reader = (await fetch(address)).body.getReader();
        for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read())
          parser.push(value);
        return { byBrowser, byClient };
      }, [`/stream/${number}`, names]);
      assert.deepEqual(found.byBrowser, events, 'the vector says what the browser says');
      assert.deepEqual(found.byClient, events, 'the client says what the browser says');
    });
  }
  await page.close();
  await site.stop();
});

test('whatever is published arrives as it was, by every transport, in the browser and in the program', async () => {
  const server = await Server.start();
  const context = await browser.newContext();
  const page = await context.newPage();
  const programs = [];
  try {
    await page.goto(server.url);
    // Under the cookie, since an EventSource can bring nothing else.
    await page.evaluate(async () => {
      const headers = { 'content-type': 'application/json' };
      await fetch('/v1/login', { method: 'POST', headers, body: '{"user":"vectors"}' });
      const { Encke } = await import('/client.js');
      window.told = { EventSource: [] };
      window.sources = [];
      const source = new EventSource('/v1/sse?channels=vectors');
      source.onmessage = (event) => {
        const message = JSON.parse(event.data);
        // As text, since a member called __proto__ does not outlive the way out of the page otherwise.
        told.EventSource.push({
          data: JSON.stringify(message.data),
          at: event.lastEventId.endsWith(`~${message.offset}`),
        });
      };
      await Promise.all([
        new Promise((resolve) => source.addEventListener('open', resolve, { once: true })),
        ...['sse', 'poll', 'ws', 'iframe'].map(
          (transport) =>
            new Promise((resolve) => {
              told[transport] = [];
              const client = new Encke({ transport, channels: ['vectors'] });
              client.on('open', resolve);
              client.on('message', (message) =>
                told[transport].push({
                  data: JSON.stringify(message.data),
                  at: client.cursor.endsWith(`~${message.offset}`),
                }),
              );
              client.connect();
              sources.push(client);
            }),
        ),
      ]);
    });
    for (const transport of ['sse', 'poll', 'ndjson', 'ws']) {
      programs.push([
        transport,
        server.startCli(
          'listen',
          '--user',
          `vectors-${transport}`,
          '--channel',
          'vectors',
          '--transport',
          transport,
        ),
      ]);
      await server.held(`vectors-${transport}`);
    }
    await until('all are connected', async () => (await server.sessions('vectors')).length === 5);
    const all = [...data, LONG].map((one) => JSON.stringify(one));
    // Written by hand, since JSON.stringify cannot say the same name twice, and not every number.
    const raw = [
      '{"__proto__":1,"__proto__":2}',
      '1e400',
      '{"\\u005f_proto__":{"a":1}}',
      '123456789012345678901234567890',
      '"\\ud83c\\udf0d\\u2028"',
    ];
    for (const body of [...all, ...raw].map((one) => `{"channel":"vectors","data":${one}}`)) {
      (await server.api('POST', '/api/publish', body, { 'content-type': 'application/json' })).with(202);
    }
    const expected = [...all, ...raw.map((one) => JSON.stringify(JSON.parse(one)))];
    for (const name of ['EventSource', 'sse', 'poll', 'ws', 'iframe']) {
      await until(
        `all of it by ${name}`,
        async () => (await page.evaluate((name) => told[name].length, name)) >= expected.length,
      );
      const told = await page.evaluate((name) => told[name], name);
      assert.deepEqual(
        told.map(({ data }) => data),
        expected,
        name,
      );
      assert.ok(
        told.every(({ at }) => at),
        `${name} knows where each was`,
      );
    }
    assert.equal(await page.evaluate(() => window.hit), undefined, 'no data was run');
    for (const [transport, program] of programs) {
      await until(`all of it by encke listen, ${transport}`, () => program.lines.length >= expected.length);
      assert.deepEqual(
        program.objects.map(({ data }) => JSON.stringify(data)),
        expected,
        transport,
      );
    }
  } finally {
    await Promise.all(programs.map(([, program]) => program.kill('SIGKILL')));
    await context.close();
    await server.stop();
  }
});

// pusher-js in a real browser, with each of its transports forced, from a page of another origin.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';

import { launch } from './support/browser.js';
import { freePort } from './support/port.js';
import { APP, backend, settings } from './support/pusher.js';
import { Server } from './support/server.js';
import { until } from './support/until.js';

const resolve = createRequire(import.meta.url).resolve;
const PUSHER = readFileSync(path.join(path.dirname(resolve('pusher-js/package.json')), 'dist/web/pusher.js'));
const PAGE = `<!doctype html><meta charset="utf-8"><title>Pusher</title><script src="/pusher.js"></script>
<script>
  window.received = [];
  window.openBy = (url, transport) => new Promise((done) => {
    const { hostname, port } = new URL(url);
    const pusher = (window.pusher = new Pusher('${APP.key}', {
      cluster: 'any', wsHost: hostname, wsPort: port, httpHost: hostname, httpPort: port, forceTLS: false,
      enableStats: false, enabledTransports: [transport],
    }));
    const channel = pusher.subscribe('news');
    channel.bind('number', (n) => window.received.push(n));
    channel.bind('pusher:subscription_succeeded', () => done(pusher.connection.connection.transport.name));
  });
</script>`;

describe('pusher-js in a browser', () => {
  let server, site, origin, browser;
  before(async () => {
    const port = await freePort();
    origin = `http://127.0.0.1:${port}`;
    site = http.createServer((request, response) => {
      const isScript = request.url === '/pusher.js';
      const type = isScript ? 'text/javascript' : 'text/html';
      response.writeHead(200, { 'content-type': `${type}; charset=utf-8` }).end(isScript ? PUSHER : PAGE);
    });
    await new Promise((done) => site.listen(port, '127.0.0.1', done));
    server = await Server.start({ engine: 'memory', env: { ...settings(), ENCKE_ALLOWED_ORIGINS: origin } });
    browser = await launch();
  });
  after(async () => {
    await browser?.close();
    await server.stop();
    site.closeAllConnections();
    site.close();
  });

  for (const transport of ['ws', 'xhr_streaming', 'xhr_polling']) {
    test(`by ${transport}`, { timeout: 60_000 }, async (t) => {
      const context = await browser.newContext();
      t.after(() => context.close());
      const page = await context.newPage();
      await page.goto(`${origin}/`);
      const by = await page.evaluate(([url, name]) => window.openBy(url, name), [server.url, transport]);
      assert.equal(by, transport);
      const app = backend(server);
      const numbers = Array.from({ length: 30 }, (_, n) => n);
      for (const n of numbers) await app.trigger('news', 'number', n);
      await until('all have come', async () => (await page.evaluate(() => window.received.length)) >= 30);
      assert.deepEqual(await page.evaluate(() => window.received), numbers);
    });
  }
});

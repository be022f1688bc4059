// The browser client in Chromium over https, by HTTP/1.1 and by HTTP/2.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { launch } from './support/browser.js';
import { Server } from './support/server.js';
import { until } from './support/until.js';

let browser;
before(async () => void (browser = await launch()));
after(() => browser?.close());

for (const [alpn, protocol] of [
  ['http/1.1', 'http/1.1'],
  ['h2', 'h2'],
  ['h2,http/1.1', 'h2'],
]) {
  test(`by every transport, with ${alpn} offered`, async (t) => {
    const server = await Server.start({ tls: true, env: { ENCKE_TLS_ALPN: alpn } });
    t.after(() => server.stop());
    const context = await browser.newContext({ ignoreHTTPSErrors: true });
    t.after(() => context.close());
    const page = await context.newPage();
    await page.goto(`${server.url}/`);
    const spoken = await page.evaluate(() => performance.getEntriesByType('navigation')[0].nextHopProtocol);
    assert.equal(spoken, protocol);
    // HTTP/2 alone has no way for a WebSocket here.
    for (const transport of ['sse', 'poll', 'iframe', ...(alpn === 'h2' ? [] : ['ws'])]) {
      const user = `over-${transport}`;
      await page.evaluate(
        async ([user, transport]) => {
          await fetch('/v1/login', {
            method: 'POST',
            headers: { 'content-type': 'application/json' },
            body: JSON.stringify({ user }),
          });
          const { Encke } = await import('/client.js');
          window.got = [];
          window.client = new Encke({ transport });
          client.on('message', ({ data }) => got.push(data));
          client.connect();
        },
        [user, transport],
      );
      await server.held(user);
      const { id } = await server.push({ to: [user], data: transport });
      await until(`${transport} brings it`, () => page.evaluate(() => got.length > 0));
      assert.deepEqual(await page.evaluate(() => got), [transport]);
      await server.receipt(id, user, 'delivered');
      await page.evaluate(() => client.close());
      await until(`${user} is offline`, async () => !(await server.isOnline(user)));
    }
  });
}

/**
 * The protocol's table of errors, as clients on WebSockets meet it: a code comes without its status there.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { settle, token, world } from './world.js';

const table = readFileSync(new URL('../../../docs/PROTOCOL.md', import.meta.url), 'utf8').split(
  '\n## Errors\n',
)[1];
const rows = [...table.matchAll(/^\| `(\w+)` \| (\d{3}) \|/gm)].map(([, code, status]) => [
  code,
  Number(status),
]);

test('what passes is tried again, what does not is told at once, whichever way the question went', async () => {
  assert.ok(rows.length > 25);
  for (const [code, status] of rows) {
    const told = async (transport) => {
      const w = world({ url: 'http://server', token: token('alice'), transport });
      w.client.connect();
      await settle();
      if (transport === 'ws') await w.ticket();
      const socket = transport === 'ws' ? await w.sockets[0].open() : null;
      if (!socket) await w.next('/v1/sse').open();
      let error = null;
      w.client.publish('news', 1).catch((refused) => (error = refused));
      await settle();
      if (socket) await socket.event({ event: 'reply', id: 1, error: { code, message: code } });
      else await w.next('/v1/publish').fail(status, code);
      if (error) return [error.code, error.transient];
      await w.clock.pass(10000);
      w.next('/v1/publish');
      return 'again';
    };
    assert.deepEqual(await told('ws'), await told('sse'), code);
  }
});

test('a token that is over is renewed, whichever way the question went', async () => {
  for (const [code, status] of rows.filter(([, status]) => status === 401)) {
    const w = world({
      url: 'http://server',
      token: token('alice'),
      transport: 'ws',
      getToken: () => token('alice') + 'fresh',
    });
    w.client.connect();
    await settle();
    await w.ticket();
    await w.sockets[0].open();
    w.client.publish('news', 1).catch(() => {});
    await settle();
    await w.sockets[0].event({ event: 'reply', id: 1, error: { code, message: code } });
    assert.equal(
      w.next('/v1/publish').headers.authorization,
      'Bearer ' + token('alice') + 'fresh',
      `${code} ${status}`,
    );
  }
});

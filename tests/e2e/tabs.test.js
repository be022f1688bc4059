// Several tabs of one browser that wait at the very same address: each has to get an answer of its own,
// although a browser's cache makes them wait for one another.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { launch } from './support/browser.js';
import { Server } from './support/server.js';
import { until } from './support/until.js';

let browser;
let server;
before(async () => void ([browser, server] = await Promise.all([launch(), Server.start()])));
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Two tabs of one browser, both logged in as this user by the cookie. */
async function twoTabs(user) {
  const context = await browser.newContext();
  const tabs = [await context.newPage(), await context.newPage()];
  for (const tab of tabs) await tab.goto(server.url);
  await tabs[0].evaluate(async (user) => {
    await fetch('/v1/login', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ user }),
    });
  }, user);
  return { context, tabs };
}

/** Waits until so many connections of the user are held at once. */
const held = (user, count) =>
  until(
    `${count} connections of ${user} are held`,
    async () => (await server.sessions(user)).filter(({ connected }) => connected).length === count,
  );

for (const [name, init, query] of [
  ['cache: no-store', { cache: 'no-store' }, () => ''],
  ['a parameter that differs', {}, (tab) => `?_=${tab}`],
]) {
  test(`two tabs poll the same address at once, ${name}`, async () => {
    const user = name.replaceAll(/[^a-z]/g, '');
    const { context, tabs } = await twoTabs(user);
    const answers = tabs.map((tab, number) =>
      tab.evaluate(
        async ([address, init]) => (await fetch(address, init)).json(),
        [`/v1/poll${query(number)}`, init],
      ),
    );
    await held(user, 2);
    await server.push({ to: [user], data: 'both' });
    const [first, second] = await Promise.all(answers);
    assert.deepEqual(
      [first, second].map(({ messages }) => messages.map(({ data }) => data)),
      [['both'], ['both']],
    );
    assert.notEqual(first.session, second.session, 'each has an answer of its own');
    await context.close();
  });
}

test('two tabs with the browser client poll at once', async () => {
  const { context, tabs } = await twoTabs('clients');
  for (const tab of tabs) {
    await tab.evaluate(async () => {
      const { Encke } = await import('/client.js');
      window.got = [];
      const client = new Encke({ transport: 'poll' });
      client.on('message', ({ data }) => got.push(data));
      client.connect();
    });
  }
  await held('clients', 2);
  await server.push({ to: ['clients'], data: 'both' });
  for (const tab of tabs) await tab.waitForFunction(() => got.includes('both'));
  await context.close();
});

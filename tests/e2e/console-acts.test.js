// What an operator does in the console, before a server that is made up: it is done once, to those who were
// shown, and nothing of it is left after a logout. Not what is shown, which is in console.test.js.
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';

import { launch } from './support/browser.js';
import { answer, go, logOut, open, says } from './support/console.js';
import { KEY, LargeServer } from './support/large-server.js';
import { until } from './support/until.js';

/** What may be done to a user, but for what is not asked about. */
const OF_A_USER = ['#user-close', '#user-ban', '#user-revoke', '#user-delete', '[data-close-session]'];

let browser;
before(async () => void (browser = await launch()));
after(() => browser?.close());

describe('what an operator does', () => {
  let server;
  before(async () => void (server = await LargeServer.start()));
  after(() => server.stop());
  afterEach(() => Object.assign(server, { changes: [], losing: '' }));

  test('of two questions each has its own answer', async () => {
    const { page, context } = await open(browser, server);
    const names = ['amelia-000000', 'amelia-000010'];
    await page.evaluate(
      (names) => names.forEach((name) => document.querySelector(`[data-close-user="${name}"]`).click()),
      names,
    );
    const first = await answer(page, '#question-no');
    await page.waitForFunction((first) => {
      const question = document.querySelector('#question');
      return question.open && question.textContent !== first;
    }, first);
    const second = await answer(page);
    const [kept, closed] = first.includes(names[0]) ? names : names.toReversed();
    assert.ok(first.includes(kept) && second.includes(closed), `${first}, ${second}`);
    await says(page, '#said', new RegExp(`of ${closed}`));
    assert.deepEqual(server.changes, [{ method: 'POST', path: '/api/close', body: { user: closed } }]);
    await context.close();
  });

  test('a question is taken back when what it is about is left', async () => {
    const { page, context } = await open(browser, server);
    const questions = [
      ...OF_A_USER.map((button) => [
        ['#/users/farah-000005', '#/users/amelia-000020'],
        '#user-about',
        button,
      ]),
      [['#/channels/news', '#/channels/room-001'], '#channel-followers', '#channel-delete'],
      [['#/pushes/push-0', '#/pushes/push-4'], '#one-push-names', '#one-push-cancel'],
    ];
    for (const [[other, asked], there, button] of questions) {
      await go(page, other);
      await says(page, there, /./);
      await go(page, asked);
      await says(page, there, /./);
      await page.click(button);
      await page.waitForSelector('#question[open]');
      await page.goBack();
      await page.waitForFunction((other) => location.hash === other, other);
      // A yes that comes too late is none.
      await page.evaluate(() => document.querySelector('#question-yes').click());
      await page.waitForSelector('#question:not([open])', { state: 'attached' });
      // What is asked next is asked as ever.
      await says(page, there, /./);
      if (other.startsWith('#/users')) {
        await page.click('#user-revoke');
        assert.match(await answer(page, '#question-no'), /farah-000005/);
      }
      assert.deepEqual(server.changes, [], button);
    }
    await context.close();
  });

  test('what is sent again after its answer was lost is there once', async () => {
    const { page, context } = await open(browser, server);
    const lose = async (address, button, error) => {
      server.losing = address;
      await page.click(button);
      if (address === '/api/push') await answer(page);
      await page.waitForSelector(`${error}:not([hidden])`);
      server.losing = '';
    };
    // A rule is looked up once: who matches by now was not asked about.
    await page.fill('#filter', 'chen-00');
    await says(page, '#select-all', /^all 1,000 that match$/);
    await page.click('#select-all');
    await page.fill('#push-url', 'https://example.com/again');
    const pushes = server.pushes.length;
    await lose('/api/push', '#push-button', '#push-error');
    server.users.push({ ...server.users[0], id: 'zoe-chen-00' });
    await page.click('#push-button');
    await says(page, '#push-result', /Accepted for 1,000/);
    server.users.pop();
    assert.equal(server.pushes.length, pushes + 1);
    // The same once more is another push.
    await page.click('#push-button');
    await answer(page);
    await until('it is another', () => server.pushes.length === pushes + 2);

    await page.check('#to-channel', { force: true });
    await page.fill('#push-channel', 'room-001');
    await page.fill('#push-data', 'once');
    await lose('/api/publish', '#push-button', '#push-error');
    await page.click('#push-button');
    await says(page, '#push-result', /Published to room-001/);
    await go(page, '#/channels/room-001');
    await page.fill('#channel-data', 'and once here');
    await lose('/api/publish', '#channel-publish', '#channel-form-error');
    await page.click('#channel-publish');
    await says(page, '#channel-result', /Published/);
    const published = server.channels.get('room-001').map(({ data }) => data);
    assert.deepEqual(published.slice(-2), ['once', 'and once here']);
    await context.close();
  });

  test('of a push to very many, what is not named is not made up', async () => {
    const { page, context } = await open(browser, server);
    await page.check('#to-all', { force: true });
    await page.fill('#push-url', 'https://example.com/all');
    await page.click('#push-button');
    assert.match(await answer(page), /100,000 users/);
    await says(page, '#push-result', /for 100,000: at least 0 online, at least 10,000 offline/);
    await context.close();
  });

  test('nothing is left of an operator who logs out, in no tab', async () => {
    const context = await browser.newContext();
    const [page, other] = [await context.newPage(), await context.newPage()];
    await page.goto(`${server.url}/console`);
    await page.fill('#key', KEY);
    await page.check('#key-stays');
    await page.click('#key-button');
    await page.check('input[data-select-user="amelia-000000"]');
    await page.fill('#push-url', 'https://example.com/private');
    await page.click('#push-button');
    await page.waitForSelector('#receipts [data-queued="1"]');
    await other.goto(`${server.url}/console`);
    await other.waitForSelector('#desk:not([hidden])');
    await logOut(page);
    await other.waitForSelector('#gate:not([hidden])');
    await says(other, '#key-error', /in another tab/);
    // A key that is used is written down, by which it must not come back.
    await other.bringToFront();
    await other.click('#key');
    for (const tab of [page, other]) {
      const kept = () => [sessionStorage.length, localStorage.length];
      assert.deepEqual(await tab.evaluate(kept), [0, 0]);
      assert.equal(await tab.locator('#receipts [data-push]').count(), 0);
    }
    assert.equal(await page.inputValue('#push-url'), '');
    await context.close();
  });

  test('a key in the address does not get into the title', async () => {
    const { page, context } = await open(browser, server);
    await page.evaluate(() => {
      globalThis.titles = [];
      const note = () => titles.push(document.title);
      const all = { subtree: true, childList: true, characterData: true };
      new MutationObserver(note).observe(document.head, all);
    });
    await go(page, '#/users/amelia-000000');
    await says(page, '#user-name', /amelia/);
    await go(page, '#key=ab/secret');
    await page.waitForSelector('#gate:not([hidden])');
    const titles = await page.evaluate(() => globalThis.titles);
    assert.ok(titles.length > 0 && titles.every((title) => !title.includes('secret')), String(titles));
    for (const place of ['#/constructor', '#/nowhere/x']) {
      await page.goto(`${server.url}/console#key=${KEY}`);
      await page.waitForSelector('#desk:not([hidden])');
      await go(page, '#/nodes');
      await page.waitForSelector('#view-nodes:not([hidden])');
      await go(page, place);
      await page.waitForSelector('#view-users:not([hidden])');
      assert.equal(await page.title(), 'Users · Encke');
    }
    await context.close();
  });
});

// The console: at the size that it is made for, before a server that is made up, and before a real one.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';

import { Tab, launch, openConsole, picture } from './support/browser.js';
import { answer, go, logOut, open, says } from './support/console.js';
import { KEY, LargeServer, USERS } from './support/large-server.js';
import { temporaryDirectory } from './support/program.js';
import { Server } from './support/server.js';
import { until } from './support/until.js';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
/** What the console may ask for by itself, in a second. */
const REQUESTS_PER_S = 2;
const BYTES_PER_S = 10_000;
const WATCHED_S = 2;
/** What is asked for at once when something is opened. */
const OPENING = 4;
/** In which colours each size is checked; the layout is at every size. */
const SCHEMES = { phone: ['light'], desktop: ['dark'], wide: [] };
const SIZES = {
  phone: { width: 390, height: 844 },
  desktop: { width: 1280, height: 860 },
  wide: { width: 1920, height: 1000 },
};

let browser;
before(async () => void (browser = await launch()));
after(() => browser?.close());

/** Each part of the console, and what is there once it has what it is opened with. */
const PLACES = {
  '#/users': ['#users-count', /of 100,000/],
  '#/users/amelia-000010': ['#user-about', /online in/],
  '#/channels': ['#channels-count', /^120$/],
  '#/channels/news': ['#channel-followers-count', /^50/],
  '#/pushes': ['#pushes', /^/],
  '#/pushes/push-0': ['#one-push-all', /^2,000$/],
  '#/nodes': ['#nodes', /push-2/],
};

/** Sees for a time that what is asked stays within the bounds. */
async function watch(server, place, from = server.asked.length) {
  const began = performance.now();
  await until('it was watched for a time', () => performance.now() - began >= WATCHED_S * 1000);
  const seconds = (performance.now() - began) / 1000;
  const { requests, bytes } = server.traffic(from);
  // What is opened comes at once.
  assert.ok(requests <= REQUESTS_PER_S * seconds + OPENING, `${place}: ${requests} requests in ${seconds} s`);
  assert.ok(bytes <= BYTES_PER_S * (seconds + 2), `${place}: ${bytes} bytes in ${seconds} s`);
  return requests;
}

describe('with 100,000 users', () => {
  let server;
  before(async () => void (server = await LargeServer.start()));
  after(() => server.stop());

  test('counts and searches are those of all users, and what is in sight alone is drawn', async () => {
    const { page, context, errors } = await open(browser, server);
    await says(page, '#users-count', /20,000 online of 100,000/);
    await page.keyboard.press('/');
    await page.keyboard.type('099999');
    await page.waitForSelector('[data-user="jun-099999"]');
    await says(page, '#users-count', /^1 match/);
    await page.fill('#filter', 'nobody-of-that-name');
    await page.waitForSelector('#users-empty-search:not([hidden])');
    await page.fill('#filter', '');
    await page.waitForFunction((all) => document.querySelector('#users').ariaRowCount === String(all), USERS);
    // A scroll through some hundred rows never shows a row that is not drawn.
    for (let top = 0; top < 44 * 400; top += 600) {
      const blank = await page.evaluate(async (top) => {
        const list = document.querySelector('#users');
        list.scrollTop = top;
        await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
        const box = list.getBoundingClientRect();
        const at = [10, box.height / 2, box.height - 10];
        return at.filter(
          (y) => !document.elementFromPoint(box.left + 60, box.top + y)?.closest('[data-user]'),
        );
      }, top);
      assert.deepEqual(blank, [], `rows at ${top} px`);
    }
    assert.ok((await page.$$('#users [data-user]')).length < 80);
    assert.deepEqual(errors, []);
    await context.close();
  });

  test('all that match are chosen by the search, and a push to them says how many it is for', async () => {
    const { page, context } = await open(browser, server);
    server.reached.clear();
    await page.fill('#filter', 'hana-00');
    await says(page, '#select-all', /^all 1,000 that match$/);
    await page.click('#select-all');
    await says(page, '#selected-count', /^1,000$/);
    await page.uncheck('[data-select-user="hana-000007"]');
    await says(page, '#selected-count', /^999$/);
    // The search may change; what was chosen does not.
    await page.fill('#filter', 'ivo');
    await page.waitForSelector('[data-user="ivo-000008"]');
    await page.fill('#push-url', 'https://example.com/sale');
    await page.click('#push-button');
    assert.match(await answer(page, '#question-no'), /Push to 999 users/);
    assert.equal(server.reached.size, 0, 'nothing goes out before the answer');
    await page.click('#push-button');
    await answer(page);
    await says(page, '#push-result', /Accepted for 999/);
    assert.equal(server.reached.size, 999);
    assert.ok(
      !server.reached.has('hana-000007') && [...server.reached].every((id) => id.startsWith('hana-00')),
    );
    await page.waitForSelector('#receipts [data-queued="999"]');
    // What is queued can be called back.
    await page.click('#receipts [data-queued="999"] [data-cancel-push]');
    assert.match(await answer(page), /999 users/);
    await page.waitForSelector('#receipts [data-cancelled="999"][data-queued="0"]');
    await context.close();
  });

  test('20,000 users go out in parts that the server takes', async () => {
    const { page, context } = await open(browser, server);
    server.reached.clear();
    await page.fill('#filter', 'a');
    await says(page, '#select-all', /that match/);
    await page.check('#online-only');
    await says(page, '#users-count', /^20,000 match|^1\d,000 match/);
    const [, matching] = /^([\d,]+) match/.exec(await page.textContent('#users-count'));
    await page.click('#select-all');
    await page.check('#kind-message', { force: true });
    await page.fill('#push-data', '{"text": "hello"}');
    await page.click('#push-button');
    assert.match(await answer(page), new RegExp(`Push to ${matching} users`));
    await says(page, '#push-result', new RegExp(`Accepted for ${matching}`));
    assert.equal(server.reached.size, Number(matching.replace(',', '')));
    await context.close();
  });

  test('how a page answers is said as its address is typed, where that is allowed', async () => {
    const { page, context } = await open(browser, server);
    const asked = (from) => server.asked.slice(from).filter(({ url }) => url === '/api/check-url').length;
    const from = server.asked.length;
    await page.fill('#push-url', 'https://example.com/first');
    await until('it is refused', () => asked(from) === 1);
    await page.reload();
    await page.waitForSelector('#desk:not([hidden])');
    const answers = [
      [{ reached: true, status: 200, frames: 'none' }, /forbids frames/],
      [{ reached: true, status: 404, frames: 'all' }, /answers 404/],
      [{ reached: false, problem: 'not_public' }, /not public/],
      [{ reached: true, status: 200, frames: 'all' }, /answers 200, and may stand in a frame\.$/],
    ];
    for (const [n, [checked, words]] of answers.entries()) {
      server.checked = checked;
      await page.fill('#push-url', `https://example.com/${n}`);
      await says(page, '#url-check', words);
    }
    // A page that forbids frames is pushed with a link that opens it.
    await page.check('#push-window');
    await page.click('#preview-button');
    await page.waitForSelector('#push-preview a[target=_blank][href="https://example.com/3"]');
    await page.click('#preview-button');
    await page.uncheck('#push-window');
    // What is typed is checked when it is typed, and not letter by letter.
    const before = server.asked.length;
    await page.fill('#push-url', '');
    await page.type('#push-url', 'https://example.com/typed');
    await says(page, '#url-check', /answers 200/);
    assert.ok(asked(before) < 5, `${asked(before)} requests`);
    server.checked = null;
    await context.close();
  });

  test('names that are pasted are looked up before a push makes users of them', async () => {
    const { page, context } = await open(browser, server);
    server.reached.clear();
    await page.check('#to-names', { force: true });
    await page.fill('#push-names', 'hana-000007, "ivo-000008"\nivo-000008\nivo-8');
    await says(page, '#names-count', /^3 names$/);
    await page.fill('#push-url', 'https://example.com/');
    await page.click('#push-button');
    const asked = await answer(page);
    assert.match(asked, /1 unknown user/);
    assert.match(asked, /ivo-8/);
    await says(page, '#push-result', /Accepted for 2/);
    assert.deepEqual([...server.reached].sort(), ['hana-000007', 'ivo-000008']);
    // A file, and a list so long that the users are gone through.
    const names = Array.from({ length: 200 }, (_, n) => `hana-${String(n * 10 + 7).padStart(6, '0')}`);
    await page.setInputFiles('#push-file', {
      name: 'names.csv',
      mimeType: 'text/csv',
      buffer: Buffer.from([...names, 'hanna-1'].join('\r\n')),
    });
    await says(page, '#names-count', /^201 names$/);
    await page.click('#push-button');
    assert.match(await answer(page, '#question-no'), /1 unknown user.*hanna-1.*all 201.*200 known/s);
    // An unknown channel is told as well.
    await page.check('#to-channel', { force: true });
    await page.fill('#push-channel', 'nevvs');
    await page.fill('#push-data', 'hello');
    await page.click('#push-button');
    assert.match(await answer(page, '#question-no'), /no user follows it/);
    assert.ok(!server.channels.has('nevvs'));
    await page.fill('#push-channel', 'news');
    await page.click('#push-button');
    await says(page, '#push-result', /Published to news/);
    await context.close();
  });

  test('the list is one stop of the Tab key, and arrows and space choose', async () => {
    const { page, context } = await open(browser, server);
    await page.focus('#select-none');
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.dataset.selectUser), 'amelia-000000');
    await page.keyboard.press('Space');
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('Space');
    await says(page, '#selected-count', /^2$/);
    await page.keyboard.press('ArrowRight');
    assert.equal(await page.evaluate(() => document.activeElement.textContent), 'amelia-000020');
    await page.keyboard.press('PageDown');
    await page.keyboard.press('Home');
    assert.equal(await page.evaluate(() => document.activeElement.textContent), 'amelia-000000');
    // The focus stays where it is while what it is on is asked for again.
    const before = server.asked.length;
    await until(
      'the list is refreshed',
      () => server.asked.slice(before).filter(({ url }) => url.startsWith('/api/users')).length > 1,
    );
    assert.equal(await page.evaluate(() => document.activeElement.textContent), 'amelia-000000');
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'to-selected');
    await context.close();
  });

  test('errors, and a server that stops, are told until they are over', async () => {
    const { page, context } = await open(browser, server);
    await page.fill('#push-url', 'example.com');
    await page.check('[data-select-user="amelia-000000"]');
    await page.click('#push-button');
    await page.waitForSelector('#push-error:not([hidden])');
    await page.fill('#push-url', 'https://example.com');
    assert.equal(await page.isHidden('#push-error'), true);
    server.failing = { status: 503, body: { error: { code: 'shutting_down', message: 'stops' } } };
    await says(page, '#lost', /The server is stopping\. (Next try in \d+ s|Trying)/);
    assert.equal(await page.getAttribute('#live', 'data-state'), 'lost');
    server.failing = null;
    await page.click('#retry-button');
    await page.waitForSelector('#live[data-state="live"]');
    assert.equal(await page.isHidden('#lost'), true);
    await context.close();
  });

  test('the key stays in the tab, or in the browser for those who ask for it', async () => {
    const context = await browser.newContext();
    const page = await context.newPage();
    const kept = () => page.evaluate(() => [sessionStorage.length, localStorage.length]);
    await page.goto(`${server.url}/console`);
    await page.fill('#key', KEY);
    await page.click('#key-button');
    await page.waitForSelector('#desk:not([hidden])');
    assert.deepEqual(await kept(), [1, 0]);
    const other = await context.newPage();
    await other.goto(`${server.url}/console`);
    await other.waitForSelector('#gate:not([hidden])');
    await logOut(page);
    assert.deepEqual(await kept(), [0, 0]);
    await page.fill('#key', KEY);
    await page.check('#key-stays');
    await page.click('#key-button');
    await page.waitForSelector('#desk:not([hidden])');
    assert.deepEqual(await kept(), [0, 1]);
    await other.reload();
    await other.waitForSelector('#desk:not([hidden])');
    // A key that was not used for long is not good any more.
    await page.evaluate(() => {
      const [name] = Object.keys(localStorage);
      const session = JSON.parse(localStorage[name]);
      localStorage[name] = JSON.stringify({ ...session, usedAt: session.usedAt - 8 * 24 * 3_600_000 });
    });
    await page.reload();
    await page.waitForSelector('#gate:not([hidden])');
    assert.deepEqual(await kept(), [0, 0]);
    await context.close();
  });

  test('it asks for no more than 2 answers and 10 KB a second, whatever is open', async () => {
    const { page, context } = await open(browser, server);
    for (const place of Object.keys(PLACES)) {
      const from = server.asked.length;
      await go(page, place);
      assert.ok((await watch(server, place, from)) > 0, `${place} asks for nothing`);
    }
    await context.close();
  });

  test('what is pushed to a user is shown at once, and not live when it is too much', async () => {
    const { page, context, errors } = await open(browser, server);
    const user = 'amelia-000020';
    await go(page, `#/users/${user}`);
    await says(page, '#user-live', /^live$/);
    await page.waitForSelector('[data-push-of-user="push-0"]');
    server.tell(user, 2, { text: 'while one looks' });
    // The history of this server does not have it.
    await says(page, '#user-pushes li:first-child', /while one looks/);
    let offset = 3;
    await until('it is not live any more', () => {
      server.tell(user, offset++, 'x'.repeat(1000));
      return server.looks.get(user).size === 0;
    });
    await says(page, '#user-live', /too much/);
    assert.ok((await page.$$('#user-pushes li')).length <= 20);
    await says(page, '#user-live', /^live$/);
    // One connection is held as long as it is shown.
    assert.equal(server.looks.get(user).size, 1);
    await go(page, '#/users/amelia-000030');
    await says(page, '#user-live', /^live$/);
    assert.equal(server.looks.get(user).size, 0);
    await go(page, '#/users');
    await until('nothing is held', () => server.looks.get('amelia-000030').size === 0);
    assert.deepEqual(errors, []);
    await context.close();
  });

  for (const [size, viewport] of Object.entries(SIZES)) {
    test(`each state can be used by everybody who has a ${size}`, async () => {
      // The strict policy keeps the checker out as well.
      const { page, context, errors } = await open(browser, server, { viewport, bypassCSP: true });
      await page.evaluate(AXE);
      const check = async (state) => {
        for (const colorScheme of SCHEMES[size]) {
          await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
          const { violations } = await page.evaluate(
            (values) => axe.run(document, { runOnly: { type: 'tag', values } }),
            RULES,
          );
          const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html)}`);
          assert.deepEqual(found, [], `${state}, ${colorScheme}`);
        }
        const { wide, small } = await page.evaluate(() => ({
          wide: document.documentElement.scrollWidth - innerWidth,
          small: [...document.querySelectorAll('button, select, input:not([type=checkbox], [type=radio])')]
            .filter((one) => one.checkVisibility() && one.getBoundingClientRect().height < 43.5)
            .map((one) => one.outerHTML),
        }));
        assert.ok(wide <= 0, `${state} is ${wide} px wider than the screen`);
        assert.deepEqual(small, [], `${state}: too small to be touched`);
      };
      const places = {
        '#/users': '#receipts [data-push]',
        '#/users/amelia-000000': '#user-sessions li',
        '#/channels': '#channels tr',
        '#/channels/news': '#channel-messages li',
        '#/pushes': '#pushes li',
        '#/pushes/push-0': '#one-push-names li',
        '#/nodes': '#nodes tr',
      };
      for (const [place, there] of Object.entries(places)) {
        await go(page, place);
        await page.waitForSelector(there);
        if (place === '#/nodes') await page.waitForSelector('#charts:not([hidden]) polyline');
        await check(place);
        await picture(page, `console-${place.replace(/\W+/g, '-')}-${size}`);
      }
      await go(page, '#/users');
      await page.click('#select-all');
      await page.fill('#push-url', 'https://example.com/');
      await page.click('#push-button');
      await page.waitForSelector('#question[open]');
      await check('a question');
      await page.click('#question-no');
      for (const to of ['#to-names', '#to-channel']) {
        await page.check(to, { force: true });
        await check(to);
      }
      await logOut(page);
      await page.evaluate(AXE);
      await check('the gate');
      assert.deepEqual(errors, []);
      await context.close();
    });
  }
});

describe('before a real server', () => {
  let server;
  before(async () => void (server = await Server.start({ engine: 'memory' })));
  after(() => server.stop());

  test('5,000 known users are searched, chosen and pushed to', async () => {
    const names = Array.from(
      { length: 5000 },
      (_, n) => `${n % 2 ? 'odd' : 'even'}-${String(n).padStart(4, '0')}`,
    );
    for (let n = 0; n < names.length; n += 2500)
      await server.push({ to: names.slice(n, n + 2500), data: 'first' });
    const { page, context } = await openConsole(browser, server);
    await says(page, '#users-count', /of 5,000/);
    await page.fill('#filter', 'odd-');
    await says(page, '#select-all', /^all 2,500 that match$/);
    await page.click('#select-all');
    await page.check('#kind-message', { force: true });
    await page.fill('#push-data', 'second');
    await page.click('#push-button');
    assert.match(await answer(page), /2,500 users/);
    await says(page, '#push-result', /Accepted for 2,500: 0 online, 2,500 offline/);
    const { messages } = (await server.api('GET', '/api/channels/@odd-0001/history')).with(200);
    assert.deepEqual(
      messages.map(({ data }) => data),
      ['first', 'second'],
    );
    assert.equal((await server.api('GET', '/api/channels/@even-0000/history')).with(200).messages.length, 1);
    await context.close();
  });

  test('what a backend pushed is there, also after a reload, with its receipts by state', async () => {
    const to = Array.from({ length: 1200 }, (_, n) => `reader-${String(n).padStart(4, '0')}`);
    const { id } = await server.push({ to, data: { text: 'by a backend' } });
    const first = await server.login(to[0]);
    await first.poll({ hold_s: 0 });
    const { page, context, dialogs } = await openConsole(browser, server);
    const look = async () => {
      await go(page, '#/pushes');
      await page.waitForSelector(`#pushes [data-push="${id}"]`);
      await says(page, `#pushes [data-push="${id}"]`, /by a backend/);
      await page.click(`#pushes [data-push="${id}"] a.button`);
      await says(page, '#one-push-all', /^1,200$/);
      await says(page, '#one-push-what', /by a backend/);
    };
    await look();
    await page.reload();
    // The part that was shown is shown again, before any list was.
    await says(page, '#one-push-what', /by a backend/);
    await look();
    await page.check('#one-push-states [value="queued"]', { force: true });
    await says(page, '#one-push-names', /reader-00/);
    await page.click('#one-push-next');
    await page.waitForSelector('#one-push-back:not([disabled])');
    const names = await page.$$eval('#one-push-names [data-receipt-user]', (all) =>
      all.map((one) => one.dataset.state),
    );
    assert.deepEqual(new Set(names), new Set(['queued']));
    await page.check('#one-push-states [value="expired"]', { force: true });
    await page.waitForSelector('#one-push-none:not([hidden])');
    await picture(page, 'console-one-push', { fullPage: true });
    await go(page, '#/pushes');
    await picture(page, 'console-pushes', { fullPage: true });
    assert.deepEqual(dialogs, []);
    await context.close();
  });

  test('what is pushed to a user comes live, and nothing is taken from the user', async () => {
    const waits = await server.push({ to: ['olga'], data: 'it waits' });
    const { page, context } = await openConsole(browser, server);
    await go(page, '#/users/olga');
    await says(page, '#user-live', /^live$/);
    await says(page, '#user-pushes', /it waits/);
    const comes = await server.push({ to: ['olga'], data: 'it comes' });
    await says(page, '#user-pushes li:first-child', /it comes/);
    assert.equal(await server.isOnline('olga'), false);
    for (const { id } of [waits, comes]) assert.equal((await server.receipts(id)).olga, 'queued');
    const { messages } = await (await server.login('olga')).take(2);
    assert.deepEqual(
      messages.map(({ data }) => data),
      ['it waits', 'it comes'],
    );
    await until('both are delivered', async () => (await server.receipts(comes.id)).olga === 'delivered');
    await context.close();
  });

  test('a user is looked at, closed, kept away, let back in, and deleted', async () => {
    const frank = await server.login('frank');
    const stream = await frank.stream({ channels: 'news' });
    const { page, context } = await openConsole(browser, server);
    await go(page, '#/users/frank');
    await page.waitForSelector(`[data-close-session="${stream.session}"]`);
    await says(page, '#user-sessions', /sse.*news/);
    await page.click(`[data-close-session="${stream.session}"]`);
    assert.match(await answer(page, '#question-no'), /frank/);
    assert.ok(await server.isOnline('frank'), 'nothing happens before the answer');
    await page.click('#user-close');
    assert.match(await answer(page), /1 session of frank/);
    await says(page, '#said', /Closed 1 session of frank/);
    assert.equal(await server.isOnline('frank'), false);
    await page.click('#user-ban');
    await answer(page);
    await says(page, '#said', /kept away for 1 hour/);
    (await frank.poll({ hold_s: 0 })).refused(403, 'banned');
    await page.click('#user-unban');
    await says(page, '#said', /may come back/);
    (await frank.poll({ hold_s: 0 })).with(200);
    await page.click('#user-delete');
    await answer(page);
    await says(page, '#said', /Deleted frank/);
    await until(
      'frank is not known',
      async () => (await server.api('GET', '/api/users/frank')).status === 404,
    );
    await context.close();
  });

  test('a channel is published to, followed and deleted, and the nodes are told of', async () => {
    const grace = await server.login('grace');
    const stream = await grace.stream({ channels: 'weather' });
    const { page, context } = await openConsole(browser, server);
    await go(page, '#/channels/weather');
    await says(page, '#channel-followers', /grace/);
    await page.fill('#channel-data', '{"sky": "<b>clear</b>"}');
    await page.click('#channel-publish');
    await says(page, '#channel-messages', /<b>clear<\/b>/);
    assert.deepEqual((await stream.next()).data, { sky: '<b>clear</b>' });
    await go(page, '#/channels');
    await page.waitForSelector('#channels [data-channel="weather"]');
    await go(page, '#/channels/weather');
    await says(page, '#channel-followers', /grace/);
    await page.click('#channel-delete');
    assert.match(await answer(page), /1 user/);
    await says(page, '#said', /Deleted weather/);
    await go(page, '#/nodes');
    await page.waitForSelector('#nodes [data-node]');
    await says(page, '#tiles', /Users online\s*1/);
    await stream.drop();
    await context.close();
  });

  test('the demo can be used by everybody, on a phone as well', async () => {
    const check = async (page, state) => {
      await page.evaluate(AXE);
      const options = { runOnly: { type: 'tag', values: RULES } };
      const { violations } = await page.evaluate((options) => axe.run(document, options), options);
      const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html)}`);
      assert.deepEqual(found, [], state);
      // The words of a choice are not cut.
      const cut = await page.$$eval('select', (all) =>
        all
          .filter((one) => one.checkVisibility())
          .filter((one) => one.scrollWidth > one.clientWidth || one.clientWidth < 150)
          .map((one) => one.id),
      );
      assert.deepEqual(cut, [], state);
    };
    const login = await browser.newPage({ viewport: SIZES.phone });
    await login.goto(server.url);
    await login.waitForSelector('#login:not([hidden])');
    await check(login, 'the login');
    await login.close();
    const tab = await Tab.open(browser, server, 'judy', { viewport: SIZES.phone, channels: 'news' });
    await check(tab.page, 'nothing yet');
    await server.push({ to: ['judy'], data: 'hello' });
    await tab.says('hello');
    await check(tab.page, 'a message');
    await tab.page.click('#close-button');
    await tab.state('closed');
    await check(tab.page, 'closed');
    await tab.context.close();
  });

  test('a push of which a user waits can be cancelled, and is there after a reload', async () => {
    const { id } = await server.push({ to: ['heidi'], data: 'first' });
    const { page, context } = await openConsole(browser, server);
    await page.fill('#filter', 'heidi');
    await page.check('input[data-select-user="heidi"]');
    await page.check('#kind-message', { force: true });
    await page.fill('#push-data', 'take it back');
    await page.click('#push-button');
    const own = await until('the push is there', () =>
      page
        .$eval(`#receipts [data-push]:not([data-push="${id}"])[data-queued="1"]`, (one) => one.dataset.push)
        .catch(() => null),
    );
    await page.reload();
    await page.click(`[data-cancel-push="${own}"]`);
    assert.match(await answer(page), /1 user has not got it/);
    await page.waitForSelector(`[data-push="${own}"][data-cancelled="1"]`);
    assert.equal((await server.receipts(own)).heidi, 'cancelled');
    await context.close();
  });

  test('a key that may only read sees, and is told what it may not do', async () => {
    const files = await temporaryDirectory();
    const config = path.join(files.dir, 'encke.toml');
    const reader = 'only-for-looking-4711';
    await writeFile(config, `[[api_keys]]\nname = "viewer"\nkey = "${reader}"\nscopes = ["read"]\n`);
    const limited = await Server.start({ engine: 'memory', args: ['--config', config] });
    await limited.push({ to: ['ivan'], data: 1 });
    const page = await browser.newPage();
    await page.goto(`${limited.url}/console#key=${reader}`);
    await page.check('input[data-select-user="ivan"]');
    await page.fill('#push-url', 'https://example.com/');
    await page.click('#push-button');
    await says(page, '#push-error', /push/);
    assert.equal(await page.isVisible('#desk'), true, 'it is not logged out by that');
    await page.close();
    await limited.stop();
    await files.remove();
  });
});

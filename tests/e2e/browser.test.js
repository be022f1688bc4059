// The story in real browsers: pages pushed to the users who are named, sessions ended from either side, a
// server that goes and comes back.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Tab, launch, openConsole, picture, startSite } from './support/browser.js';
import { Server } from './support/server.js';
import { always, until } from './support/until.js';

const GRACE_S = 3;
/**
 * Longer than the longest pause of the client's first attempts, so that a client that meant to come back has
 * done so.
 */
const QUIET_MS = 6500;

let browser;
let site;
before(async () => {
  [browser, site] = await Promise.all([launch(), startSite()]);
});
after(async () => {
  await browser?.close();
  await site?.stop();
});

/** What runs a script where text is taken for markup, for an address, or for code. */
const PAYLOADS = [
  '<script>alert(1)</script>',
  '<SCRIPT SRC=//evil.example/x.js></SCRIPT>',
  '<img src=x onerror=alert(1)>',
  '<img src="x" onerror="window.ran=1">',
  '<svg onload=alert(1)>',
  '<svg><script>window.ran=1</script></svg>',
  '<svg><animate onbegin=alert(1) attributeName=x dur=1s>',
  '<body onload=alert(1)>',
  '<iframe srcdoc="<script>parent.ran=1</script>"></iframe>',
  '<iframe src=javascript:alert(1)></iframe>',
  '<object data="javascript:alert(1)"></object>',
  '<embed src="javascript:alert(1)">',
  '<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>',
  '<details open ontoggle=alert(1)>',
  '<input autofocus onfocus=alert(1)>',
  '<video><source onerror=alert(1)></video>',
  '<audio src onerror=alert(1)>',
  '<marquee onstart=alert(1)>',
  '<a href="javascript:alert(1)">x</a>',
  '<a href="java\tscript:alert(1)">x</a>',
  '<base href="//evil.example/">',
  '<meta http-equiv=refresh content="0;url=javascript:alert(1)">',
  '<link rel=stylesheet href=//evil.example/x.css>',
  '<form action=javascript:alert(1)><button autofocus>x</button></form>',
  '"><img src=x onerror=alert(1)>',
  "' onmouseover='alert(1)' x='",
  '`-alert(1)-`',
  '</script><script>alert(1)</script>',
  '<!--><img src=x onerror=alert(1)>-->',
  '${alert(1)}{{constructor.constructor("alert(1)")()}}',
];

const start = (env = {}) => Server.start({ env: { ENCKE_SESSION_GRACE_S: String(GRACE_S), ...env } });

/** Chooses these users in the console and no others. */
async function choose(desk, users) {
  await desk.click('#select-none');
  for (const user of users) await desk.check(`input[data-select-user="${user}"]`);
}

/** Pushes by the console's form, and gives the id of the push. */
async function pushByConsole(desk, url) {
  const before = await desk.$$eval('#receipts [data-push]', (all) => all.map((one) => one.dataset.push));
  await desk.check('#kind-page', { force: true });
  await desk.fill('#push-url', url);
  await desk.click('#push-button');
  return until('the console follows the push', async () => {
    const first = await desk.$eval('#receipts [data-push]', (one) => one.dataset.push).catch(() => null);
    return first && !before.includes(first) && first;
  });
}

/** The states that the console shows for a push, by user. */
const receiptsIn = (desk, push) =>
  desk.$$eval(`[data-push="${push}"] [data-receipt-user]`, (all) =>
    Object.fromEntries(all.map((one) => [one.dataset.receiptUser, one.dataset.state])),
  );

const TRANSPORTS = ['sse', 'poll', 'ws', 'iframe'];

for (const transport of TRANSPORTS) {
  test(`five users, by ${transport}`, { timeout: 240_000 }, async (t) => {
    // A browser does not tell that the connection of a frame was cut, so that is found out by silence.
    const server = await start(transport === 'iframe' ? { ENCKE_HEARTBEAT_S: '2' } : {});
    const names = ['alice', 'bob', 'carol', 'dave', 'erin'];
    const four = names.slice(0, 4);
    const tabs = {};
    let desk;
    try {
      await t.test('log in, each in a browser of its own', async () => {
        await Promise.all(
          names.map(
            async (name) =>
              (tabs[name] = await Tab.open(browser, server, name, { transport, channels: 'news' })),
          ),
        );
        const { sessions } = (await server.api('GET', '/api/sessions')).with(200);
        assert.deepEqual(
          sessions.map(({ user, transport }) => `${user} ${transport}`).sort(),
          names.map((name) => `${name} ${transport}`),
        );
        ({ page: desk } = await openConsole(browser, server));
        for (const name of names) await desk.waitForSelector(`[data-user="${name}"][data-online="true"]`);
        assert.ok(!desk.url().includes('key='), 'the key is taken out of the address');
      });

      await t.test(
        'a push from the console is shown to the four who were chosen, and not to the fifth',
        async () => {
          const url = `${site.url}/from-the-console`;
          await choose(desk, four);
          const push = await pushByConsole(desk, url);
          for (const name of four) assert.equal(await tabs[name].shows(url), 'from-the-console');
          await desk.waitForSelector(`[data-push="${push}"][data-shown="4"]`);
          assert.deepEqual(
            await receiptsIn(desk, push),
            Object.fromEntries(four.map((name) => [name, 'shown'])),
          );
          // What is pushed to the fifth afterwards is the first that the fifth gets.
          await server.push({ to: ['erin'], data: 'only you' });
          await tabs.erin.says('only you');
          assert.deepEqual(await tabs.erin.pages(), []);
          assert.equal(
            await tabs.erin.page.$eval('#messages [data-channel="@erin"]', (one) => one.dataset.offset),
            '1',
          );
        },
      );

      await t.test('so is a push by HTTP', async () => {
        const url = `${site.url}/by-http`;
        const { id } = await server.push({ to: four, url });
        for (const name of four) assert.equal(await tabs[name].shows(url), 'by-http');
        for (const name of four) await server.receipt(id, name, 'shown');
        assert.deepEqual(await tabs.erin.pages(), []);
        for (const name of four)
          assert.deepEqual(await tabs[name].pages(), [url, `${site.url}/from-the-console`]);
      });

      await t.test('a page of another origin runs in a sandbox, and can not reach out of it', async () => {
        const sandbox = await tabs.alice.page.$eval('#page-frame', (frame) => frame.getAttribute('sandbox'));
        assert.ok(!/allow-top-navigation/.test(sandbox), sandbox);
        const frame = tabs.alice.page.frames().find((frame) => frame.url().startsWith(site.url));
        assert.match(await frame.textContent('#script'), /^scripts run: /);
        await frame.evaluate(() => {
          try {
            top.location.href = 'about:blank';
          } catch {
            // It is refused.
          }
        });
        assert.equal(new URL(tabs.alice.page.url()).origin, server.url);
      });

      await t.test('a message is shown as text', async () => {
        await server.api('POST', '/api/publish', { channel: 'news', data: 'good news' });
        for (const name of names) await tabs[name].says('good news');
      });

      await t.test('pictures are taken', async () => {
        await picture(tabs.alice.page, `demo-${transport}`);
        await picture(desk, `console-${transport}`, { fullPage: true });
      });

      await t.test('one who presses the button is offline at once, and stays away', async () => {
        await tabs.alice.page.click('#close-button');
        await tabs.alice.state('closed');
        // The client says "closed" when the server has answered that everything is freed.
        assert.equal(await server.isOnline('alice'), false);
        assert.equal(await tabs.alice.page.$eval('#notice', (one) => one.dataset.code), 'client');
        await picture(tabs.alice.page, `demo-closed-${transport}`);
      });

      await t.test('one who closes the tab is offline at once', async () => {
        const left = performance.now();
        await tabs.bob.page.close({ runBeforeUnload: true });
        await until('bob is offline', async () => !(await server.isOnline('bob')), GRACE_S * 1000 - 500);
        assert.ok(performance.now() - left < GRACE_S * 1000, 'by the beacon, not by the grace time');
      });

      await t.test("one is closed by the operator's button, and stays away", async () => {
        await desk.click('button[data-close-user="carol"]');
        await desk.click('#question-yes');
        await tabs.carol.state('closed');
        assert.equal(await server.isOnline('carol'), false);
        assert.equal(await tabs.carol.page.$eval('#notice', (one) => one.dataset.code), 'operator');
        await desk.waitForSelector('[data-user="carol"][data-online="false"]');
        assert.match(await desk.textContent('#said'), /carol/);
      });

      await t.test('none of them comes back by itself', async () => {
        const before = [tabs.alice.requests.length, tabs.carol.requests.length];
        await always('none of them is online', QUIET_MS, async () => {
          const online = (await server.api('GET', '/api/users?online=true'))
            .with(200)
            .users.map(({ id }) => id);
          return online.join() === 'dave,erin';
        });
        assert.deepEqual(
          [tabs.alice.requests.length, tabs.carol.requests.length],
          before,
          'they have not asked for anything',
        );
      });

      for (const signal of ['SIGKILL', 'SIGTERM']) {
        await t.test(
          `when the server is ended by ${signal} and comes back, the others resume by themselves and miss nothing`,
          async () => {
            const url = `${site.url}/after-${signal}`;
            const closed = [tabs.alice.connections, tabs.carol.connections];
            await server.kill(signal);
            await until(
              'the tabs have noticed',
              async () => (await tabs.dave.page.$eval('#state', (one) => one.dataset.state)) !== 'open',
            );
            await server.startAgain();
            await server.push({ to: ['dave', 'erin'], url });
            await server.api('POST', '/api/publish', { channel: 'news', data: `after ${signal}` });
            for (const name of ['dave', 'erin']) {
              assert.equal(await tabs[name].shows(url), `after-${signal}`);
              await tabs[name].says(`after ${signal}`);
              await tabs[name].state('open');
              const all = await tabs[name].messages();
              assert.equal(all.filter((one) => one === `after ${signal}`).length, 1, 'once');
              assert.equal(await server.isOnline(name), true);
            }
            assert.deepEqual(
              [tabs.alice.connections, tabs.carol.connections],
              closed,
              'those who were closed stay away',
            );
          },
        );
      }

      await t.test(
        'one who was closed comes back by the button, and is given what was pushed meanwhile',
        async () => {
          const url = `${site.url}/meanwhile`;
          const { id } = await server.push({ to: ['alice'], url });
          await tabs.alice.page.click('#reconnect-button');
          await tabs.alice.state('open');
          assert.equal(await tabs.alice.shows(url), 'meanwhile');
          await server.receipt(id, 'alice', 'shown');
        },
      );

      await t.test('one whose tab is killed is offline within the grace time', async () => {
        assert.equal(await server.isOnline('dave'), true);
        const cdp = await tabs.dave.context.newCDPSession(tabs.dave.page);
        const killed = performance.now();
        // The renderer does not live to answer this.
        cdp.send('Page.crash').catch(() => {});
        await until('dave is offline', async () => !(await server.isOnline('dave')), GRACE_S * 1000 + 5000);
        console.log(
          `a killed tab was offline after ${Math.round(performance.now() - killed)} ms; the grace time is ${GRACE_S} s`,
        );
      });

      for (const tab of Object.values(tabs)) {
        assert.deepEqual(tab.dialogs, []);
        assert.deepEqual(tab.errors, []);
      }
    } finally {
      await Promise.all(Object.values(tabs).map((tab) => tab.context.close()));
      await desk?.context().close();
      await server.stop();
    }
  });
}

describe('what else a browser does', () => {
  let server;
  before(async () => void (server = await start()));
  after(() => server.stop());

  for (const transport of TRANSPORTS) {
    test(`a reload goes on where it was, by ${transport}`, async () => {
      const tab = await Tab.open(browser, server, `reload-${transport}`, { transport });
      const url = `${site.url}/before-reload`;
      await server.push({ to: [tab.user], url });
      await tab.shows(url);
      await tab.page.reload();
      await tab.state('open');
      assert.equal(await tab.shows(url), 'before-reload', 'the page that was shown is shown again');
      await server.push({ to: [tab.user], data: 'after reload' });
      await tab.says('after reload');
      await until('one session is left', async () => (await server.sessions(tab.user)).length === 1);
      await tab.context.close();
    });

    test(`a page that is left and comes out of the back/forward cache goes on, by ${transport}`, async () => {
      const tab = await Tab.open(browser, server, `bfcache-${transport}`, { transport });
      await tab.page.evaluate(() => (window.mark = 'the same document'));
      await tab.page.goto(`${site.url}/elsewhere`);
      await until(
        'it is offline while it is away',
        async () => !(await server.isOnline(tab.user)),
        GRACE_S * 1000 - 500,
      );
      await server.push({ to: [tab.user], data: 'while you were away' });
      // A page that comes out of the cache is not loaded, so there is no event of that to wait for.
      await tab.page.goBack({ waitUntil: 'commit' });
      await tab.state('open');
      assert.equal(
        await tab.page.evaluate(() => window.mark),
        'the same document',
        'the browser kept the page',
      );
      await tab.says('while you were away');
      assert.equal((await tab.messages()).filter((one) => one === 'while you were away').length, 1);
      await until('it has one session', async () => (await server.sessions(tab.user)).length === 1);
      assert.equal(await server.isOnline(tab.user), true);
      await tab.context.close();
    });
  }

  test('what is pushed to a hidden tab is shown when a user looks at it', async () => {
    const tab = await Tab.open(browser, server, 'hidden');
    const hide = (hidden) => tab.page.evaluate((hidden) => {
      Object.defineProperty(document, 'visibilityState', {
        configurable: true,
        get: () => (hidden ? 'hidden' : 'visible'),
      });
      document.dispatchEvent(new Event('visibilitychange'));
    }, hidden);
    await hide(true);
    const url = `${site.url}/hidden`;
    const { id } = await server.push({ to: ['hidden'], url });
    await tab.shows(url);
    await server.receipt(id, 'hidden', 'delivered');
    assert.deepEqual(await server.receipts(id), { hidden: 'delivered' });
    await hide(false);
    await server.receipt(id, 'hidden', 'shown');
    await tab.context.close();
  });

  test('addresses that are scripts are refused by the server, by the console, and by the client', async () => {
    const tab = await Tab.open(browser, server, 'script');
    const { page: desk, dialogs, context } = await openConsole(browser, server);
    await desk.waitForSelector('[data-user="script"]');
    await choose(desk, ['script']);
    for (const url of [
      'javascript:alert(1)',
      'JaVaScRiPt:alert(1)',
      'data:text/html,<script>alert(1)</script>',
      'java\tscript:alert(1)',
    ]) {
      (await server.api('POST', '/api/push', { to: ['script'], url })).refused(400, 'bad_url');
      await desk.fill('#push-url', url);
      await desk.click('#push-button');
      await desk.waitForSelector('#push-error:not([hidden])');
      // The client does not trust the server either.
      const refused = await tab.page.evaluate(async (url) => {
        const { showPage, safeUrl } = await import('/client.js');
        const container = document.createElement('div');
        document.body.append(container);
        const error = await showPage(container, { url }).catch((error) => error);
        return { code: error.code, safe: safeUrl(url), frames: container.childElementCount };
      }, url);
      assert.deepEqual(refused, { code: 'bad_url', safe: null, frames: 0 });
    }
    assert.deepEqual((await server.api('GET', '/api/channels/@script/history')).with(200).messages, []);
    assert.deepEqual([tab.dialogs, dialogs], [[], []]);
    await context.close();
    await tab.context.close();
  });

  test('what looks like markup stays text, on both pages', async () => {
    const evil = '<img src=x onerror=alert(1)><script>alert(2)</script>"><svg onload=alert(3)>';
    const name = 'eve<img src=x onerror=alert(4)>';
    const tab = await Tab.open(browser, server, name, { channels: '<b onclick=alert(5)>c</b>' });
    const { page: desk, dialogs, context } = await openConsole(browser, server);
    await server.push({ to: [name], data: evil });
    await server.push({ to: [name], data: { [evil]: [evil] } });
    await server.api('POST', '/api/publish', { channel: '<b onclick=alert(5)>c</b>', data: evil });
    await tab.says(evil);
    await tab.says(JSON.stringify({ [evil]: [evil] }));
    const url = `${site.url}/?<script>alert(6)</script>"onload="alert(7)`;
    await server.push({ to: [name], url });
    await until('the page is there', async () => (await tab.pages()).length === 1);
    await desk.waitForFunction(
      (name) => [...document.querySelectorAll('#users [data-user]')].some((one) => one.dataset.user === name),
      name,
    );
    await desk.check('#kind-message', { force: true });
    await choose(desk, [name]);
    await desk.fill('#push-data', evil);
    await desk.click('#push-button');
    await desk.waitForSelector('#receipts [data-push]');
    await until(
      'the receipt is there',
      async () => (await desk.$$('#receipts [data-receipt-user]')).length > 0,
    );
    await server.api('POST', '/api/close', { user: name, reason: evil });
    await tab.state('closed');
    assert.ok((await tab.page.textContent('#notice')).includes(evil));
    for (const page of [tab.page, desk]) {
      assert.equal(
        await page.$$eval('main img, main script, main svg, main b[onclick]', (all) => all.length),
        0,
      );
    }
    assert.deepEqual([tab.dialogs, dialogs, tab.errors], [[], [], []]);
    await context.close();
    await tab.context.close();
  });

  test('thirty ways to run a script, pushed, run none on either page', async () => {
    const tab = await Tab.open(browser, server, 'thirty');
    const { page: desk, dialogs, context } = await openConsole(browser, server);
    for (const payload of PAYLOADS) await server.push({ to: ['thirty'], data: { text: payload } });
    for (const payload of PAYLOADS) await tab.says(JSON.stringify({ text: payload }));
    // As a name each is a user in the console's list, where it may be one.
    const names = PAYLOADS.filter((payload) => !/[\n\t\0]/.test(payload));
    await server.push({ to: names, data: 1 });
    await desk.waitForFunction(
      (name) => [...document.querySelectorAll('#users [data-user]')].some((one) => one.dataset.user === name),
      names[0],
    );
    for (const page of [tab.page, desk]) {
      assert.deepEqual(
        await page.evaluate(() => ({
          ran: window.ran ?? 0,
          made: document.querySelectorAll(
            'main img, main script, main svg, main iframe[srcdoc], main object, main embed, main math, main base, ' +
              'main [onload], main [onerror], main [onclick], main [onfocus], main [ontoggle], main a[href^="j" i]',
          ).length,
        })),
        { ran: 0, made: 0 },
      );
    }
    assert.deepEqual([tab.dialogs, dialogs, tab.errors], [[], [], []]);
    await context.close();
    await tab.context.close();
  });

  test('one browser may be several users, a tab each, and one in several tabs', async () => {
    const first = await Tab.open(browser, server, 'several');
    const page = await first.context.newPage();
    await page.goto(server.url);
    await page.fill('#login-user', 'several');
    await page.click('#login-button');
    await page.waitForSelector('#state[data-state="open"]');
    assert.equal((await server.user('several')).sessions, 2);
    await server.push({ to: ['several'], data: 'both' });
    await first.says('both');
    await page.waitForSelector('#messages .data');
    await page.close({ runBeforeUnload: true });
    await until('one tab is left', async () => (await server.user('several')).sessions === 1);
    assert.equal(await server.isOnline('several'), true);
    await first.context.close();
  });

  test('users publish, follow and leave channels by the page', async () => {
    const [first, second] = [
      await Tab.open(browser, server, 'talks'),
      await Tab.open(browser, server, 'listens'),
    ];
    await second.page.fill('#channel-input', 'talk');
    await second.page.click('#channel-button');
    await second.page.waitForSelector('#channels [data-channel="talk"]');
    await until('the server has it', async () =>
      (await server.sessions('listens'))[0].channels.includes('talk'),
    );
    await first.page.fill('#publish-channel', 'talk');
    await first.page.fill('#publish-data', 'hello');
    await first.page.click('#publish-button');
    await second.says('hello');
    assert.match(await second.page.textContent('#messages li'), /from talks/);
    await second.page.click('#channels [data-channel="talk"] button');
    await until(
      'the server has left it',
      async () => (await server.sessions('listens'))[0].channels.length === 0,
    );
    await first.context.close();
    await second.context.close();
  });

  test('a key that is wrong does not open the console', async () => {
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(`${server.url}/console`);
    await page.fill('#key', 'wrong');
    await page.click('#key-button');
    await page.waitForSelector('#key-error:not([hidden])');
    assert.equal(await page.isVisible('#desk'), false);
    await picture(page, 'console-gate');
    await context.close();
  });

  test('on a phone, and in the dark, the pages can be read', async () => {
    // The first of the list, of which a phone shows some rows.
    const user = '0-phone';
    const viewport = { width: 390, height: 844 };
    const tab = await Tab.open(browser, server, user, { viewport, channels: 'news' });
    const url = `${site.url}/on-a-phone`;
    await server.push({ to: [user], url });
    await tab.shows(url);
    await server.push({
      to: [user],
      data: { text: 'a message with some length, so that it has to be broken into lines', n: [1, 2, 3] },
    });
    await until('it is there', async () => (await tab.messages()).length === 1);
    const { page: desk, context } = await openConsole(browser, server, { viewport });
    await desk.waitForSelector(`[data-user="${user}"]`);
    await choose(desk, [user]);
    const push = await pushByConsole(desk, `${site.url}/again`);
    await desk.waitForSelector(`[data-push="${push}"][data-shown="1"]`);
    for (const [page, name] of [[tab.page, 'demo-phone'], [desk, 'console-phone']]) {
      const { wide, inner } = await page.evaluate(() => ({
        wide: document.documentElement.scrollWidth,
        inner: innerWidth,
      }));
      assert.ok(wide <= inner, `${name} is ${wide} px wide on a screen of ${inner}`);
      await picture(page, name, { fullPage: true });
      await page.emulateMedia({ colorScheme: 'dark' });
      await picture(page, `${name}-dark`, { fullPage: true });
    }
    await context.close();
    await tab.context.close();
  });

  test('the login page has its picture taken', async () => {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
    const page = await context.newPage();
    await page.goto(server.url);
    await page.waitForSelector('#login:not([hidden])');
    await picture(page, 'login');
    await context.close();
  });

  test('everything that a person does can be done by the keyboard', async () => {
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(server.url);
    await page.waitForSelector('#login:not([hidden])');
    await page.keyboard.type('keys');
    await page.keyboard.press('Enter');
    await page.waitForSelector('#state[data-state="open"]');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'close-button');
    await page.keyboard.press('Enter');
    await page.waitForSelector('#state[data-state="closed"]');
    await page.waitForFunction(() => document.activeElement.id === 'reconnect-button');
    await page.keyboard.press('Enter');
    await page.waitForSelector('#state[data-state="open"]');
    await context.close();
  });
});

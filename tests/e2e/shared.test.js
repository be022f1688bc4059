// Tabs of one user that share a connection: each is told everything once, and the session outlives the tab
// that holds it.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { launch } from './support/browser.js';
import { Server, TOKEN_SECRET } from './support/server.js';
import { inSeconds, sign } from './support/token.js';
import { until } from './support/until.js';

/** Longer than any condition is waited for: what ends sooner was ended on purpose. */
const GRACE_S = 60;
/** More than a browser opens connections to one host over HTTP/1.1. */
const MANY = 8;

let browser;
let server;
before(async () => {
  const env = { ENCKE_SESSION_GRACE_S: String(GRACE_S) };
  [browser, server] = await Promise.all([launch(), Server.start({ env })]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** A tab with a client on it, which keeps what it is told. */
async function open(context, user, options = {}) {
  const page = await context.newPage();
  await page.goto(server.url);
  await page.evaluate(async ([token, options]) => {
    const { Encke } = await import('/client.js');
    window.got = [];
    window.gaps = [];
    window.client = new Encke({ token, ...options });
    client.on('message', ({ channel, data }) => got.push(`${channel} ${data}`));
    client.on('gap', (gap) => gaps.push(gap));
    window.errors = [];
    client.on('error', (error) => errors.push(error.code));
    client.on('error', (error) => console.error(error.code, error.message));
    client.connect();
  }, [user.token, options]);
  return page;
}

const shared = (page) => page.evaluate(() => client.status.shared);
const got = (page) => page.evaluate(() => got);
const isOpen = (page) => until('it is open', () => page.evaluate(() => client.state === 'open'));
const has = (page, words) => until(`${words} came`, async () => (await got(page)).includes(words));
const publish = (channel, data) => server.api('POST', '/api/publish', { channel, data });
const held = async (user) => (await server.sessions(user)).filter(({ connected }) => connected);

/** The tab that holds the connection. */
async function leaderOf(pages) {
  const states = await Promise.all(pages.map(shared));
  assert.equal(states.filter((state) => state === 'leads').length, 1, states.join());
  return pages[states.indexOf('leads')];
}

for (const transport of ['ws', 'sse', 'poll']) {
  test(`${MANY} tabs of one user have one session, and each is told everything once, ${transport}`, async () => {
    const name = `tabs-${transport}`;
    const user = await server.login(name);
    const context = await browser.newContext();
    let pages = [];
    for (let i = 0; i < MANY; i++)
      pages.push(await open(context, user, { transport, channels: ['news', `own-${i}`] }));
    for (const page of pages) await isOpen(page);
    const everywhere = async (words) => {
      await server.push({ to: [name], data: words });
      await publish('news', words);
      for (const page of pages) {
        await has(page, `@${name} ${words}`);
        await has(page, `news ${words}`);
      }
    };
    await everywhere('first');
    assert.equal((await held(name)).length, 1);

    // A tab is told of its own channels only.
    await publish('own-3', 'mine');
    await has(pages[3], 'own-3 mine');
    // What a tab asks for later comes too.
    await pages[5].evaluate(() => client.subscribe(['later']));
    await publish('later', 'late');
    await has(pages[5], 'later late');
    assert.equal(await pages[5].evaluate((id) => client.publish('news', 'by a tab').then(() => id), 1), 1);
    for (const page of pages) await has(page, 'news by a tab');

    // The tab that holds the connection is killed; what is published meanwhile comes from its heir.
    const leader = await leaderOf(pages);
    pages = pages.filter((page) => page !== leader);
    const gone = leader.waitForEvent('crash');
    (await context.newCDPSession(leader)).send('Page.crash').catch(() => {});
    await publish('news', 'meanwhile');
    await gone;
    for (const page of pages) await has(page, 'news meanwhile');
    await leader.close();
    await everywhere('after the kill');
    await until('one connection is held', async () => (await held(name)).length === 1);

    // All but one are closed as users do.
    for (const page of pages.slice(0, -1)) await page.close({ runBeforeUnload: true });
    pages = pages.slice(-1);
    await until('the last tab leads', async () => (await shared(pages[0])) === 'leads');
    await everywhere('to the last');
    assert.equal(await server.isOnline(name), true);

    const all = await got(pages[0]);
    assert.deepEqual(all, [...new Set(all)], 'nothing came twice');
    assert.deepEqual(
      all.filter((words) => words.startsWith('news')),
      ['first', 'by a tab', 'meanwhile', 'after the kill', 'to the last'].map((words) => `news ${words}`),
    );
    assert.ok(!all.some((words) => words.startsWith('own-3')), 'nothing of other tabs');
    assert.deepEqual(await pages[0].evaluate(() => gaps), []);
    await pages[0].close({ runBeforeUnload: true });
    await until('the user is offline', async () => !(await server.isOnline(name)));
    await context.close();
  });
}

test('a tab that comes back with an old cursor gets what it missed, and no other tab gets it again', async () => {
  const user = await server.login('behind');
  const context = await browser.newContext();
  const first = await open(context, user, { channels: ['news'] });
  await isOpen(first);
  const cursor = await first.evaluate(() => client.cursor);
  for (const data of ['a', 'b', 'c']) await publish('news', data);
  await has(first, 'news c');
  const second = await open(context, user, { cursor });
  for (const data of ['a', 'b', 'c']) await has(second, `news ${data}`);
  await publish('news', 'd');
  for (const page of [first, second]) {
    await has(page, 'news d');
    assert.deepEqual(await got(page), ['news a', 'news b', 'news c', 'news d']);
  }
  assert.equal((await held('behind')).length, 1);
  await context.close();
});

test('closing one tab on purpose leaves the session to the others, and closing the last ends it', async () => {
  const user = await server.login('closing');
  const context = await browser.newContext();
  const pages = [await open(context, user), await open(context, user)];
  for (const page of pages) await isOpen(page);
  assert.equal(await pages[0].evaluate(() => client.close()), true);
  await until('the other leads', async () => (await shared(pages[1])) === 'leads');
  await server.push({ to: ['closing'], data: 'still' });
  await has(pages[1], '@closing still');
  assert.equal(await pages[1].evaluate(() => client.close()), true);
  assert.equal(await server.isOnline('closing'), false);
  assert.deepEqual(await got(pages[0]), []);
  // A close by the operator is for all of them.
  for (const page of pages) await page.evaluate(() => client.connect());
  for (const page of pages) await isOpen(page);
  await server.api('POST', '/api/close', { user: 'closing' });
  for (const page of pages)
    await until('it is closed', () => page.evaluate(() => client.state === 'closed'));
  assert.equal(await server.isOnline('closing'), false);
  await context.close();
});

for (const transport of ['ws', 'sse', 'poll']) {
  test(`a channel that is forbidden to one tab ends that tab alone, ${transport}`, async () => {
    const name = `forbidden-${transport}`;
    const user = server.as(
      name,
      sign(TOKEN_SECRET, { sub: name, exp: inSeconds(600), channels: ['news', 'own'] }),
    );
    const context = await browser.newContext();
    const first = await open(context, user, { transport, channels: ['news'] });
    await isOpen(first);
    const second = await open(context, user, { transport, channels: ['secret'] });
    const isRefused = (page) =>
      until('it is refused', () =>
        page.evaluate(() => client.state === 'closed' && errors.includes('channel_forbidden')),
      );
    await isRefused(second);
    const third = await open(context, user, { transport, channels: ['own'] });
    await until('it is granted', () => third.evaluate(() => client.cursor?.includes('~own~')));
    await server.restart('SIGTERM');
    const comeBack = async (data, pages) => {
      for (const [channel, page] of Object.entries(pages)) {
        await until('it is connected', async () => (await held(name)).length === 1);
        await publish(channel, data);
        await has(page, `${channel} ${data}`);
      }
    };
    await comeBack('again', { news: first, own: third });
    await second.evaluate(() => client.connect());
    await isRefused(second);
    await comeBack('still', { news: first, own: third });
    await context.close();
  });
}

test('a tab that leads and is refused its own channel leaves the connection to another', async () => {
  const user = server.as(
    'refused',
    sign(TOKEN_SECRET, { sub: 'refused', exp: inSeconds(600), channels: ['news'] }),
  );
  const context = await browser.newContext();
  // Restored together: which of them leads first is left to chance.
  const pages = await Promise.all([
    open(context, user, { channels: ['secret'] }),
    open(context, user, { channels: ['news'] }),
    open(context, user, { channels: ['secret'] }),
  ]);
  await isOpen(pages[1]);
  for (const page of [pages[0], pages[2]])
    await until('it is refused', () =>
      page.evaluate(() => client.state === 'closed' && errors.includes('channel_forbidden')),
    );
  await publish('news', 'to the one');
  await has(pages[1], 'news to the one');
  await context.close();
});

test('users, and tabs that ask for it, have connections of their own', async () => {
  const context = await browser.newContext();
  const [one, two] = [await server.login('one'), await server.login('two')];
  const pages = [
    await open(context, one),
    await open(context, two),
    await open(context, one, { share: false }),
  ];
  for (const page of pages) await isOpen(page);
  assert.deepEqual(await Promise.all(pages.map(shared)), ['leads', 'leads', 'alone']);
  assert.equal((await held('one')).length, 2);
  await server.push({ to: ['two'], data: 'only you' });
  await has(pages[1], '@two only you');
  assert.deepEqual(await got(pages[0]), []);
  await context.close();
});

test('each device of a user gets each push once, whatever the others got', async () => {
  const user = await server.login('devices');
  const [laptop, phone] = [await browser.newContext(), await browser.newContext()];
  const onPhone = await open(phone, user);
  await isOpen(onPhone);
  await server.push({ to: ['devices'], data: 'to both' });
  await has(onPhone, '@devices to both');
  await onPhone.close({ runBeforeUnload: true });
  await until('the phone is away', async () => !(await server.isOnline('devices')));

  // The laptop comes for the first time, and takes what is pushed while the phone is away.
  const onLaptop = await open(laptop, user);
  await isOpen(onLaptop);
  await server.push({ to: ['devices'], data: 'meanwhile' });
  await has(onLaptop, '@devices meanwhile');
  const again = await open(phone, user);
  await has(again, '@devices meanwhile');
  await server.push({ to: ['devices'], data: 'at last' });
  for (const page of [onLaptop, again]) await has(page, '@devices at last');
  assert.deepEqual(await got(again), ['@devices meanwhile', '@devices at last']);
  assert.deepEqual(await got(onLaptop), ['@devices meanwhile', '@devices at last']);
  await Promise.all([laptop.close(), phone.close()]);
});

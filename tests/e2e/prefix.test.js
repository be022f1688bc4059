// Behind a prefix of the path, which a real nginx cuts off: the pages, the client, the command line and the
// cookies work as they do at the root.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { launch, picture } from './support/browser.js';
import { request } from './support/http.js';
import { Nginx } from './support/nginx.js';
import { run } from './support/program.js';
import { API_KEY, Server } from './support/server.js';
import { until } from './support/until.js';

const PREFIX = '/push';

let browser;
let server;
let nginx;
before(async () => {
  [browser, server] = await Promise.all([launch(), Server.start()]);
  // As docs/OPERATING.md has it. Whatever is asked for outside the prefix is not Encke's.
  nginx = await Nginx.start(`location ${PREFIX}/ {
      proxy_pass ${server.url}/;
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Prefix ${PREFIX};
      proxy_buffering off;
    }
    location / { return 404; }`);
});
after(async () => {
  await browser?.close();
  await nginx?.stop();
  await server?.stop();
});

/** A page, and what it asked for that was not there. */
async function visit(address) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  const page = await context.newPage();
  const missing = [];
  const errors = [];
  page.on(
    'response',
    (response) => response.status() >= 400 && missing.push(`${response.status()} ${response.url()}`),
  );
  page.on('pageerror', (error) => errors.push(String(error)));
  await page.goto(address);
  return { context, page, missing, errors };
}

for (const transport of ['sse', 'poll', 'ws', 'iframe']) {
  test(`the demo and the console work behind a prefix, ${transport}`, async () => {
    const user = `prefix-${transport}`;
    // Without the slash, as users type it: nginx sends them on.
    const demo = await visit(`${nginx.url}${PREFIX}`);
    await demo.page.fill('#login-user', user);
    await demo.page.selectOption('#login-transport', transport);
    await demo.page.click('#login-button');
    await demo.page.waitForSelector('#state[data-state="open"]');
    const desk = await visit(`${nginx.url}${PREFIX}/console#key=${API_KEY}`);
    await desk.page.waitForSelector('#desk:not([hidden])');
    await desk.page.check(`#users [data-select-user="${user}"]`);
    await desk.page.check('#kind-message');
    await desk.page.fill('#push-data', 'over the prefix');
    await desk.page.click('#push-button');
    await until('the message is there', () =>
      demo.page.$$eval('#messages li .data', (all) =>
        all.some((one) => one.textContent.includes('over the prefix')),
      ),
    );
    await demo.page.fill('#publish-channel', 'news');
    await demo.page.fill('#publish-data', 'hello');
    await demo.page.click('#publish-button');
    await until('it is published', async () => (await demo.page.textContent('#publish-result')) !== '');
    await picture(demo.page, `prefix-demo-${transport}`);
    await picture(desk.page, `prefix-console-${transport}`);
    // From one page to the other and back.
    for (const [page, selector, end] of [
      [demo.page, '#page-empty a', '/console'],
      [desk.page, '#actions a', '/'],
      [demo.page, 'a.brand', '/'],
      [desk.page, 'a.brand', '/console'],
    ]) {
      const href = await page.$eval(selector, (link) => link.href);
      assert.ok([`${nginx.url}${PREFIX}${end}`].includes(href), `${selector}: ${href}`);
    }
    await demo.page.click('#close-button');
    await demo.page.waitForSelector('#state[data-state="closed"]');
    assert.deepEqual([...demo.missing, ...desk.missing], []);
    assert.deepEqual([...demo.errors, ...desk.errors], []);
    await demo.context.close();
    await desk.context.close();
  });
}

test('the cookie is for the prefix, and is cleared there', async () => {
  const login = await request(`${nginx.url}${PREFIX}/v1/login`, { method: 'POST', body: { user: 'alice' } });
  assert.match(
    login.headers['set-cookie'][0],
    /^encke_token=[^;]+; Path=\/push\/; HttpOnly; SameSite=Lax; Max-Age=\d+$/,
  );
  const logout = await request(`${nginx.url}${PREFIX}/v1/logout`, { method: 'POST', body: {} });
  assert.match(logout.headers['set-cookie'][0], /^encke_token=; Path=\/push\/; .*Max-Age=0$/);
  // In a browser, which decides by that what it sends.
  const { page, context } = await visit(`${nginx.url}${PREFIX}/`);
  const ask = (path, body) =>
    page.evaluate(
      async ([path, body]) =>
        (
          await fetch(path, {
            method: 'POST',
            headers: { 'content-type': 'application/json' },
            body: JSON.stringify(body),
          })
        ).status,
      [path, body],
    );
  assert.equal(await ask('v1/ticket', {}), 401);
  assert.equal(await ask('v1/login', { user: 'alice' }), 200);
  assert.equal(await ask('v1/ticket', {}), 200);
  assert.deepEqual(
    (await context.cookies()).map(({ name, path }) => [name, path]),
    [['encke_token', '/push/']],
  );
  assert.equal(await ask('v1/logout', {}), 200);
  assert.equal(await ask('v1/ticket', {}), 401);
  await context.close();
});

test('a script of the classic dialect keeps its place behind a prefix', async () => {
  const { page, context } = await visit(`${nginx.url}${PREFIX}/`);
  const first = page.evaluate(async () => (await fetch('classic/backend', { method: 'POST' })).json());
  await until('it waits', async () =>
    (await server.api('GET', '/api/sessions'))
      .with(200)
      .sessions.some(({ user }) => user.startsWith('classic-')),
  );
  const write = (msg) =>
    page.evaluate(
      async (msg) =>
        (
          await fetch('classic/writedata', {
            method: 'POST',
            headers: { 'content-type': 'application/x-www-form-urlencoded' },
            body: `msg=${msg}`,
          })
        ).status,
      msg,
    );
  assert.equal(await write('one'), 200);
  assert.equal((await first).msg, 'one');
  assert.deepEqual(
    (await context.cookies()).map(({ name, path }) => [name, path]),
    [['encke_classic', '/push/classic']],
  );
  // What comes between two requests is there at the next, since the cookie says where it stands.
  assert.equal(await write('two'), 200);
  assert.equal(
    (await page.evaluate(async () => (await fetch('classic/backend', { method: 'POST' })).json())).msg,
    'two',
  );
  await context.close();
});

test('the command line takes an address with a prefix', async () => {
  const { status, stderr } = await run(['push', '--to', 'alice', '--data', '1'], {
    env: { ENCKE_URL: `${nginx.url}${PREFIX}/`, ENCKE_API_KEY: API_KEY },
  });
  assert.equal(status, 0, stderr);
});

// What README.md says to paste into a page, as it stands there, in a page of another origin; and what a page
// author is told when something is wrong.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { after, before, test } from 'node:test';

import { launch } from './support/browser.js';
import { freePort } from './support/port.js';
import { Server } from './support/server.js';
import { until } from './support/until.js';

const README = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
/** Where README.md's server is. */
const WRITTEN = 'http://127.0.0.1:8080';

let browser;
let server;
let site;
before(async () => {
  [browser, server, site] = await Promise.all([launch(), Server.start(), startSite()]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
  await site?.stop();
});

/** What a page that is pushed says when it is shown, as clients/js/README.md has it. */
const SHOWN = "parent.postMessage({ encke: 'shown' }, '*')";
const bodyOf = (address, site) =>
  ({ '/shown': `<script>${SHOWN}</script>`, '/silent': 'It says nothing.' })[address] ?? site.html;

/** A server of pages, each of which is what it was told last. */
async function startSite() {
  const site = { html: '' };
  const pages = http.createServer((request, response) => {
    const policy = request.url === '/framed-nowhere' ? { 'x-frame-options': 'DENY' } : {};
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8', ...policy });
    response.end(`<!doctype html><meta charset="utf-8"><title>a page</title>${bodyOf(request.url, site)}`);
  });
  await new Promise((resolve) => pages.listen(0, '127.0.0.1', resolve));
  const { port } = pages.address();
  return Object.assign(site, {
    here: `http://localhost:${port}`,
    elsewhere: `http://stranger.example:${port}`,
    stop: () => new Promise((resolve) => (pages.closeAllConnections(), pages.close(resolve))),
  });
}

/** Opens a page with this in it; gives it and what its console says. */
async function visit(origin, html) {
  site.html = html;
  const page = await browser.newPage();
  const words = [];
  page.on('console', (message) => words.push(message.text()));
  page.on('pageerror', (error) => words.push(String(error)));
  await page.goto(origin);
  return { page, words };
}

const says = (words, text) =>
  until(`the console says ${text}: ${JSON.stringify(words)}`, () => words.some((one) => one.includes(text)));

test('the snippet works when it is pasted into a page of another origin', async () => {
  const [snippet] = README.match(/(?<=```html\n)[^]*?(?=```)/);
  assert.ok(snippet.includes(`'${WRITTEN}/client.js'`));
  const { page, words } = await visit(site.here, snippet.replaceAll(WRITTEN, server.url));
  await server.held('alice');
  await server.api('POST', '/api/publish', { channel: 'news', data: 'good news' });
  await says(words, 'news good news');
  // A page counts as shown when it says so itself, and not by being loaded.
  const silent = await server.push({ to: ['alice'], url: `${site.here}/silent` });
  await page.waitForSelector('#frame iframe[src$="/silent"]');
  await page.frameLocator('#frame iframe').getByText('It says nothing.').waitFor();
  assert.equal((await server.receipts(silent.id)).alice, 'delivered');
  const { id } = await server.push({ to: ['alice'], url: `${site.here}/shown` });
  await server.receipt(id, 'alice', 'shown');
  assert.equal(await page.$eval('#frame iframe', (frame) => frame.src), `${site.here}/shown`);
  assert.equal((await server.sessions('alice'))[0].transport, 'ws');
  await page.close();
});

/** A page whose client tells its errors; `url` is only given where it is not the module's own. */
const client = (options) => `<script type="module">
  import { Encke } from '${server.url}/client.js';
  const client = new Encke(${JSON.stringify(options)});
  client.on('error', (error) => console.error(error.code + ': ' + error.message));
  client.connect();
</script>`;

test('errors name their cause', async () => {
  const { token } = await server.login('bob');
  const nothing = `http://127.0.0.1:${await freePort()}`;
  const told = async (origin, options, text) => {
    const { page, words } = await visit(origin, client(options));
    await says(words, text);
    await page.close();
  };
  // The served file is minified: it has codes, what they concern, and the page that explains them.
  const refused = `origin_refused: origin_refused ${server.url} ${site.elsewhere} https:`;
  await told(site.elsewhere, { token }, refused);
  await told(site.here, { token, url: nothing }, `network: no_answer ${nothing} https:`);
  const elsewhere = `${server.url}/elsewhere`;
  await told(site.here, { token, url: elsewhere }, `not_found: not_found ${elsewhere} https:`);
  await told(site.here, { token, url: site.here }, 'network: not_json https:');
  await told(site.here, {}, 'unauthorized: no_token https:');
  await told(site.here, { token: 'x.y.z' }, 'unauthorized: ');
});

test('a page that forbids frames is not taken for shown, and has a link', async () => {
  const { token } = await server.login('carol');
  const { page } = await visit(
    site.here,
    `<div id="frame"></div><script type="module">
      import { Encke, showPage } from '${server.url}/client.js';
      const client = new Encke({ token: '${token}' });
      const options = { client, link: 'Open it in a window' };
      client.on('page', async (page) => {
        const frame = await showPage(document.querySelector('#frame'), page, options);
        frame.dataset.loaded = '';
      });
      client.connect();
    </script>`,
  );
  await server.held('carol');
  const { id } = await server.push({ to: ['carol'], url: `${site.here}/framed-nowhere` });
  await page.waitForSelector('#frame iframe[data-loaded]');
  assert.equal((await server.receipts(id)).carol, 'delivered');
  const window = page.waitForEvent('popup');
  await page.getByRole('link', { name: 'Open it in a window' }).click();
  assert.equal((await window).url(), `${site.here}/framed-nowhere`);
  await server.receipt(id, 'carol', 'shown');
  await page.close();
});

test('a page for a window of its own is offered by a link, and shown when that is followed', async () => {
  const { token } = await server.login('dave');
  const { page } = await visit(
    site.here,
    `<div id="frame"></div><script type="module">
      import { Encke, showPage } from '${server.url}/client.js';
      const client = new Encke({ token: '${token}' });
      const options = { client, shown: 'loaded' };
      client.on('page', (page) => showPage(document.querySelector('#frame'), page, options));
      client.connect();
    </script>`,
  );
  await server.held('dave');
  const { id } = await server.push({ to: ['dave'], url: `${site.here}/framed-nowhere`, show: 'window' });
  const link = page.getByRole('link', { name: `Open the page from ${new URL(site.here).host}` });
  await link.waitFor();
  assert.equal(await page.locator('iframe').count(), 0);
  assert.equal((await server.receipts(id)).dave, 'delivered');
  const window = page.waitForEvent('popup');
  await link.click();
  assert.equal((await window).url(), `${site.here}/framed-nowhere`);
  await server.receipt(id, 'dave', 'shown');
  // The next one stands in a frame again.
  await server.push({ to: ['dave'], url: `${site.here}/shown`, show: 'frame' });
  await page.waitForSelector('#frame iframe[src$="/shown"]');
  assert.equal(await page.locator('#frame a').count(), 0);
  await page.close();
});

import { mkdirSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';

import { chromium } from 'playwright-core';

import { TARGET } from './program.js';
import { until } from './until.js';

const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-dev-shm-usage',
  // Pages that are on no list, and not of this machine by their names.
  '--host-resolver-rules=MAP *.example 127.0.0.1',
];
const SCREENSHOTS = path.join(TARGET, 'screenshots');

/** Debian's Chromium, without a window. */
export const launch = () => chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  headless: true,
  args: FLAGS,
  // Playwright takes the back/forward cache away, which users' browsers have.
  ignoreDefaultArgs: ['--disable-back-forward-cache'],
  timeout: 60_000,
});

/** Writes a screenshot to look at. */
export function picture(page, name, options = {}) {
  mkdirSync(SCREENSHOTS, { recursive: true });
  return page.screenshot({ path: path.join(SCREENSHOTS, `${name}.png`), animations: 'disabled', ...options });
}

/** Serves the pages that are pushed, from an origin of its own. */
export async function startSite() {
  const asked = [];
  const server = http.createServer((request, response) => {
    asked.push(request.url);
    const word = decodeURIComponent(request.url.slice(1)).replace(/[<&]/g, '');
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' });
    response.end(`<!doctype html><meta charset="utf-8"><title>${word}</title>
      <style>
        body { margin: 0; font: 20px system-ui; background: linear-gradient(135deg, #234, #687); color: #fff }
        body { display: grid; place-items: center; height: 100vh }
      </style>
      <main><h1 id="word">${word}</h1><p>Pushed to you a moment ago.</p><p id="script">no script</p></main>
      <script>
        document.getElementById('script').textContent = 'scripts run: ' + location.host;
      </script>`);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    asked,
    stop: () => new Promise((resolve) => (server.closeAllConnections(), server.close(resolve))),
  };
}

/** One person's tab with the demo. */
export class Tab {
  /** What the tab asked the server for, as paths. */
  requests = [];
  dialogs = [];
  errors = [];

  /**
   * Opens the demo in a browser context of its own, which is what another person's browser is, and logs in.
   */
  static async open(
    browser,
    server,
    user,
    { transport = 'sse', channels = '', viewport = { width: 1280, height: 800 } } = {},
  ) {
    const context = await browser.newContext({ viewport });
    const page = await context.newPage();
    const tab = new Tab(server, user, context, page);
    await page.goto(server.url);
    await page.fill('#login-user', user);
    await page.selectOption('#login-transport', transport);
    if (channels) await page.fill('#login-channels', channels);
    await page.click('#login-button');
    await tab.state('open');
    return tab;
  }

  constructor(server, user, context, page) {
    Object.assign(this, { server, user, context, page });
    page.on(
      'request',
      (request) =>
        request.url().startsWith(server.url) && this.requests.push(request.url().slice(server.url.length)),
    );
    // A WebSocket is told of as something else than a request.
    page.on('websocket', (socket) =>
      this.requests.push(socket.url().slice(server.url.replace('http', 'ws').length)),
    );
    page.on('dialog', (dialog) => (this.dialogs.push(dialog.message()), dialog.dismiss()));
    page.on('pageerror', (error) => this.errors.push(String(error)));
  }

  /** Waits until the client is in this state. */
  state(state) {
    return this.page.waitForSelector(`#state[data-state="${state}"]`, { timeout: 30_000 });
  }

  /** Waits until this page is shown in the frame, and gives what the frame reads. */
  async shows(url) {
    await this.page.waitForFunction(
      (url) => {
        const frame = document.querySelector('#page-frame');
        return frame?.src === url && 'loaded' in frame.dataset;
      },
      url,
      { timeout: 20_000 },
    );
    const frame = this.page.frames().find((frame) => frame.url() === url);
    return frame.textContent('#word');
  }

  /** The addresses of all pages that this tab was given, the one that is shown first. */
  pages() {
    return this.page.evaluate(() =>
      [
        document.querySelector('#page-frame')?.src,
        ...[...document.querySelectorAll('#pages [data-url]')].map((one) => one.dataset.url),
      ].filter(Boolean),
    );
  }

  /** The data of all messages, as they are written on the page. */
  messages() {
    return this.page.$$eval('#messages li .data', (all) => all.map((one) => one.textContent));
  }

  /** Waits until a message says this. */
  says(text) {
    return until(`${this.user} has the message ${text}`, async () => (await this.messages()).includes(text));
  }

  /** How often the tab has asked for a data connection. */
  get connections() {
    return this.requests.filter((request) => /^\/v1\/(sse|poll|stream|ws)\b/.test(request)).length;
  }
}

/** The operator's tab. */
export async function openConsole(browser, server, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  const dialogs = [];
  page.on('dialog', (dialog) => (dialogs.push(dialog.message()), dialog.dismiss()));
  await page.goto(await server.console());
  await page.waitForSelector('#desk:not([hidden])');
  return { page, dialogs, context };
}

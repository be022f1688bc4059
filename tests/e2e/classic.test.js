// Scripts of Comet's first years, in a real browser: four users, of whom three are sent a page. The scripts
// are written for this test, in the manner of the articles of the time.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { launch, picture } from './support/browser.js';
import { KINDS, startClassicSite } from './support/classic.js';
import { Server } from './support/server.js';
import { always, until } from './support/until.js';

/** Longer than the pause after which the scripts try again, several times over. */
const QUIET_MS = 2500;
const USERS = [11, 22, 33, 4];

let browser;
before(async () => (browser = await launch()));
after(() => browser?.close());

/** One user's browser, with one page of a kind. */
class Reader {
  errors = [];

  static async open(site, kind, me) {
    const context = await browser.newContext({ viewport: { width: 900, height: 620 } });
    const reader = new Reader();
    Object.assign(reader, { site, me, context, page: await context.newPage() });
    reader.page.on('pageerror', (error) => reader.errors.push(String(error)));
    await reader.page.goto(`${site.url}/reader/${kind}?me=${me}`);
    await reader.state('waiting');
    return reader;
  }

  state(state) {
    return this.page.waitForFunction(
      (state) => document.getElementById('state').textContent === state,
      state,
    );
  }

  log() {
    return this.page.$$eval('#log li', (all) => all.map((one) => one.textContent));
  }

  /** Waits until the log is this, from `from` on. */
  async logs(expected, from = 0) {
    await until(
      `user ${this.me} has all messages`,
      async () => (await this.log()).length >= from + expected.length,
    );
    assert.deepEqual((await this.log()).slice(from), expected, `user ${this.me}`);
  }

  async send(to, address) {
    await this.page.fill('#to', String(to));
    await this.page.fill('#address', address);
    await this.page.click('#send');
  }

  shown() {
    return this.page.$eval(
      '#shown',
      (frame) => frame.contentDocument?.getElementById('word')?.textContent ?? '',
    );
  }

  /** How often this page has asked for the next message. */
  get waits() {
    return this.site.waits.filter((referer) => referer.endsWith(`?me=${this.me}`)).length;
  }
}

const held = async (server) => (await server.sessions()).filter(({ connected }) => connected).length;

for (const [kind, { waits }] of Object.entries(KINDS)) {
  test(`a script with ${kind}`, { timeout: 180_000 }, async (t) => {
    const server = await Server.start();
    const site = await startClassicSite(server);
    const readers = [];
    const all = (each) => Promise.all(readers.map(each));
    let count = 0;
    /** A message from a backend, once and only once, however often it has to be tried. */
    const publish = (data) => until('a message is accepted', async () => {
      const { status } = await server.api('POST', '/api/publish', { channel: 'classic', data, id: data });
      return status === 202;
    });
    try {
      await t.test('waits', async () => {
        readers.push(...(await Promise.all(USERS.map((me) => Reader.open(site, kind, me)))));
        await until('all four wait', async () => (await held(server)) === 4);
      });

      await t.test('shows three of the four the page that each was sent by the fourth', async () => {
        const three = readers.slice(0, 3);
        const messages = three.map(({ me }) => `${me}${site.url}/page/for-${me}`);
        for (const [index, { me }] of three.entries()) {
          await readers[3].send(me, `${site.url}/page/for-${me}`);
          await all((reader) => reader.logs(messages.slice(0, index + 1)));
        }
        for (const reader of three)
          await until(
            `user ${reader.me} sees the page`,
            async () => (await reader.shown()) === `for-${reader.me}`,
          );
        assert.equal(await readers[3].shown(), '');
        count = messages.length;
        await picture(readers[0].page, `classic-${kind}`);
        const asked = site.waits.length;
        await always('no page asks while there is nothing', QUIET_MS, () => site.waits.length === asked);
      });

      await t.test('gets what came between two requests', async () => {
        site.hold();
        const between = ['77one', '77two & <b>three</b> ü', '77four'];
        await publish('77the last that is waited for');
        await until('no poll waits', async () => site.back.length === 4 && (await held(server)) === 0);
        for (const msg of between) await publish(msg);
        site.release();
        await all((reader) => reader.logs(['77the last that is waited for', ...between], count));
        count += 1 + between.length;
      });

      await t.test('loses nothing and doubles nothing when the server is killed and comes back', async () => {
        const messages = Array.from({ length: 40 }, (_, index) => `88number ${index}`);
        const publishing = (async () => {
          for (const msg of messages) await publish(msg);
        })();
        await until('some have come', async () => (await readers[0].log()).length >= count + 10);
        await server.restart('SIGKILL');
        await publishing;
        await all((reader) => reader.logs(messages, count));
        count += messages.length;
      });

      await t.test('asks no more after it was stopped, while the others go on', async () => {
        await until('all four wait', async () => (await held(server)) === 4);
        const stopped = readers[1];
        await stopped.page.click('#stop');
        await stopped.state('stopped');
        await until('everything of it is freed', async () => (await server.sessions()).length === 3);
        const { waits } = stopped;
        await publish('99after');
        for (const reader of readers.filter((reader) => reader !== stopped))
          await reader.logs(['99after'], count);
        await always('it asks no more', QUIET_MS, () => stopped.waits === waits);
        await stopped.logs([], count);
      });

      assert.deepEqual(readers.flatMap((reader) => reader.errors), []);
      const transports = new Set((await server.sessions()).map(({ transport }) => transport));
      assert.deepEqual([...transports], [waits === 'GET' ? 'classic-timestamp' : 'classic-cookie']);
    } finally {
      await all((reader) => reader.context.close());
      await site.stop();
      await server.stop();
    }
  });
}

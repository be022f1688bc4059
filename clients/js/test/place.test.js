/** A browser is a device: its place in the user's own channel outlives its pages. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { message, settle, token, world } from './world.js';

/** A browser's storage, which all its pages share. */
class Storage extends Map {
  getItem(key) {
    return this.get(key) ?? null;
  }
  setItem(key, value) {
    this.set(key, value);
  }
}

/** A page of the browser that has this storage. */
async function page(localStorage, options = {}) {
  const w = world({ token: token('alice'), url: 'http://server', ...options });
  w.page.localStorage = localStorage;
  w.client.connect();
  await settle();
  w.request = w.next('/v1/sse');
  return w;
}

test('a browser goes on where its last page was, in the own channel alone', async () => {
  const storage = new Storage();
  const first = await page(storage, { channels: ['news'] });
  assert.equal(first.request.query.cursor, undefined);
  await first.request.open('s1', '1~e~@alice~0~news~0');
  await first.request.event(message(4));
  await first.request.event(message(9, { channel: 'news' }));
  const second = await page(storage);
  assert.equal(second.request.query.cursor, '1~e~@alice~4');
  assert.equal(second.request.query.channels, undefined);
});

test('it is kept for each user and each server, and moves back for no page', async () => {
  const storage = new Storage();
  const first = await page(storage);
  const slow = await page(storage);
  await slow.request.open();
  await first.request.open();
  await first.request.event(message(7));
  await slow.request.event(message(2));
  assert.equal((await page(storage)).request.query.cursor, '1~e~@alice~7');
  assert.equal((await page(storage, { token: token('bob') })).request.query.cursor, undefined);
  assert.equal((await page(storage, { url: 'http://other' })).request.query.cursor, undefined);
  assert.equal((await page(storage, { device: false })).request.query.cursor, undefined);
  const given = await page(storage, { cursor: '1~e~@alice~3' });
  assert.equal(given.request.query.cursor, '1~e~@alice~3', 'what the application says counts');
});

test('what a page read without a message is kept when it goes', async () => {
  const storage = new Storage();
  const w = await page(storage);
  await w.request.open('s1', '1~e~@alice~5');
  await w.page.fire('pagehide');
  assert.equal((await page(storage)).request.query.cursor, '1~e~@alice~5');
});

test('a browser that denies its storage is none the worse', async () => {
  const denied = {
    getItem: () => {
      throw new Error('denied');
    },
    setItem: () => {
      throw new Error('denied');
    },
  };
  const w = await page(denied);
  await w.request.open();
  await w.request.event(message(1));
  assert.deepEqual([w.client.state, w.of('message').length, w.of('error').length], ['open', 1, 0]);
});

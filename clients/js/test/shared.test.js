/** Tabs that share a connection, and one of them asks for what it is not granted. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Browser, message, settle } from './world.js';

const TRIES = 6;

/** Tabs that follow these channels, of which the first leads and is asking for its connection. */
async function connecting(...channels) {
  const browser = new Browser();
  const tabs = channels.map((own) => browser.tab({ channels: own }));
  for (const tab of tabs) {
    tab.client.connect();
    await settle();
  }
  return tabs;
}

/** The same, when the connection is open. */
async function opened(...channels) {
  const tabs = await connecting(...channels);
  tabs[0].stream = await tabs[0].next('/v1/sse').open();
  return tabs;
}

/** The next request, for which time has to pass. */
async function comes(tab, path) {
  for (let i = 0; i < 100 && tab.quiet; i++) await tab.clock.pass(100);
  return tab.next(path);
}

/** What a tab follows besides is refused to it alone, and it is told so. */
function isRefused(tab) {
  assert.deepEqual(tab.of('error').map(({ code }) => code), ['channel_forbidden']);
  assert.equal(tab.of('close').at(-1).code, 'channel_forbidden');
  assert.equal(tab.client.state, 'closed');
}

function isUntouched(tab) {
  assert.equal(tab.client.state, 'open');
  assert.deepEqual(tab.of('close').filter(({ reconnect }) => !reconnect), []);
}

test('a tab is told of the channel that it is refused, and the others come back without it', async () => {
  const [first, second] = await opened(['news'], ['secret']);
  const asked = first.next('/v1/subscribe');
  assert.deepEqual(asked.body, { session: 's1', channels: ['secret'] });
  await asked.fail(403, 'channel_forbidden');
  isRefused(second);
  await first.stream.event({ event: 'close', code: 'shutdown', reason: '', reconnect: true, retry_ms: 0 });
  const again = await comes(first, '/v1/sse');
  assert.equal(again.query.channels, 'news');
  await again.open('s2');
  isUntouched(first);
  assert.ok(first.quiet && second.quiet);
});

test('a server that stops before it has answered is not asked by the connection for what it may refuse', async () => {
  const [first, second] = await opened(['news'], ['secret']);
  const asked = first.next('/v1/subscribe');
  await first.stream.event({ event: 'close', code: 'shutdown', reason: '', reconnect: true, retry_ms: 0 });
  await asked.fail(400, 'bad_request');
  const again = await comes(first, '/v1/sse');
  assert.equal(again.query.channels, 'news');
  await again.open('s2');
  const anew = first.next('/v1/subscribe');
  assert.deepEqual(anew.body, { session: 's2', channels: ['secret'] });
  await anew.fail(403, 'channel_forbidden');
  isRefused(second);
  isUntouched(first);
});

test('a tab that comes while there is no connection does not stand in its way', async () => {
  const [first, second] = await connecting(['news'], ['secret']);
  await first.next('/v1/sse').lose();
  const again = await comes(first, '/v1/sse');
  assert.equal(again.query.channels, 'news');
  await again.open();
  await first.next('/v1/subscribe').fail(403, 'channel_forbidden');
  isRefused(second);
  isUntouched(first);
});

test('a tab that leads next does not ask for the channels of others by its connection', async () => {
  const [first, second, third] = await connecting(['news'], ['own'], ['secret']);
  await first.client.close();
  await settle();
  const asked = second.next('/v1/sse');
  assert.equal(asked.query.channels, 'own');
  await asked.open();
  await second.next('/v1/subscribe').fail(403, 'channel_forbidden');
  isRefused(third);
  isUntouched(second);
});

for (const [code, status] of [['channel_forbidden', 403], ['channel_full', 422]]) {
  test(`what the tab that leads is refused for its own channels (${code}) ends it alone`, async () => {
    const [first, second] = await connecting(['secret'], ['news']);
    await first.next('/v1/sse').fail(status, code);
    await settle();
    assert.equal(first.client.state, 'closed');
    assert.equal(first.of('error')[0].code, code);
    const asked = second.next('/v1/sse');
    assert.equal(asked.query.channels, 'news');
    await asked.open();
    isUntouched(second);
  });
}

test('what ends the session ends all tabs', async () => {
  const [first, second] = await opened(['news'], []);
  await first.stream.event({ event: 'close', code: 'operator', reason: '', reconnect: false });
  for (const tab of [first, second]) assert.deepEqual(tab.of('close').map(({ code }) => code), ['operator']);
});

test('what is granted to a tab comes to it, also when the session was forgotten meanwhile', async () => {
  const [first, second] = await opened(['news'], ['later']);
  await first.next('/v1/subscribe').fail(404, 'session_unknown');
  const stream = await first.next('/v1/sse').open('s2');
  const anew = first.next('/v1/subscribe');
  assert.deepEqual(anew.body, { session: 's2', channels: ['later'] });
  await anew.json({ channels: ['news', 'later'], cursor: '1~e~@alice~0~later~3' });
  await stream.event(message(4, { channel: 'later' }));
  assert.deepEqual(second.of('message').map(({ offset }) => offset), [4]);
  assert.deepEqual(first.of('message'), []);
  // By now it is known to be granted.
  await stream.end();
  assert.match(first.next('/v1/sse').query.cursor, /later~4/);
});

test('a channel that cannot be asked for just now is asked for again', async () => {
  const [first, second] = await opened(['news'], ['later']);
  for (let i = 0; i < TRIES; i++) {
    await first.next('/v1/subscribe').fail(503, 'engine_unavailable');
    if (i === TRIES - 1) break;
    await first.clock.pass(10000);
    await first.stream.write(': still here\n');
  }
  assert.equal(second.of('error')[0].code, 'engine_unavailable');
  const cursor = '1~e~@alice~0~later~3';
  await (await comes(first, '/v1/subscribe')).json({ channels: ['news', 'later'], cursor });
  assert.equal(second.client.state, 'open');
  await first.stream.event(message(4, { channel: 'later' }));
  assert.deepEqual(second.of('message').map(({ offset }) => offset), [4]);
});

/** A tab that leads, and one that comes back with this cursor. */
async function returning(cursor) {
  const browser = new Browser();
  const [first, second] = [browser.tab({ channels: ['news'] }), browser.tab({ cursor })];
  first.client.connect();
  await settle();
  first.stream = await first.next('/v1/sse').open();
  second.client.connect();
  await settle();
  return [first, second];
}

test('a cursor that names what is not granted any more ends its own tab alone', async () => {
  const [first, second] = await returning('1~e~@alice~0~secret~3');
  const asked = first.next('/v1/subscribe');
  assert.deepEqual(asked.body.channels, ['secret']);
  await asked.fail(403, 'channel_forbidden');
  isRefused(second);
  isUntouched(first);
  await first.stream.end();
  assert.deepEqual(first.next('/v1/sse').query, { cursor: '1~e~@alice~0', channels: 'news', session: 's1' });
});

test('a tab whose cursor names what no other follows gets what it missed there', async () => {
  const [first, second] = await returning('1~e~@alice~0~later~3');
  const asked = first.next('/v1/subscribe');
  // It is not told of this before what it missed.
  await first.stream.event(message(5, { channel: 'later' }));
  await asked.json({ channels: ['news', 'later'], cursor: '1~e~@alice~0~later~5' });
  const again = first.next('/v1/sse');
  assert.equal(again.query.cursor, '1~e~@alice~0~later~3');
  await again.open('s1', '1~e~@alice~0~later~3');
  for (const offset of [4, 5]) await again.event(message(offset, { channel: 'later' }));
  assert.deepEqual(second.of('message').map(({ offset }) => offset), [4, 5]);
  assert.deepEqual(first.of('message'), []);
});

test('what is refused to a tab takes nothing from it that it had', async () => {
  const [first, second] = await opened(['news'], ['own']);
  await first.next('/v1/subscribe').json({ channels: ['news', 'own'], cursor: '1~e~@alice~0~own~3' });
  const refused = assert.rejects(second.client.subscribe(['own', 'secret']), { code: 'channel_forbidden' });
  await settle();
  await first.next('/v1/subscribe').fail(403, 'channel_forbidden');
  await refused;
  await first.stream.event(message(4, { channel: 'own' }));
  assert.deepEqual(second.of('message').map(({ offset }) => offset), [4]);
  isUntouched(second);
  assert.ok(first.quiet, 'it is not unsubscribed');
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { message, settle, token, world } from './world.js';

const OPEN = { event: 'open', session: 's1', cursor: '1~e~@alice~0', heartbeat_s: 20 };

/** A client whose frame is open. */
async function opened(options = {}) {
  const w = world({ url: 'http://server', token: token('alice'), transport: 'iframe', ...options });
  w.client.connect();
  await settle();
  await w.ticket();
  w.frame = w.page.frames.at(-1);
  await w.page.post(OPEN);
  return w;
}
const offsets = (w) => w.of('message').map((m) => m.offset);

test('a hidden frame is asked for by ticket, for exactly the origin of the page', async () => {
  const w = await opened({ channels: ['news'] });
  assert.equal(w.frame.path, '/v1/stream');
  assert.deepEqual(w.frame.query, { as: 'iframe', origin: 'http://page', ticket: 'T', channels: 'news' });
  assert.equal(w.frame.hidden, true);
  assert.equal(w.frame.attributes.sandbox, 'allow-scripts allow-same-origin');
  assert.deepEqual([w.client.state, w.client.transport, w.client.session], ['open', 'iframe', 's1']);
  await w.page.post(message(1));
  await w.page.post(message(1));
  await w.page.post(message(2));
  assert.deepEqual(offsets(w), [1, 2]);
  assert.equal(w.client.cursor, '1~e~@alice~2');
});

test('no other window is listened to', async () => {
  const w = await opened();
  await w.page.post(message(1), { origin: 'http://evil' });
  await w.page.post(message(1), { origin: 'http://server:81' });
  await w.page.post(message(1), { origin: 'null' });
  await w.page.post(message(1), { source: {} });
  await w.page.post(message(1), { source: null });
  await w.page.post({ event: 'close', code: 'operator', reason: '', reconnect: false }, { source: {} });
  assert.deepEqual(offsets(w), []);
  assert.equal(w.client.state, 'open');
  await w.page.post(message(1));
  assert.deepEqual(offsets(w), [1]);
});

test('a frame that has become long is followed by another, in the same session and without a pause', async () => {
  const w = await opened();
  await w.page.post(message(1));
  await w.page.post({ event: 'close', code: 'recycle', reason: 'long', reconnect: true });
  assert.ok(w.frame.removed);
  await w.ticket('U');
  const next = w.page.frames[1];
  assert.deepEqual(next.query, {
    as: 'iframe',
    origin: 'http://page',
    ticket: 'U',
    cursor: '1~e~@alice~1',
    session: 's1',
  });
  // What the former frame still had under way comes from nowhere any more.
  await w.page.post(message(2), { source: w.frame.contentWindow });
  await w.page.post(OPEN);
  await w.page.post(message(2));
  assert.deepEqual(offsets(w), [1, 2]);
  assert.deepEqual(w.of('close'), [], 'the application is told nothing');
});

test('a frame that ends is followed by another, after its last events were waited for', async () => {
  const w = await opened();
  w.frame.dispatchEvent(new Event('load'));
  await w.page.post(message(1));
  assert.deepEqual(offsets(w), [1]);
  await w.clock.pass(250);
  assert.ok(w.frame.removed);
  await w.ticket();
  assert.equal(w.page.frames[1].query.cursor, '1~e~@alice~1');
});

test('heartbeats break a silence, and silence for longer than two and a half is death', async () => {
  const w = await opened();
  for (let beat = 0; beat < 5; beat++) {
    await w.clock.pass(20000);
    await w.page.post({ event: 'heartbeat' });
  }
  assert.equal(w.client.state, 'open');
  await w.clock.pass(51000);
  assert.equal(w.of('error').at(-1).code, 'silent');
  assert.ok(w.frame.removed);
  await w.ticket();
});

test('a document that is none of the stream leads to a poll that tells why', async () => {
  const w = world({ url: 'http://server', token: 't', transport: 'iframe' });
  w.client.connect();
  await settle();
  await w.ticket();
  w.page.frames[0].dispatchEvent(new Event('load'));
  await w.clock.pass(250);
  await w.next('/v1/poll').fail(410, 'session_closed');
  assert.equal(w.client.state, 'closed');
  assert.equal(w.of('close')[0].code, 'session_closed');
});

test('where frames are of no use, the next transport is taken', async () => {
  const w = world({ url: 'http://server', token: 't', transport: ['iframe', 'poll'] });
  w.client.connect();
  await settle();
  await w.ticket();
  w.page.frames[0].dispatchEvent(new Event('load'));
  await w.clock.pass(250);
  w.next('/v1/poll');
  assert.equal(w.client.transport, 'poll');
});

test('a page without an origin has no frame', async () => {
  for (const origin of ['null', 'file://', '', undefined]) {
    const w = world({ url: 'http://server', token: 't', transport: ['iframe', 'poll'] });
    w.page.location.origin = origin;
    w.client.connect();
    await settle();
    w.next('/v1/poll');
    assert.equal(w.page.frames.length, 0, origin);
  }
});

test('the page of an app or an extension has an origin of its own scheme', async () => {
  for (const origin of [
    'capacitor://localhost',
    'tauri://localhost',
    'chrome-extension://aapbdbdomjkkjkaonfhkkikfgjllcleb',
  ]) {
    const w = world({ url: 'http://server', token: 't', transport: 'iframe' });
    w.page.location.origin = origin;
    w.client.connect();
    await settle();
    await w.ticket();
    assert.equal(w.page.frames.at(-1).query.origin, origin);
  }
});

test('the frame comes after the page is loaded, and not much later if it never is', async () => {
  for (const late of [false, true]) {
    const w = world({ url: 'http://server', token: 't', transport: 'iframe' });
    w.page.document.readyState = 'interactive';
    w.client.connect();
    await settle();
    assert.ok(w.quiet);
    if (late) await w.clock.pass(10000);
    else await w.page.fire('load');
    await w.clock.pass(0);
    await w.ticket();
    assert.equal(w.page.frames.length, 1);
    w.client.close();
    await settle();
    assert.equal(w.clock.pending, 0);
  }
});

test('a close from either side takes the frame away', async () => {
  const w = await opened();
  await w.page.post({ event: 'close', code: 'operator', reason: '', reconnect: false });
  assert.equal(w.client.state, 'closed');
  assert.ok(w.frame.removed);
  const own = await opened();
  const closed = own.client.close();
  await settle();
  await own.next('/v1/close').json({ closed: true });
  assert.equal(await closed, true);
  assert.ok(own.frame.removed);
  assert.equal(own.clock.pending, 0);
});

test('what is no event ends the frame, and it comes back', async () => {
  const w = await opened();
  await w.page.post('not an event');
  assert.equal(w.of('error')[0].code, 'network');
  await w.ticket();
});

// The client, against a real server.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';

import { ApiError, Client, signToken, TransportError } from 'encke-backend';

import { API_KEY, bodiesTo, client, faulty, name, requestsTo, SECRET, URL, Viewer } from './support.js';

const encke = client();
after(() => encke.shut());

const all = async (source) => {
  const found = [];
  for await (const one of source) found.push(one);
  return found;
};
const refused = (code, status) => (error) => {
  assert.ok(error instanceof ApiError, String(error));
  assert.deepEqual([error.code, error.status], [code, status]);
  return true;
};

test('a push comes and has receipts', async () => {
  const [alice, bob] = [new Viewer(), new Viewer()];
  await alice.poll();
  const pushed = await encke.push({ to: [alice.user, bob.user], data: { text: 'Zoë' }, ttlS: 60 });
  assert.deepEqual([pushed.accepted, pushed.online, pushed.offline], [2, [alice.user], [bob.user]]);
  assert.deepEqual(await alice.data(1), [{ text: 'Zoë' }]);
  assert.equal(await encke.cancel(pushed.id), 1);
  assert.deepEqual(await bob.data(0), []);
  const states = (await all(encke.receipts(pushed.id))).map(({ user, state }) => [user, state]);
  assert.equal(Object.fromEntries(states)[bob.user], 'cancelled');
  assert.equal((await encke.user(alice.user)).online, true);
});

test('a page and null are pushed', async () => {
  const alice = new Viewer();
  await encke.push({ to: [alice.user], url: 'https://example.com/' });
  await encke.push({ to: [alice.user], data: null });
  const [page, nothing] = (await alice.poll()).messages;
  assert.deepEqual([page.type, page.url, nothing.data], ['page', 'https://example.com/', null]);
});

test('receipts come in pages', async () => {
  const users = Array.from({ length: 1001 }, () => name());
  const { id } = await encke.push({ to: users, data: 1 });
  assert.deepEqual((await all(encke.receipts(id))).map(({ user }) => user).sort(), users.sort());
});

test('many in one request have a result each', async () => {
  const alice = new Viewer();
  const pushes = [1, 2, 3].map((data) => ({ to: data === 2 ? [] : [alice.user], data }));
  const [good, bad] = await encke.pushMany(pushes);
  assert.deepEqual([good.accepted, good.offline], [1, 1]);
  assert.ok(refused('bad_request', 0)(bad));
  assert.deepEqual(await alice.data(2), [1, 3]);
});

test('a stream has a result for each line in order', async () => {
  const alice = new Viewer();
  const pushes = Array.from({ length: 1000 }, (_, n) => ({
    to: n === 500 ? [] : [alice.user],
    data: n,
    id: `${alice.user}-${n}`,
  }));
  const results = await all(encke.pushStream(pushes));
  assert.equal(results.length, 1000);
  assert.deepEqual(results.flatMap((result, n) => (result instanceof ApiError ? [n] : [])), [500]);
  assert.deepEqual(await alice.data(999), pushes.map(({ data }) => data).filter((n) => n !== 500));
  assert.deepEqual(await all(encke.pushStream([])), []);
});

test('a result does not wait for the next push', async () => {
  let goOn;
  const hasResult = new Promise((resolve) => (goOn = resolve));
  const source = async function* () {
    yield { to: ['alice'], data: 1 };
    await hasResult;
    yield { to: ['alice'], data: 2 };
  };
  let seen = 0;
  for await (const result of encke.pushStream(source(), { signal: AbortSignal.timeout(20_000) })) {
    assert.equal(result.accepted, 1);
    goOn();
    seen += 1;
  }
  assert.equal(seen, 2);
});

test('a stream that fails says so', async () => {
  const pushes = Array.from({ length: 200 }, (_, n) => ({ to: ['alice'], data: n }));
  for (const fault of ['broken', 'ended'])
    await assert.rejects(all(faulty(fault, name()).pushStream(pushes)), TransportError);
  await assert.rejects(all(faulty('silent', name(), { timeoutMs: 200 }).pushStream(pushes)), TransportError);
  await assert.rejects(all(new Client(URL, 'wrong').pushStream(pushes)), refused('unauthorized', 401));
  const source = function* () {
    yield pushes[0];
    throw new RangeError('my own');
  };
  await assert.rejects(all(encke.pushStream(source())), /^RangeError: my own$/);
  // One that is left early ends.
  for await (const _ of encke.pushStream(pushes)) break;
});

test('a stream whose answer does not end says so', async () => {
  let goOn;
  const slow = async function* (hasResult) {
    yield { to: ['alice'], data: 1 };
    await hasResult;
  };
  // The source has ended before the last result, or ends after it.
  for (const pushes of [[{ to: ['alice'], data: 1 }], slow(new Promise((resolve) => (goOn = resolve)))]) {
    const options = { signal: AbortSignal.timeout(20_000) };
    const endless = faulty('endless', name(), { timeoutMs: 1_000 });
    const taken = async () => {
      for await (const _ of endless.pushStream(pushes, options)) goOn();
    };
    await assert.rejects(taken(), { name: 'TransportError', message: /not within 1000 ms/ });
  }
});

test('a stream is not late while its caller is busy', async () => {
  const patient = client({ timeoutMs: 2_000 });
  let goOn;
  const isSeen = new Promise((resolve) => (goOn = resolve));
  const source = async function* () {
    yield* [1, 2].map((data) => ({ to: ['alice'], data }));
    await isSeen;
  };
  let seen = 0;
  for await (const _ of patient.pushStream(source())) {
    seen += 1;
    await pause(2_500);
    if (seen === 2) goOn();
  }
  assert.equal(seen, 2);
  patient.shut();
});

test('channels', async () => {
  const alice = new Viewer({ channels: ['news-*'] });
  const channel = name('news');
  await alice.poll({ channels: channel });
  const first = await encke.publish({ channel, data: 1 });
  const many = await encke.publishMany([{ channel, data: 2 }, { channel, data: 3 }]);
  const streamed = await all(encke.publishStream([{ channel, data: 4 }, { channel: '', data: 5 }]));
  assert.deepEqual([first.offset, many[1].offset, streamed[1].code], [1, 3, 'bad_name']);
  assert.deepEqual(await alice.data(4), [1, 2, 3, 4]);
});

test('the same key is accepted once', async () => {
  const alice = new Viewer();
  const push = { to: [alice.user], data: 1, id: alice.user };
  assert.equal((await encke.push(push)).id, (await encke.push(push)).id);
  assert.deepEqual(await alice.data(1), [1]);
  await assert.rejects(encke.push({ ...push, data: 2 }), refused('key_reused', 409));
});

test('tokens say what they grant and can be revoked', async () => {
  const stranger = new Viewer({ channels: ['other'] });
  assert.equal((await stranger.ask({ channels: 'news' })).error.code, 'channel_forbidden');
  const jti = name();
  for (const [alice, revocation] of [
    [new Viewer({ claims: { jti } }), { jti }],
    [new Viewer({}, jti), { user: jti }],
  ]) {
    await alice.poll();
    assert.equal(await encke.revoke(revocation), 1);
    assert.equal((await alice.ask()).error.code, 'revoked');
  }
  assert.throws(() => signToken('short', 'alice'), RangeError);
  assert.ok(SECRET.length > 32);
});

test('a repeated revocation is of the time of the call', async () => {
  const [of, another] = [name(), name()];
  const from = Date.now();
  await faulty('lost', of).revoke({ user: name() });
  const [first, second] = await bodiesTo(of);
  assert.deepEqual(first, second);
  const before = Date.parse(first.before);
  assert.ok(from <= before && before <= Date.now(), first.before);
  await faulty('lost', another).revoke({ user: another, before: '2026-01-02T03:04:05Z' });
  const body = { user: another, before: '2026-01-02T03:04:05Z' };
  assert.deepEqual(await bodiesTo(another), [body, body]);
  // No user is not all users.
  await assert.rejects(encke.revoke({ user: null }), refused('bad_request', 400));
});

test('close ends sessions', async () => {
  const alice = new Viewer();
  const { session } = await alice.poll();
  assert.equal(await encke.close({ session, reason: 'done' }), 1);
  assert.equal(await encke.close({ user: alice.user }), 0);
  assert.equal((await alice.ask()).status, 410);
});

test('errors have codes', async () => {
  const push = { to: ['alice'], data: 1 };
  await assert.rejects(new Client(URL, 'wrong').push(push), refused('unauthorized', 401));
  await assert.rejects(encke.push({ to: 'alice', data: 1 }), refused('bad_request', 400));
  await assert.rejects(encke.cancel('nothing/of that?'), refused('push_unknown', 404));
  await assert.rejects(encke.user(name('a/b?c')), refused('user_unknown', 404));
  await assert.rejects(faulty('html', name()).push(push), refused('unexpected_answer', 200));
  await assert.rejects(faulty('moved', name()).push(push), refused('unexpected_answer', 307));
  await assert.rejects(new Client('http://127.0.0.1:1', API_KEY, { retries: 0 }).push(push), TransportError);
  assert.throws(() => new Client('ftp://example.com', API_KEY), TypeError);
  const reason = new Error('not needed any more');
  await assert.rejects(encke.push(push, { signal: AbortSignal.abort(reason) }), reason);
});

test('what is lost is sent again under one key', async () => {
  for (const fault of ['lost', 'busy', 'proxy']) {
    const alice = new Viewer();
    await faulty(fault, alice.user).push({ to: [alice.user], data: 1 });
    assert.deepEqual([await alice.data(1), await requestsTo(alice.user)], [[1], 2], fault);
    const of = name();
    await faulty(fault, of).pushMany([{ to: [alice.user], data: 2 }]);
    assert.deepEqual([await alice.data(1), await requestsTo(of)], [[2], 2], fault);
  }
});

test('what is not safe is sent once', async () => {
  const of = name();
  await assert.rejects(faulty('lost', of).close({ user: name() }), TransportError);
  assert.equal(await requestsTo(of), 1);
});

test('attempts come to an end', async () => {
  const [of, push] = [name(), { to: ['alice'], data: 1 }];
  await assert.rejects(faulty('gone', of, { retries: 1 }).push(push), TransportError);
  assert.equal(await requestsTo(of), 2);
  await assert.rejects(faulty('silent', name(), { timeoutMs: 200, retries: 0 }).push(push), TransportError);
});

test('other requests can be made', async () => {
  assert.deepEqual((await encke.request('GET', `/api/sessions?user=${name()}`)).sessions, []);
});

// The server API: push, receipts, publish.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Server } from './support/server.js';
import { until } from './support/until.js';

let server;
before(async () => void (server = await Server.start()));
after(() => server.stop());

describe('push', () => {
  test('to one, several, with who is online and who is not', async () => {
    const alice = await server.login('to-a');
    const { session, cursor } = await alice.look();
    const one = await server.push({ to: ['to-a'], url: 'https://example.com/' });
    assert.deepEqual(
      [one.mode, one.accepted, one.online, one.offline, one.truncated],
      [server.mode, 1, ['to-a'], [], undefined],
    );
    const several = await server.push({ to: ['to-a', 'to-b', 'to-c', 'to-b'], data: { n: 1 } });
    assert.deepEqual([several.accepted, several.online, several.offline], [3, ['to-a'], ['to-b', 'to-c']]);
    const { messages } = await alice.take(2, { session, cursor });
    assert.deepEqual(
      messages.map(({ id, type, url, data }) => [id, type, url, data]),
      [
        [one.id, 'page', 'https://example.com/', undefined],
        [several.id, 'message', undefined, { n: 1 }],
      ],
    );
    for (const name of ['to-b', 'to-c'])
      assert.deepEqual(
        (await (await server.login(name)).take(1)).messages.map(({ id }) => id),
        [several.id],
      );
  });

  test('to all that the server knows, and to users who are online', async () => {
    const own = await Server.start();
    try {
      const [here, away] = [await own.login('here'), await own.login('away')];
      const { session: mine, cursor } = await here.look();
      const { session } = await away.look();
      (await away.post('/v1/close', { session })).with(200);
      await own.push({ to: ['never-came'], data: 0 });
      const online = await own.push({ to: 'online', data: 'online' });
      assert.deepEqual([online.accepted, online.online, online.offline], [1, ['here'], []]);
      await until(
        'all users are known',
        async () => (await own.api('GET', '/api/users')).with(200).users.length === 3,
      );
      const all = await own.push({ to: 'all', data: 'all' });
      assert.deepEqual([all.accepted, all.online, all.offline.sort()], [3, ['here'], ['away', 'never-came']]);
      assert.deepEqual(
        (await here.take(2, { session: mine, cursor })).messages.map(({ data }) => data),
        ['online', 'all'],
      );
      assert.deepEqual((await away.take(1)).messages.map(({ data }) => data), ['all']);
      assert.deepEqual(
        (await (await own.login('never-came')).take(2)).messages.map(({ data }) => data),
        [0, 'all'],
      );
    } finally {
      await own.stop();
    }
  });

  test('to all of an empty server is accepted for no users', async () => {
    const own = await Server.start({ engine: 'memory' });
    try {
      for (const to of ['all', 'online']) {
        const { accepted, online, offline, mode, id } = await own.push({ to, data: 1 });
        assert.deepEqual([accepted, online, offline, mode], [0, [], [], 'memory']);
        assert.deepEqual((await own.api('GET', `/api/push/${id}`)).with(200).receipts, []);
      }
    } finally {
      await own.stop();
    }
  });

  test('one idempotency key gives one push', async () => {
    const body = { to: ['key-a', 'key-b'], data: 1, id: 'the key' };
    const answers = await Promise.all(Array.from({ length: 5 }, () => server.push(body)));
    assert.equal(new Set(answers.map(({ id }) => id)).size, 1);
    assert.deepEqual(answers.map(({ accepted }) => accepted), [2, 2, 2, 2, 2]);
    assert.equal((await (await server.login('key-a')).take(1)).messages.length, 1);
    assert.deepEqual((await server.api('GET', '/api/channels/@key-a/history')).with(200).messages.length, 1);
    assert.notEqual((await server.push({ ...body, id: 'another' })).id, answers[0].id);
    for (const other of [{ data: 2 }, { to: ['key-a'] }, { to: ['key-a', 'key-b', 'key-c'] }])
      (await server.api('POST', '/api/push', { ...body, ...other })).refused(409, 'key_reused');
  });

  test('without a token of its own, the key is everything', async () => {
    const alice = await server.login('no-operator');
    for (const headers of [
      {},
      { authorization: 'Bearer wrong' },
      alice.headers,
      { authorization: 'Basic eDp5' },
    ]) {
      for (const [method, address, body] of [
        ['POST', '/api/push', { to: ['a'], data: 1 }],
        ['GET', '/api/push/x'],
        ['POST', '/api/publish', { channel: 'c', data: 1 }],
        ['GET', '/api/users'],
        ['GET', '/api/users/a'],
        ['GET', '/api/sessions'],
        ['POST', '/api/close', { user: 'a' }],
        ['GET', '/api/channels'],
        ['GET', '/api/channels/c/history'],
        ['GET', '/api/channels/c/presence'],
      ]) {
        const answer = await server.ask(method, address, { body, headers });
        answer.refused(401, 'unauthorized');
        assert.equal(answer.headers['www-authenticate'], 'Bearer');
      }
    }
  });

  test('what is not as it should be is refused', async () => {
    const push = (body) => server.api('POST', '/api/push', body);
    for (const body of [
      {},
      { to: ['a'] },
      { data: 1 },
      { to: ['a'], data: 1, url: 'https://x.example' },
      { to: 'everybody', data: 1 },
      { to: [], data: 1 },
      { to: [1], data: 1 },
      { to: 1, data: 1 },
      { to: { all: true }, data: 1 },
      { to: ['a'], url: 1 },
      { to: ['a'], data: 1, ttl_s: 0 },
      { to: ['a'], data: 1, ttl_s: -1 },
      { to: ['a'], data: 1, ttl_s: 1.5 },
      { to: ['a'], data: 1, ttl_s: '1' },
      { to: ['a'], data: 1, ttl_s: 1e12 },
      { to: ['a'], data: 1, colour: 1 },
      { to: ['a'], data: 1, id: '' },
      { to: ['a'], data: 1, id: 'x'.repeat(129) },
      { to: ['a'], data: 1, id: 'a\nb' },
      [],
      1,
      'x',
      null,
    ]) {
      (
        await server.api('POST', '/api/push', JSON.stringify(body), { 'content-type': 'application/json' })
      ).refused(400, 'bad_request');
    }
    for (const name of ['', 'x'.repeat(256), 'a\tb', 'a\u0000', 'a\u200db', '\u202e', '\ufeffa', '\u2066'])
      (await push({ to: ['good', name], data: 1 })).refused(400, 'bad_name');
    assert.equal(
      (await server.api('GET', '/api/users/good')).status,
      404,
      'nothing of a refused push is done',
    );
    (await push({ to: Array.from({ length: 10_001 }, (_, n) => n.toString(36)), data: 1 })).refused(
      422,
      'too_many_targets',
    );
  });

  test('a url is http or https, without disguise', async () => {
    for (const url of [
      'javascript:alert(1)',
      'JaVaScRiPt:alert(1)',
      ' javascript:alert(1)',
      'java\tscript:alert(1)',
      'java\nscript:alert(1)',
      '\u0001javascript:alert(1)',
      'javascript://example.com/%0aalert(1)',
      'data:text/html,<script>alert(1)</script>',
      'vbscript:x',
      'file:///etc/passwd',
      'blob:https://example.com/x',
      'about:blank',
      'view-source:http://example.com',
      'ftp://example.com',
      '//example.com',
      '/relative',
      '',
      'example.com',
      'http:',
      'http://',
      'http:example.com',
      'http:///example.com',
      'ht\ttp://example.com',
      'http://exa mple.com',
      'https://bank.example@evil.example/',
      `https://example.com/${'x'.repeat(8200)}`,
    ]) {
      (await server.api('POST', '/api/push', { to: ['a'], url })).refused(400, 'bad_url');
    }
    for (const url of [
      'http://example.com',
      'HTTPS://EXAMPLE.com:8443/a?b=c#d',
      'http://[::1]/',
      'https://münchen.example/ü',
    ])
      await server.push({ to: ['url-good'], url });
  });

  test('a url has to be on the allow-list, when there is one', async () => {
    const own = await Server.start({
      engine: 'memory',
      env: { ENCKE_URL_ALLOW_LIST: 'https://example.com/shop' },
    });
    try {
      await own.push({ to: ['a'], url: 'https://example.com/shop/1?x=2' });
      for (const url of [
        'https://example.com/shopping',
        'https://example.com/shop/../admin',
        'http://example.com/shop',
        'https://example.com.evil.example/shop',
        'https://evil.example/',
      ]) {
        (await own.api('POST', '/api/push', { to: ['a'], url })).refused(403, 'url_not_allowed');
      }
    } finally {
      await own.stop();
    }
  });
});

describe('receipts', () => {
  test('go from queued over delivered to shown, each with its time', async () => {
    const { id } = await server.push({ to: ['rec-a', 'rec-b'], data: 1 });
    const answer = (await server.api('GET', `/api/push/${id}`)).with(200);
    assert.equal(answer.id, id);
    assert.deepEqual(
      answer.receipts.map(({ user, state }) => [user, state]),
      [
        ['rec-a', 'queued'],
        ['rec-b', 'queued'],
      ],
    );
    for (const { time } of answer.receipts) assert.ok(Math.abs(Date.parse(time) - Date.now()) < 60_000);
    const alice = await server.login('rec-a');
    const { session, cursor } = await alice.take(1);
    await server.receipt(id, 'rec-a', 'delivered');
    (await alice.post('/v1/ack', { session, cursor })).with(200);
    await server.receipt(id, 'rec-a', 'shown');
    assert.deepEqual(await server.receipts(id), { 'rec-a': 'shown', 'rec-b': 'queued' });
  });

  test('are delivered by a stream as well', async () => {
    const alice = await server.login('rec-sse');
    const stream = await alice.stream();
    const { id } = await server.push({ to: ['rec-sse'], data: 1 });
    await stream.next();
    await server.receipt(id, 'rec-sse', 'delivered');
    (await alice.post('/v1/ack', { session: stream.session, cursor: stream.lastEventId })).with(200);
    await server.receipt(id, 'rec-sse', 'shown');
    await stream.drop();
  });

  test('expire with their time to live, and the message does not come any more', async () => {
    const { id } = await server.push({ to: ['ttl'], data: 'late', ttl_s: 1 });
    const { id: lasting } = await server.push({ to: ['ttl'], data: 'lasting', ttl_s: 600 });
    assert.deepEqual(await server.receipts(id), { ttl: 'queued' });
    await server.receipt(id, 'ttl', 'expired');
    const { messages, gaps } = await (await server.login('ttl')).take(1);
    assert.deepEqual([messages.map(({ data }) => data), gaps], [['lasting'], []]);
    assert.deepEqual(await server.receipts(id), { ttl: 'expired' });
    await server.receipt(lasting, 'ttl', 'delivered');
  });

  test('one that was delivered in time does not expire', async () => {
    const alice = await server.login('in-time');
    const { id } = await server.push({ to: ['in-time'], data: 1, ttl_s: 2 });
    const { messages } = await alice.take(1);
    await server.receipt(id, 'in-time', 'delivered');
    const sent = Date.parse(messages[0].time);
    await until('its time is over', () => Date.now() > sent + 3000);
    assert.deepEqual(await server.receipts(id), { 'in-time': 'delivered' });
  });

  test('come in pages', async () => {
    const users = Array.from({ length: 7 }, (_, n) => `page-${n}`);
    const { id } = await server.push({ to: users, data: 1 });
    const seen = [];
    let after;
    do {
      const page = (await server.api('GET', `/api/push/${id}?limit=3${after ? `&after=${after}` : ''}`)).with(
        200,
      );
      assert.ok(page.receipts.length <= 3);
      seen.push(...page.receipts.map(({ user }) => user));
      after = page.next;
    } while (after);
    assert.deepEqual(seen, users);
    for (const query of ['limit=0', 'limit=x', 'limit=-1', 'colour=1'])
      (await server.api('GET', `/api/push/${id}?${query}`)).refused(400, 'bad_request');
  });

  test('of a push that never was are unknown', async () => {
    for (const id of ['AAAAAAAAAAAAAAAAAAAAAA', 'x', '%20', '..%2f..'])
      (await server.api('GET', `/api/push/${id}`)).refused(404, 'push_unknown');
  });
});

describe('publish', () => {
  const publish = (body) => server.api('POST', '/api/publish', body);

  test('to one channel tells the place', async () => {
    const { id, offset, epoch, mode } = (await publish({ channel: 'one', data: 1 })).with(202);
    assert.deepEqual([offset, mode], [1, server.mode]);
    const next = (await publish({ channel: 'one', data: 2 })).with(202);
    assert.deepEqual([next.offset, next.epoch], [2, epoch]);
    assert.notEqual(next.id, id);
  });

  test('to several tells the place in each', async () => {
    await publish({ channel: 'sev-b', data: 0 });
    const { id, mode, positions } = (await publish({ channels: ['sev-a', 'sev-b', 'sev-a'], data: 1 })).with(
      202,
    );
    assert.equal(mode, server.mode);
    assert.deepEqual(positions.map(({ channel, offset }) => [channel, offset]), [['sev-a', 1], ['sev-b', 2]]);
    const { messages } = (await server.api('GET', '/api/channels/sev-a/history')).with(200);
    assert.deepEqual(messages.map((message) => [message.id, message.from]), [[id, undefined]]);
  });

  test('one idempotency key gives one message', async () => {
    const first = (await publish({ channel: 'idem', data: 1, id: 'k' })).with(202);
    assert.deepEqual((await publish({ channel: 'idem', data: 1, id: 'k' })).with(202), first);
    // Among several nodes a key is known where its channel is.
    if (!server.amongNodes)
      (await publish({ channel: 'idem-other', data: 1, id: 'k' })).refused(409, 'key_reused');
    (await publish({ channel: 'idem', data: 2, id: 'k' })).refused(409, 'key_reused');
    assert.equal((await server.api('GET', '/api/channels/idem/history')).with(200).messages.length, 1);
  });

  test('what is not as it should be is refused', async () => {
    for (const body of [
      {},
      { channel: 'c' },
      { data: 1 },
      { channel: 'c', channels: ['c'], data: 1 },
      { channels: [], data: 1 },
      { channels: 'c', data: 1 },
      { channel: ['c'], data: 1 },
      { channel: 'c', data: 1, colour: 1 },
    ])
      (await publish(body)).refused(400, 'bad_request');
    for (const channel of ['', '@alice', 'x'.repeat(256), 'a\u0007', 'a\u200b']) {
      (await publish({ channel, data: 1 })).refused(400, 'bad_name');
      (await publish({ channels: ['good', channel], data: 1 })).refused(400, 'bad_name');
    }
    (await publish({ channels: Array.from({ length: 129 }, (_, n) => `c${n}`), data: 1 })).refused(
      422,
      'too_many_channels',
    );
  });
});

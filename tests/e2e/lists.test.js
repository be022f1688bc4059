// What the server API tells: users, sessions, channels, history, presence; each in pages.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Server } from './support/server.js';
import { until } from './support/until.js';

let server;
before(
  async () =>
    void (server = await Server.start({
      env: { ENCKE_NODE: 'node-7', ENCKE_RETENTION_DEFAULT_MAX_MESSAGES: '5' },
    })),
);
after(() => server.stop());

const get = async (address) => (await server.api('GET', address)).with(200);
const publish = async (channel, data) =>
  (await server.api('POST', '/api/publish', { channel, data })).with(202);

/** All pages of a list, each checked for its size. */
async function pages(address, member, limit) {
  const all = [];
  let after = null;
  for (let n = 0; n < 100; n++) {
    const page = await get(
      `${address}${address.includes('?') ? '&' : '?'}limit=${limit}${after === null ? '' : `&after=${encodeURIComponent(after)}`}`,
    );
    assert.ok(page[member].length <= limit);
    all.push(...page[member]);
    assert.ok('next' in page, 'next is there, and null at the end');
    if (page.next === null) return all;
    after = page.next;
  }
  throw new Error(`${address} has no end`);
}

const isTime = (text) => assert.match(text, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);

test('users: who is known, who is online, one of them', async () => {
  const names = ['u-a', 'u-b', 'u-ü', 'u/c?d', 'u-e'];
  for (const name of names) await (await server.login(name)).look();
  const gone = await server.login('u-gone');
  const { session } = await gone.look();
  (await gone.post('/v1/close', { session })).with(200);
  await server.push({ to: ['u-never'], data: 1 });

  await until('all are written down', async () =>
    (await Promise.all([...names, 'u-gone', 'u-never'].map((name) => server.user(name)))).every(
      ({ first_seen }) => first_seen,
    ),
  );
  const all = await pages('/api/users', 'users', 2);
  for (const name of [...names, 'u-gone', 'u-never'])
    assert.equal(all.filter(({ id }) => id === name).length, 1, name);
  const online = await pages('/api/users?online=true', 'users', 2);
  assert.ok(names.every((name) => online.some(({ id }) => id === name)));
  assert.ok(!online.some(({ id }) => ['u-gone', 'u-never'].includes(id)));
  const offline = await pages('/api/users?online=false', 'users', 2);
  assert.deepEqual(
    offline
      .map(({ id }) => id)
      .filter((id) => id.startsWith('u'))
      .sort(),
    ['u-gone', 'u-never'],
  );

  for (const name of names) {
    const user = await server.user(name);
    assert.deepEqual([user.id, user.online, user.sessions], [name, true, 1]);
    assert.deepEqual(Object.keys(user).sort(), ['first_seen', 'id', 'last_seen', 'online', 'sessions']);
    isTime(user.first_seen);
    isTime(user.last_seen);
  }
  const left = await server.user('u-gone');
  assert.deepEqual([left.online, left.sessions], [false, 0]);
  isTime(left.last_seen);
  assert.equal((await server.user('u-never')).last_seen, null);
  (await server.api('GET', '/api/users/unknown')).refused(404, 'user_unknown');
  (await server.api('GET', '/api/users/a%00b')).refused(400, 'bad_name');
  (await server.api('GET', '/api/users/%ff')).refused(400, 'bad_name');
});

test('sessions: all, and those of one user', async () => {
  const alice = await server.login('s-a');
  const stream = await alice.stream({ channels: 'x,y' });
  const { session } = await alice.look();
  await (await server.login('s-b')).look();
  const own = await server.sessions('s-a');
  assert.deepEqual(own.map((one) => one.session).sort(), [session, stream.session].sort());
  const one = own.find((one) => one.session === stream.session);
  assert.deepEqual(Object.keys(one).sort(), [
    'channels',
    'connected',
    'lag',
    'node',
    'session',
    'since',
    'transport',
    'user',
  ]);
  assert.deepEqual(
    [one.user, one.transport, one.node, one.lag, one.connected, one.channels.sort()],
    ['s-a', 'sse', 'node-7', 0, true, ['x', 'y']],
  );
  isTime(one.since);
  const other = own.find((one) => one.session === session);
  assert.deepEqual([other.transport, other.connected], ['poll', false]);
  const all = await pages('/api/sessions', 'sessions', 1);
  assert.equal(new Set(all.map((one) => one.session)).size, all.length);
  assert.ok(['s-a', 's-b'].every((user) => all.some((one) => one.user === user)));
  assert.deepEqual(await server.sessions('never-here'), []);
  await stream.drop();
});

test('the lag of a session is what it has not been given', async () => {
  const alice = await server.login('lag');
  const { session, cursor } = await alice.look({ channels: 'lag' });
  for (let n = 0; n < 3; n++) await publish('lag', n);
  await until('the lag is told', async () => (await server.sessions('lag'))[0].lag === 3);
  await alice.take(3, { session, cursor });
  await until('it has caught up', async () => (await server.sessions('lag'))[0].lag === 0);
});

test('channels: where their logs begin and end, and how many follow', async () => {
  for (let n = 0; n < 3; n++) await publish('ch-a', n);
  await publish('ch-b', 1);
  const streams = await Promise.all(
    ['ch-u', 'ch-u', 'ch-v'].map(async (name) => (await server.login(name)).stream({ channels: 'ch-a' })),
  );
  const all = await pages('/api/channels', 'channels', 1);
  const a = all.find(({ channel }) => channel === 'ch-a');
  assert.deepEqual([a.tail, a.head, a.subscribers, typeof a.epoch], [1, 3, 3, 'string']);
  assert.ok(all.some(({ channel }) => channel === 'ch-b'));
  assert.deepEqual(all.map(({ channel }) => channel), [...all.map(({ channel }) => channel)].sort());
  const present = await pages('/api/channels/ch-a/presence', 'users', 1);
  assert.deepEqual(present, [{ user: 'ch-u', sessions: 2 }, { user: 'ch-v', sessions: 1 }]);
  assert.deepEqual(await get('/api/channels/never-here/presence'), { users: [], next: null });
  await Promise.all(streams.map((stream) => stream.drop()));
});

test('history: forwards from the oldest, or from a cursor', async () => {
  for (let n = 1; n <= 4; n++) await publish('hi st/ory', n);
  const at = `/api/channels/${encodeURIComponent('hi st/ory')}/history`;
  const first = await get(`${at}?limit=2`);
  assert.deepEqual([first.messages.map(({ data }) => data), first.gaps], [[1, 2], []]);
  const second = await get(`${at}?limit=2&cursor=${encodeURIComponent(first.cursor)}`);
  assert.deepEqual(second.messages.map(({ data }) => data), [3, 4]);
  const end = await get(`${at}?cursor=${encodeURIComponent(second.cursor)}`);
  assert.deepEqual([end.messages, end.cursor], [[], second.cursor]);
  assert.deepEqual((await get(`${at}?cursor=earliest`)).messages.length, 4);
  assert.deepEqual(
    (await get(`${at}?cursor=1~x~another~3`)).messages.length,
    4,
    'a cursor that is silent about the channel',
  );
  const foreign = await get(`${at}?cursor=${encodeURIComponent('1~x~hi!20st/ory~9')}`);
  assert.deepEqual(
    [foreign.gaps.map(({ from, to, reason }) => [from, to, reason]), foreign.messages.length],
    [[[10, null, 'epoch']], 4],
  );
  assert.deepEqual((await get('/api/channels/never/history')).messages, []);
  const { id } = await server.push({ to: ['hist-user'], url: 'https://example.com/' });
  const own = (await get('/api/channels/@hist-user/history')).messages;
  assert.deepEqual(
    own.map((message) => [message.id, message.type, message.url]),
    [[id, 'page', 'https://example.com/']],
  );
});

test('history tells what was trimmed', async () => {
  const { epoch } = await publish('trim', 1);
  for (let n = 2; n <= 9; n++) await publish('trim', n);
  const { tail } = await until('the log is trimmed', async () =>
    (await get('/api/channels?limit=1000')).channels.find(
      ({ channel, tail }) => channel === 'trim' && tail === 5,
    ),
  );
  const { gaps, messages } = await get(`/api/channels/trim/history?cursor=1~${epoch}~trim~1`);
  assert.deepEqual(gaps, [{ channel: 'trim', from: 2, to: tail - 1, reason: 'trimmed' }]);
  assert.deepEqual(messages.map(({ data }) => data), [5, 6, 7, 8, 9]);
});

test('lists are asked for as they should be', async () => {
  for (const address of [
    '/api/users',
    '/api/sessions',
    '/api/channels',
    '/api/channels/c/history',
    '/api/channels/c/presence',
  ]) {
    for (const query of ['limit=0', 'limit=-1', 'limit=x', 'limit=1.5', 'colour=red', 'limit=1&limit=2']) {
      const answer = await server.api('GET', `${address}?${query}`);
      answer.refused(400, 'bad_request');
    }
    (await server.api('GET', `${address}?limit=100000`)).with(200);
  }
  (await server.api('GET', '/api/users?online=maybe')).refused(400, 'bad_request');
  (await server.api('GET', '/api/sessions?after=x')).refused(400, 'bad_request');
  (await server.api('GET', '/api/sessions?user=')).refused(400, 'bad_name');
  (await server.api('GET', '/api/channels/c/history?cursor=x')).refused(400, 'bad_cursor');
  (await server.api('GET', '/api/channels/a%E2%80%8Bb/history')).refused(400, 'bad_name');
  (await server.api('GET', '/api/channels/a%00b/presence')).refused(400, 'bad_name');
});

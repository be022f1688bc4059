// The other streams: a line of JSON an event, and the forever frame.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { raw } from './support/raw.js';
import { Server } from './support/server.js';
import { until } from './support/until.js';

let server;
before(
  async () =>
    void (server = await Server.start({
      env: { ENCKE_HEARTBEAT_S: '1', ENCKE_ALLOWED_ORIGINS: 'https://app.example' },
    })),
);
after(() => server.stop());

/** What came over a stream that has begun for certain, was given one message, and was then closed. */
async function whole(user, query) {
  const reading = raw(
    server.port,
    `GET /v1/stream?${query} HTTP/1.0\r\nHost: 127.0.0.1:${server.port}\r\nAuthorization: Bearer ${user.token}\r\n\r\n`,
  );
  const { session } = await server.held(user.name);
  const { id } = await server.push({ to: [user.name], data: { text: '</script>\u2028\n' } });
  await server.receipt(id, user.name, 'delivered');
  (await user.post('/v1/close', { session, reason: 'bye' })).with(200);
  const text = await reading;
  const at = text.indexOf('\r\n\r\n');
  return { head: text.slice(0, at), body: text.slice(at + 4), session };
}

test('NDJSON is a line an event', async () => {
  const alice = await server.login('ndjson');
  const { head, body, session } = await whole(alice, 'as=ndjson');
  assert.match(head, /^HTTP\/1\.[01] 200 /);
  const [open, message, close] = body.split('\n').filter(Boolean).map((line) => JSON.parse(line));
  assert.deepEqual([open.event, open.session, open.heartbeat_s], ['open', session, 1]);
  assert.deepEqual(
    [message.event, message.channel, message.data],
    ['message', '@ndjson', { text: '</script>\u2028\n' }],
  );
  assert.deepEqual(close, { event: 'close', code: 'client', reason: 'bye', reconnect: false });
});

test('NDJSON goes on from a cursor', async () => {
  const alice = await server.login('ndjson-on');
  await server.push({ to: ['ndjson-on'], data: 1 });
  const { cursor } = await alice.look({ channels: 'ndjson-on' });
  (await server.api('POST', '/api/publish', { channel: 'ndjson-on', data: 'missed' })).with(202);
  const text = await raw(
    server.port,
    `GET /v1/stream?as=ndjson&cursor=${encodeURIComponent(cursor)} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${alice.token}\r\n\r\n`,
    (text) => text.includes('missed'),
  );
  assert.ok(text.includes('"missed"'));
});

test('the forever frame is a document of scripts for exactly one origin', async () => {
  const alice = await server.login('frame');
  const { head, body } = await whole(alice, `as=iframe&origin=${encodeURIComponent('https://app.example')}`);
  assert.match(head, /content-type: text\/html/i);
  assert.match(body, /"https:\/\/app\.example"/);
  assert.match(head, /frame-ancestors https:\/\/app\.example/);
  assert.equal(
    body.split('</script>').length - 1,
    body.split('<script').length - 1,
    'data never ends a script',
  );
  for (const word of ['open', 'message', 'close']) assert.ok(body.includes(word), word);
});

test('streams are refused as everything else is', async () => {
  const alice = await server.login('stream-refused');
  const ask = (query, headers = alice.headers) => server.ask('GET', `/v1/stream${query}`, { headers });
  (await ask('?as=ndjson', {})).refused(401, 'unauthorized');
  (await ask('?as=ndjson&cursor=x')).refused(400, 'bad_cursor');
  (await ask('?as=ndjson&colour=red')).refused(400, 'bad_request');
  const { session } = await alice.look();
  (await alice.post('/v1/close', { session })).with(200);
  (await ask(`?as=ndjson&session=${session}`)).refused(410, 'session_closed');
  for (const origin of ['https://evil.example', '*', 'null', '']) {
    const { status } = await ask(`?as=iframe&origin=${encodeURIComponent(origin)}`);
    assert.ok([400, 403].includes(status), `${origin}: ${status}`);
  }
  await until('no session is left', async () => (await server.sessions('stream-refused')).length === 0);
});

// Who a client is: tokens, the cookie, tickets.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Server, TOKEN_SECRET } from './support/server.js';
import { inSeconds, sign } from './support/token.js';

/** The cookie of an answer as a browser would send it back. */
const cookieOf = (answer) => answer.headers['set-cookie'][0].split(';')[0];

describe('in dev mode', () => {
  let server;
  before(
    async () => void (server = await Server.start({ env: { ENCKE_ALLOWED_ORIGINS: 'https://app.example' } })),
  );
  after(() => server.stop());

  test('login by id gives a token, the user, an end, and the cookie', async () => {
    const answer = await server.ask('POST', '/v1/login', { body: { user: 'alice' } });
    const { token, user, expires } = answer.with(200);
    assert.equal(user, 'alice');
    assert.match(expires, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);
    assert.ok(Date.parse(expires) > Date.now());
    const [cookie] = answer.headers['set-cookie'];
    assert.ok(cookie.startsWith(`encke_token=${token}; `));
    for (const attribute of ['HttpOnly', 'SameSite=Lax', 'Path=/', 'Max-Age='])
      assert.ok(cookie.includes(attribute), cookie);
    const claims = JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));
    assert.equal(claims.sub, 'alice');
    assert.equal(claims.exp, Date.parse(expires) / 1000);
    await server.as('alice', token).look();
  });

  test('login by token gives that token back', async () => {
    const token = sign(TOKEN_SECRET, { sub: 'bob', exp: inSeconds(60) });
    const answer = await server.ask('POST', '/v1/login', { body: { token } });
    assert.deepEqual([answer.with(200).token, answer.json.user], [token, 'bob']);
    (await server.ask('POST', '/v1/login', { body: { token: 'nonsense' } })).refused(401, 'unauthorized');
    (
      await server.ask('POST', '/v1/login', {
        body: { token: sign(TOKEN_SECRET, { sub: 'bob', exp: inSeconds(-5) }) },
      })
    ).refused(401, 'token_expired');
  });

  test('login takes exactly one of the two', async () => {
    for (const body of [
      {},
      { user: 'a', token: 'b' },
      { name: 'a' },
      { user: 1 },
      { user: 'a', colour: 1 },
    ]) {
      (await server.ask('POST', '/v1/login', { body })).refused(400, 'bad_request');
    }
    for (const user of ['', 'x'.repeat(256), 'a\nb', 'a\u200bb', 'a\u202eb', '\ufeff', 'ü'.repeat(128)]) {
      (await server.ask('POST', '/v1/login', { body: { user } })).refused(400, 'bad_name');
    }
    assert.equal(
      (await server.ask('POST', '/v1/login', { body: { user: `${'ü'.repeat(127)}x` } })).with(200).user
        .length,
      128,
    );
  });

  test('logout clears the cookie', async () => {
    const answer = await server.ask('POST', '/v1/logout');
    assert.deepEqual(answer.with(200), { ok: true });
    assert.match(answer.headers['set-cookie'][0], /^encke_token=; .*Max-Age=0/);
  });

  test('the cookie is good for everything that a client does, from the same origin', async () => {
    const cookie = cookieOf(await server.ask('POST', '/v1/login', { body: { user: 'carol' } }));
    const origin = server.url;
    const look = (headers) => server.ask('GET', '/v1/poll?hold_s=0', { headers: { cookie, ...headers } });
    const { session } = (await look({ origin })).with(200);
    (await look({})).with(200);
    (await look({ 'sec-fetch-site': 'same-origin' })).with(200);
    const publish = (headers) =>
      server.ask('POST', '/v1/publish', { body: { channel: 'c', data: 1 }, headers: { cookie, ...headers } });
    (await publish({ origin })).with(202);
    (await publish({ origin: 'https://app.example' })).with(202);
    for (const foreign of [
      { origin: 'https://evil.example' },
      { origin: 'null' },
      { origin: `${server.url}0` },
      { 'sec-fetch-site': 'cross-site' },
      { 'sec-fetch-site': 'same-site' },
    ]) {
      (await look(foreign)).refused(403, 'origin_forbidden');
      (await publish(foreign)).refused(403, 'origin_forbidden');
    }
    (await publish({})).refused(403, 'origin_forbidden');
    (await server.ask('POST', '/v1/close', { body: { session }, headers: { cookie, origin } })).with(200);
  });

  test('a foreign page can neither log in nor log out', async () => {
    const headers = { origin: 'https://evil.example' };
    (await server.ask('POST', '/v1/login', { body: { user: 'a' }, headers })).refused(
      403,
      'origin_forbidden',
    );
    (await server.ask('POST', '/v1/logout', { headers })).refused(403, 'origin_forbidden');
  });

  test('answers may be read by pages of allowed origins and by no others', async () => {
    const { token } = (await server.ask('POST', '/v1/login', { body: { user: 'cors' } })).with(200);
    for (const address of ['/v1/poll?hold_s=0', '/v1/ticket']) {
      const ask = (origin) =>
        server.ask(address.includes('poll') ? 'GET' : 'POST', address, {
          headers: { authorization: `Bearer ${token}`, origin },
        });
      const allowed = await ask('https://app.example');
      assert.equal(allowed.status, 200);
      assert.equal(allowed.headers['access-control-allow-origin'], 'https://app.example');
      assert.equal(allowed.headers['access-control-allow-credentials'], 'true');
      assert.equal((await ask('https://evil.example')).headers['access-control-allow-origin'], undefined);
    }
    const preflight = (origin) =>
      server.ask('OPTIONS', '/v1/poll', {
        headers: {
          origin,
          'access-control-request-method': 'GET',
          'access-control-request-headers': 'authorization',
        },
      });
    const may = await preflight('https://app.example');
    assert.equal(may.status, 204);
    assert.match(may.headers['access-control-allow-headers'], /Authorization/i);
    (await preflight('https://evil.example')).refused(403, 'origin_forbidden');
  });

  test('a ticket is good once, and for at most 30 seconds', async () => {
    const dave = await server.login('dave');
    for (const address of ['/v1/poll', '/v1/sse']) {
      const { ticket, expires } = (await dave.post('/v1/ticket')).with(200);
      const left = Date.parse(expires) - Date.now();
      assert.ok(left > 0 && left <= 30_500, `${left}`);
      const ask = () => server.ask('GET', `/v1/poll?hold_s=0&ticket=${ticket}`);
      if (address === '/v1/poll') (await ask()).with(200);
      else {
        const stream = await server.as('dave').stream({ ticket }, { authorization: '' });
        assert.equal(stream.opened.event, 'open');
        await stream.drop();
      }
      (await ask()).refused(401, 'unauthorized');
    }
    (await server.ask('GET', '/v1/poll?ticket=nonsense')).refused(401, 'unauthorized');
    (await server.ask('POST', '/v1/ticket')).refused(401, 'unauthorized');
    const { ticket } = (await dave.post('/v1/ticket')).with(200);
    (await server.ask('POST', `/v1/publish?ticket=${ticket}`, { body: { channel: 'c', data: 1 } })).refused(
      401,
      'unauthorized',
    );
  });

  test('a long-lived token in an address is refused', async () => {
    const { token } = await server.login('erin');
    for (const name of ['token', 'access_token', 'jwt']) {
      (await server.ask('GET', `/v1/poll?hold_s=0&${name}=${token}`)).refused(401, 'unauthorized');
      (
        await server.ask('GET', `/v1/sse?${name}=${token}`, { headers: { authorization: `Bearer ${token}` } })
      ).refused(401, 'unauthorized');
    }
  });

  test('without a token, or with one that does not verify, nothing is served', async () => {
    const good = { sub: 'mallory', exp: inSeconds(60) };
    const bad = {
      none: undefined,
      nonsense: 'nonsense',
      'another secret': sign('another secret that is long enough, 32 bytes', good),
      unsigned: sign(TOKEN_SECRET, good, { alg: 'none', signature: '' }),
      'signed by another algorithm': sign(TOKEN_SECRET, good, { alg: 'HS512', hash: 'sha512' }),
      'another algorithm by its word': sign(TOKEN_SECRET, good, { alg: 'RS256' }),
      'without a user': sign(TOKEN_SECRET, { exp: good.exp }),
      'without an end': sign(TOKEN_SECRET, { sub: 'mallory' }),
      'a user of no name': sign(TOKEN_SECRET, { sub: '', exp: good.exp }),
      'not yet good': sign(TOKEN_SECRET, { ...good, nbf: inSeconds(3600) }),
    };
    for (const [why, token] of Object.entries(bad)) {
      const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
      for (const [method, address, body] of [
        ['GET', '/v1/poll?hold_s=0'],
        ['GET', '/v1/sse'],
        ['POST', '/v1/publish', { channel: 'c', data: 1 }],
        ['POST', '/v1/ack', { session: 's', cursor: 'c' }],
        ['POST', '/v1/subscribe', { session: 's', channels: ['c'] }],
        ['POST', '/v1/unsubscribe', { session: 's', channels: ['c'] }],
        ['POST', '/v1/close', { session: 's' }],
      ]) {
        const answer = await server.ask(method, address, { body, headers });
        assert.equal(answer.status, 401, `${why}: ${method} ${address}`);
        answer.refused(401, 'unauthorized');
      }
    }
    const expired = { authorization: `Bearer ${sign(TOKEN_SECRET, { ...good, exp: inSeconds(-5) })}` };
    for (const address of ['/v1/poll?hold_s=0', '/v1/sse'])
      (await server.ask('GET', address, { headers: expired })).refused(401, 'token_expired');
    (await server.ask('POST', '/v1/publish', { body: { channel: 'c', data: 1 }, headers: expired })).refused(
      401,
      'token_expired',
    );
  });

  test('a connection does not outlive its token', async () => {
    const exp = inSeconds(3);
    const user = server.as('short', sign(TOKEN_SECRET, { sub: 'short', exp, channels: ['*'] }));
    const stream = await user.stream();
    // Before that it is told that the token ends.
    assert.equal((await stream.next())?.event, 'expiring');
    const close = await stream.next();
    assert.ok(Date.now() / 1000 >= exp - 0.1, 'not before its time');
    assert.equal(close?.event ?? 'end', 'close');
    assert.equal(close.code, 'token_expired');
    await stream.done;
    (await user.poll({ hold_s: 0 })).refused(401, 'token_expired');
  });

  test('a token grants the channels that it names, and no others', async () => {
    const user = server.as(
      'granted',
      sign(TOKEN_SECRET, {
        sub: 'granted',
        exp: inSeconds(60),
        channels: ['room:*', 'news'],
        publish: ['room:1'],
      }),
    );
    const { session } = await user.look({ channels: 'room:1,news' });
    (await user.poll({ hold_s: 0, channels: 'hall' })).refused(403, 'channel_forbidden');
    (await user.events({ channels: 'newsroom' })).refused(403, 'channel_forbidden');
    (await user.post('/v1/subscribe', { session, channels: ['hall'] })).refused(403, 'channel_forbidden');
    assert.deepEqual(
      (await user.post('/v1/subscribe', { session, channels: ['room:2'] })).with(200).channels.sort(),
      ['news', 'room:1', 'room:2'],
    );
    (await user.post('/v1/publish', { channel: 'room:1', data: 1 })).with(202);
    (await user.post('/v1/publish', { channel: 'room:2', data: 1 })).refused(403, 'channel_forbidden');
    const none = server.as('bare', sign(TOKEN_SECRET, { sub: 'bare', exp: inSeconds(60) }));
    (await none.poll({ hold_s: 0, channels: 'news' })).refused(403, 'channel_forbidden');
    (await none.post('/v1/publish', { channel: 'news', data: 1 })).refused(403, 'channel_forbidden');
    // A cursor names channels too, and grants none.
    const epoch = (await none.look()).cursor.split('~')[1];
    (await none.poll({ hold_s: 0, cursor: `1~${epoch}~news~0` })).refused(403, 'channel_forbidden');
    (await none.poll({ hold_s: 0, cursor: `1~${epoch}~@granted~0` })).refused(403, 'channel_forbidden');
  });
});

describe('outside dev mode', () => {
  let server;
  before(
    async () =>
      void (server = await Server.start({ dev: false, env: { ENCKE_API_KEY: 'e2e-8d1f60b3a97c-0001' } })),
  );
  after(() => server.stop());

  test('an id alone is not enough, a token is', async () => {
    (await server.ask('POST', '/v1/login', { body: { user: 'alice' } })).refused(403, 'login_disabled');
    const token = sign(TOKEN_SECRET, { sub: 'alice', exp: inSeconds(60) });
    const cookie = cookieOf(await server.ask('POST', '/v1/login', { body: { token } }));
    assert.equal(cookie, `encke_token=${token}`);
  });

  test('the metrics need the key', async () => {
    (await server.ask('GET', '/metrics')).refused(401, 'unauthorized');
    const answer = await server.ask('GET', '/metrics', {
      headers: { authorization: 'Bearer e2e-8d1f60b3a97c-0001' },
    });
    assert.equal(answer.status, 200);
    for (const address of ['/healthz', '/readyz']) (await server.ask('GET', address)).with(200);
  });
});

// Addresses, methods and sizes: what is served, and how everything else is refused.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { raw } from './support/raw.js';
import { API_KEY, Server } from './support/server.js';

let server;
before(async () => void (server = await Server.start()));
after(() => server.stop());

const json = { 'content-type': 'application/json' };
const key = { authorization: `Bearer ${API_KEY}` };

describe('what is served', () => {
  test('the pages, the client and what they are made of', async () => {
    for (const [address, type, word] of [
      ['/', 'text/html', 'id="login-form"'],
      ['/console', 'text/html', 'id="push-form"'],
      ['/client.js', 'text/javascript', 'Encke'],
      ['/assets/demo.js', 'text/javascript', 'showPage'],
      ['/assets/console.js', 'text/javascript', 'Places'],
      ['/assets/console.css', 'text/css', '#users'],
      ['/assets/console/receipts.js', 'text/javascript', 'cancel'],
      ['/assets/style.css', 'text/css', ':root'],
      ['/assets/favicon.svg', 'image/svg+xml', '<svg'],
    ]) {
      const { status, headers, text } = await server.ask('GET', address);
      assert.equal(status, 200, address);
      assert.ok(headers['content-type'].startsWith(type), `${address}: ${headers['content-type']}`);
      assert.ok(text.includes(word), address);
      assert.equal(headers['x-content-type-options'], 'nosniff');
      if (type === 'text/html') {
        const policy = headers['content-security-policy'];
        assert.match(policy, /default-src 'none'/);
        assert.match(policy, /frame-ancestors 'none'/);
        assert.doesNotMatch(policy, /unsafe-/);
      }
      const known = await server.ask('GET', address, { headers: { 'if-none-match': headers.etag } });
      assert.deepEqual([known.status, known.text], [304, '']);
    }
    (await server.ask('GET', '/assets/nothing.js')).refused(404, 'not_found');
    (await server.ask('GET', '/assets/..%2fCargo.toml')).refused(404, 'not_found');
  });

  test('health, readiness and metrics', async () => {
    assert.equal((await server.ask('GET', '/healthz')).with(200).ok, true);
    assert.equal((await server.ask('GET', '/readyz')).with(200).ok, true);
    const { status, headers, text } = await server.ask('GET', '/metrics');
    assert.equal(status, 200);
    assert.match(headers['content-type'], /^text\/plain; version=0\.0\.4/);
    for (const name of [
      'encke_users_online',
      'encke_sessions',
      'encke_connections_held',
      'encke_sockets',
      'encke_http_requests_total',
    ]) {
      assert.match(text, new RegExp(`^# TYPE ${name} `, 'm'));
    }
    for (const line of text.split('\n').filter(Boolean))
      assert.match(line, /^(#.*|[a-z_]+(\{.*\})? [-+0-9.e]+(inf|nan)?)$/i);
  });

  test('a description of all of it', async () => {
    const document = (await server.ask('GET', '/api/openapi.json')).with(200);
    assert.match(document.openapi, /^3\./);
    for (const address of [
      '/v1/login',
      '/v1/logout',
      '/v1/ticket',
      '/v1/poll',
      '/v1/sse',
      '/v1/close',
      '/v1/subscribe',
      '/v1/unsubscribe',
      '/v1/publish',
      '/v1/ack',
      '/api/push',
      '/api/push/{id}',
      '/api/publish',
      '/api/users',
      '/api/users/{user}',
      '/api/sessions',
      '/api/close',
      '/api/channels',
      '/api/channels/{channel}/history',
      '/api/channels/{channel}/presence',
      '/',
      '/console',
      '/client.js',
      '/metrics',
      '/healthz',
      '/readyz',
      '/api/openapi.json',
    ]) {
      assert.ok(document.paths[address], address);
    }
    // Whatever it describes is there, and takes no other method.
    for (const [address, item] of Object.entries(document.paths)) {
      const at = address.replace(/\{\w+\}/g, 'x');
      const answer = await server.ask('PATCH', at, { headers: key });
      answer.refused(405, 'method_not_allowed');
      assert.ok(Object.keys(item).every((method) => ['get', 'post', 'delete'].includes(method)));
    }
  });
});

describe('what is not', () => {
  test('other addresses are not found', async () => {
    const { headers } = await server.login('lost');
    for (const address of [
      '/nothing',
      '/v1',
      '/v1/',
      '/v1/poll/',
      '/v1/nothing',
      '/api',
      '/api/nothing',
      '/api/users/a/b',
      '/console/',
      '//',
      '/%00',
      '/index.html',
      '/../../etc/passwd',
      '/V1/poll',
    ]) {
      for (const method of ['GET', 'POST'])
        (await server.ask(method, address, { headers })).refused(404, 'not_found');
    }
  });

  test('other methods are not allowed, and the answer says which are', async () => {
    for (const [method, address, allow] of [
      ['GET', '/v1/login', 'POST'],
      ['GET', '/v1/close', 'POST'],
      ['PUT', '/v1/publish', 'POST'],
      ['DELETE', '/v1/ack', 'POST'],
      ['GET', '/api/push', 'POST'],
      ['POST', '/api/users', 'GET'],
      ['DELETE', '/api/channels/c/history', 'GET'],
      ['POST', '/', 'GET'],
      ['POST', '/console', 'GET'],
      ['POST', '/healthz', 'GET'],
      ['POST', '/v1/poll', 'GET'],
      ['PUT', '/v1/sse', 'GET'],
      ['PATCH', '/metrics', 'GET'],
    ]) {
      const answer = await server.ask(method, address, {
        headers: key,
        body: method === 'GET' ? undefined : {},
      });
      answer.refused(405, 'method_not_allowed');
      assert.ok(
        (answer.headers.allow ?? '').split(/, ?/).includes(allow),
        `${method} ${address}: allow is ${answer.headers.allow}`,
      );
    }
  });
});

describe('bodies', () => {
  const posts = [
    '/v1/login',
    '/v1/close',
    '/v1/subscribe',
    '/v1/unsubscribe',
    '/v1/publish',
    '/v1/ack',
    '/api/push',
    '/api/publish',
    '/api/close',
  ];
  const headersFor = async (address) =>
    address.startsWith('/api') ? key : (await server.login('bodies')).headers;

  test('have to be application/json', async () => {
    for (const address of posts) {
      const headers = await headersFor(address);
      for (const type of [
        'text/html',
        'application/x-www-form-urlencoded',
        'multipart/form-data; boundary=x',
        'application/json; charset=utf-16',
        'application/jsonx',
        ...(address === '/v1/close' ? [] : ['text/plain']),
      ]) {
        (
          await server.ask('POST', address, { body: '{}', headers: { ...headers, 'content-type': type } })
        ).refused(415, 'unsupported_media_type');
      }
      (await server.ask('POST', address, { body: '{}', headers })).refused(415, 'unsupported_media_type');
      (
        await server.ask('POST', address, {
          body: '{}',
          headers: { ...headers, ...json, 'content-encoding': 'gzip' },
        })
      ).refused(415, 'unsupported_media_type');
      assert.notEqual(
        (
          await server.ask('POST', address, {
            body: '{}',
            headers: { ...headers, 'content-type': 'Application/JSON; charset="UTF-8"' },
          })
        ).status,
        415,
      );
    }
  });

  test('have to be JSON, of the right members and types', async () => {
    for (const address of posts) {
      const headers = { ...(await headersFor(address)), ...json };
      for (const body of [
        '',
        '{',
        '[]',
        '"x"',
        'null',
        '1',
        '{}x',
        '{"a":}',
        "{'a':1}",
        '\ufeff{}',
        '{"colour":1}',
        Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]),
      ]) {
        (await server.ask('POST', address, { body, headers })).refused(400, 'bad_request');
      }
    }
    for (const body of ['{"channel":"c","channel":"d","data":1}', '{"channel":"c","data":1,"data":2}'])
      (await server.ask('POST', '/api/publish', { body, headers: { ...key, ...json } })).refused(
        400,
        'bad_request',
      );
  });

  test('have at most 64 KiB', async () => {
    for (const address of posts) {
      const headers = { ...(await headersFor(address)), ...json };
      const body = `{"data":"${'x'.repeat(65_536)}"}`;
      (await server.ask('POST', address, { body, headers })).refused(413, 'too_large');
    }
    const fits = (bytes) => `{"channel":"big","data":"${'x'.repeat(bytes - 28)}" }`;
    assert.equal(fits(65_536).length, 65_536);
    (await server.ask('POST', '/api/publish', { body: fits(65_536), headers: { ...key, ...json } })).with(
      202,
    );
    (await server.ask('POST', '/api/publish', { body: fits(65_537), headers: { ...key, ...json } })).refused(
      413,
      'too_large',
    );
    // A body whose length is not announced is counted as it comes.
    const chunk = `4000\r\n${'x'.repeat(0x4000)}\r\n`;
    const text = await raw(
      server.port,
      `POST /api/publish HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${API_KEY}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n${chunk.repeat(6)}0\r\n\r\n`,
    );
    assert.match(text, /^HTTP\/1\.1 413 /);
    assert.match(text, /"too_large"/);
  });

  test('that are refused are refused aloud, however much is still being sent', async () => {
    // The answer may be overtaken by a reset when the rest is not read; that is a race, so it is run often.
    for (let n = 0; n < 50; n++) {
      const text = await raw(
        server.port,
        `POST /api/publish HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${API_KEY}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: 400000\r\n\r\n${'x'.repeat(400_000)}`,
      );
      assert.match(text, /^HTTP\/1\.1 413 /);
    }
  });

  test('a length that is announced and too large is refused before it is sent', async () => {
    const text = await raw(
      server.port,
      `POST /api/publish HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${API_KEY}\r\nContent-Type: application/json\r\nContent-Length: 1000000000\r\n\r\n`,
      (text) => text.includes('too_large'),
    );
    assert.match(text, /^HTTP\/1\.1 413 /);
  });

  test('nest at most 32 deep', async () => {
    const deep = (n) => `${'['.repeat(n)}${']'.repeat(n)}`;
    const { headers } = await server.login('deep');
    for (const [address, body, auth] of [
      ['/v1/publish', (data) => `{"channel":"deep","data":${data}}`, headers],
      ['/api/publish', (data) => `{"channel":"deep","data":${data}}`, key],
      ['/api/push', (data) => `{"to":["deep"],"data":${data}}`, key],
    ]) {
      const send = (data) => server.ask('POST', address, { body: body(data), headers: { ...auth, ...json } });
      (await send(deep(32))).with(202);
      for (const data of [
        deep(33),
        deep(20_000),
        '['.repeat(20_000),
        '{"a":'.repeat(33) + '1' + '}'.repeat(33),
      ])
        (await send(data)).refused(400, 'too_deep');
    }
  });
});

describe('heads', () => {
  const padded = (line, bytes) => {
    const head = `${line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Pad: `;
    return `${head}${'x'.repeat(bytes - head.length - 4)}\r\n\r\n`;
  };

  test('have at most 16 KiB', async () => {
    for (const [line, status] of [
      ['GET /v1/poll?hold_s=0', 401],
      ['GET /v1/sse', 401],
      ['GET /healthz', 200],
      ['POST /api/push', 401],
    ]) {
      for (const bytes of [1000, 8191, 8193, 16_000])
        assert.match(
          await raw(server.port, padded(line, bytes)),
          new RegExp(`^HTTP/1\\.1 ${status} `),
          `${line}, ${bytes} bytes`,
        );
      for (const bytes of [16_600, 40_000])
        assert.match(
          await raw(server.port, padded(line, bytes)),
          /^HTTP\/1\.1 431 /,
          `${line}, ${bytes} bytes`,
        );
    }
  });

  test('that are not HTTP are refused, and nothing falls over', async () => {
    for (const bytes of [
      'nonsense\r\n\r\n',
      'GET /v1/poll\r\n\r\n',
      'GET /v1/poll HTTP/9.9\r\nHost: x\r\n\r\n',
      'GET /v1/poll HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n',
      'GET /v1/poll HTTP/1.1\r\n\r\n',
      '\u0016\u0003\u0001\u0000\r\n\r\n',
      'GET / HTTP/1.1\r\nHost : x\r\n\r\n',
    ]) {
      assert.match(await raw(server.port, bytes), /^HTTP\/1\.1 (400|505) /, JSON.stringify(bytes));
    }
    (await server.ask('GET', '/healthz')).with(200);
  });
});

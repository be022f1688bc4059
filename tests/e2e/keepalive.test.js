// Connections that are kept between two requests: whatever the rest, the next request is answered, directly
// and through proxies.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import { after, before, describe, test } from 'node:test';

import { CLIENT_REST_MS, proxy } from './support/proxies.js';
import { Server } from './support/server.js';
import { certificate } from './support/tls.js';

/** How long the server lets a connection rest. */
const REST_MS = 75_000;
/**
 * How near to its end a rest has to be for the next request to cross the end of the connection on its way.
 */
const CROSSING_MS = 2_000;
/** How often a client over HTTP/2 pings. */
const PING_MS = 500;
/** How long the server may take for what it does at the end of a rest, on a machine that is busy. */
const END_MAX_MS = 60_000;
/** In steps of half a second. */
const RESTS_MS = Array.from({ length: (80 - 9) * 2 + 1 }, (_, n) => 9_000 + n * 500);

let server;
let secure;
let alice;
let proxies;
before(async () => {
  server = await Server.start({ cluster: '' });
  secure = await Server.start({ cluster: '', tls: true });
  alice = await server.login('alice');
  proxies = await Promise.all(['nginx', 'haproxy'].map((kind) => proxy(kind, server.port)));
});
after(async () => {
  await Promise.all((proxies ?? []).map((one) => one.stop()));
  await Promise.all([server, secure].map((one) => one?.stop()));
});

/** A publish over this agent's connection: the status, and whether the connection was used before. */
function publish(url, agent, channel, id) {
  const body = JSON.stringify({ channel, data: id, id: `${channel} ${id}` });
  const headers = {
    ...alice.headers,
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
  };
  return new Promise((resolve, reject) => {
    const asked = http.request(`${url}/v1/publish`, { method: 'POST', agent, headers }, (response) => {
      response.resume().on('end', () => resolve({ status: response.statusCode, reused: asked.reusedSocket }));
    });
    asked.on('error', (error) => reject(Object.assign(error, { reused: asked.reusedSocket })));
    asked.end(body);
  });
}

/** Two publishes with so long a rest between them. */
async function around(url, channel, ms, ends) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  try {
    assert.equal((await publish(url, agent, channel, `${ms} before`)).status, 202);
    const began = performance.now();
    await new Promise((resolve) => setTimeout(resolve, ms));
    const rested = performance.now() - began;
    const second = await publish(url, agent, channel, `${ms} after`).catch((error) => {
      // Only there a client has to expect it, and tries again on a new connection, as clients do.
      if (!error.reused || Math.abs(rested - ends) > CROSSING_MS) throw error;
      return publish(url, agent, channel, `${ms} after`);
    });
    assert.equal(second.status, 202);
    // The connection is the same until its time is over; then the client has seen its end before it sends,
    // and makes another.
    if (rested < ends - CROSSING_MS) assert.ok(second.reused, 'the connection was not kept');
    if (rested > ends + CROSSING_MS) assert.ok(!second.reused, 'the connection was not ended');
    return undefined;
  } catch (error) {
    return `after ${ms} ms: ${error.message}`;
  } finally {
    agent.destroy();
  }
}

describe('a client that rests between two requests for 9 to 80 seconds', { concurrency: true }, () => {
  const stories = [
    ['directly', () => server.url, REST_MS],
    ['through nginx', () => proxies[0].url, CLIENT_REST_MS],
    ['through haproxy', () => proxies[1].url, CLIENT_REST_MS],
  ];
  for (const [how, url, ends] of stories) {
    test(`is answered ${how}, and nothing is lost or done twice`, async () => {
      const channel = how.replace(' ', '-');
      const failed = (await Promise.all(RESTS_MS.map((ms) => around(url(), channel, ms, ends)))).filter(
        Boolean,
      );
      assert.deepEqual(failed, []);
      const { messages } = (await server.api('GET', `/api/channels/${channel}/history?limit=1000`)).with(200);
      assert.equal(messages.length, 2 * RESTS_MS.length);
    });
  }

  test('is told to go over HTTP/2, also if it pings all the time', async (t) => {
    const session = http2.connect(secure.url, { ca: certificate().ca });
    t.after(() => session.destroy());
    const ended = Promise.all([once(session, 'goaway'), once(session, 'close')]);
    const request = session.request({ ':path': '/healthz' });
    const [headers] = await once(request, 'response');
    assert.equal(headers[':status'], 200);
    await once(request.resume(), 'end');
    const began = performance.now();
    let pongs = 0;
    const pings = setInterval(() => {
      if (!session.closed && !session.destroyed) session.ping((error) => void (pongs += error ? 0 : 1));
    }, PING_MS);
    t.after(() => clearInterval(pings));
    const late = AbortSignal.timeout(REST_MS + END_MAX_MS);
    const [[code]] = await Promise.race([ended, once(late, 'abort').then(() => assert.fail('it is kept'))]);
    assert.equal(code, http2.constants.NGHTTP2_NO_ERROR);
    assert.ok(performance.now() - began > REST_MS - CROSSING_MS, 'it was ended before its time');
    assert.ok(pongs > 1, 'its pings were answered');
  });
});

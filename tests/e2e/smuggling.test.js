// Requests that two servers may read differently, sent as bytes to the server alone and to real proxies
// before it. Whatever each makes of them: the sender has an answer for each request that is carried out, and
// others have their own.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { proxy } from './support/proxies.js';
import { raw } from './support/raw.js';
import { Server } from './support/server.js';

/** Others that ask behind each attack, over the connections that the proxy has by then. */
const OTHERS = 12;

let server;
let alice;
let proxies;
before(async () => {
  server = await Server.start({ cluster: '', tls: false, env: { ENCKE_LIMITS_USER_PUBLISHES_PER_S: '0' } });
  alice = await server.login('alice');
  proxies = await Promise.all(['nginx', 'haproxy'].map((kind) => proxy(kind, server.port)));
});
after(async () => {
  await Promise.all((proxies ?? []).map((one) => one.stop()));
  await server.stop();
});

const json = (channel, data) => JSON.stringify({ channel, data });
const hex = (text) => Buffer.byteLength(text).toString(16);
const chunks = (body) => `${hex(body)}\r\n${body}\r\n0\r\n\r\n`;

/** A publish whose head ends with these fields, and what comes behind the head. */
function post(fields, rest, { target = '/v1/publish', host = 'Host: a\r\n', end = '\r\n' } = {}) {
  const authorization = `Authorization: ${alice.headers.authorization}`;
  const head = [`POST ${target} HTTP/1.1`, `${host}${authorization}`, 'Content-Type: application/json'];
  return `${[...head, ...fields].join(end).replaceAll('\r\n', end)}${end}${end}${rest}`;
}

/** A publish that nothing can be thought of in two ways. */
const plain = (channel, data) => {
  const body = json(channel, data);
  return post([`Content-Length: ${Buffer.byteLength(body)}`], body);
};

/** What hides a second publish in the first one, as one of two servers sees it. */
const ATTACKS = {
  'a length and chunks': (channel) => {
    const [first, second] = [chunks(json(channel, 'first')), plain(channel, 'second')];
    const all = first + second;
    return post([`Content-Length: ${Buffer.byteLength(all)}`, 'Transfer-Encoding: chunked'], all);
  },
  'chunks and a length': (channel) => {
    const [first, second] = [chunks(json(channel, 'first')), plain(channel, 'second')];
    const all = first + second;
    return post(['Transfer-Encoding: chunked', `Content-Length: ${Buffer.byteLength(all)}`], all);
  },
  'a length that ends before the chunks do': (channel) => {
    const hidden = chunks(plain(channel, 'second'));
    return post(['Content-Length: 4', 'Transfer-Encoding: chunked'], hidden);
  },
  'two lengths': (channel) => {
    const [first, second] = [json(channel, 'first'), plain(channel, 'second')];
    const lengths = [first, first + second].map((body) => `Content-Length: ${Buffer.byteLength(body)}`);
    return post(lengths, first + second);
  },
  'a list of lengths': (channel) => {
    const [first, second] = [json(channel, 'first'), plain(channel, 'second')];
    const length = Buffer.byteLength(first);
    return post([`Content-Length: ${length}, ${length + Buffer.byteLength(second)}`], first + second);
  },
  'a length with a sign': (channel) => {
    const [first, second] = [json(channel, 'first'), plain(channel, 'second')];
    return post([`Content-Length: +${Buffer.byteLength(first)}`], first + second);
  },
  'chunks said twice': (channel) => {
    const [first, second] = [chunks(json(channel, 'first')), plain(channel, 'second')];
    return post(['Transfer-Encoding: chunked', 'Transfer-Encoding: identity'], first + second);
  },
  'chunks in chunks': (channel) => {
    const [first, second] = [chunks(json(channel, 'first')), plain(channel, 'second')];
    return post(['Transfer-Encoding: chunked, chunked'], first + second);
  },
  'chunks with a blank before the colon': (channel) => {
    const [first, second] = [chunks(json(channel, 'first')), plain(channel, 'second')];
    const length = Buffer.byteLength(first + second);
    return post(['Transfer-Encoding : chunked', `Content-Length: ${length}`], first + second);
  },
  'chunks behind a tabulator of lines': (channel) => {
    const [first, second] = [chunks(json(channel, 'first')), plain(channel, 'second')];
    const length = Buffer.byteLength(first + second);
    return post(['Transfer-Encoding: \x0bchunked', `Content-Length: ${length}`], first + second);
  },
  'a field that is folded': (channel) => {
    const [first, second] = [chunks(json(channel, 'first')), plain(channel, 'second')];
    const length = Buffer.byteLength(first + second);
    return post(['Transfer-Encoding:\r\n chunked', `Content-Length: ${length}`], first + second);
  },
};

/** What is unusual, and may be taken by who agrees with all others on where it ends. */
const ODD = {
  'lines that end with a bare line feed': (channel) => {
    const body = json(channel, 'first');
    const length = `Content-Length: ${Buffer.byteLength(body)}`;
    return post([length], body, { end: '\n' }) + plain(channel, 'second');
  },
  'a field in two lines': (channel) => {
    const body = json(channel, 'first');
    const fields = ['X-Note: one', ' two', `Content-Length: ${Buffer.byteLength(body)}`];
    return post(fields, body) + plain(channel, 'second');
  },
  'extensions of chunks': (channel) => {
    const body = json(channel, 'first');
    const chunked = `${hex(body)};name=value;other="a;b"\r\n${body}\r\n0;last\r\n\r\n`;
    return post(['Transfer-Encoding: chunked'], chunked) + plain(channel, 'second');
  },
  'an extension that ends with a bare line feed': (channel) => {
    const hidden = plain(channel, 'second');
    const body = json(channel, 'first');
    return post(['Transfer-Encoding: chunked'], `${hex(body)};\n${body}\r\n0\r\n\r\n`) + hidden;
  },
  'a trailer that says a length': (channel) => {
    const body = json(channel, 'first');
    const trailer = `${hex(body)}\r\n${body}\r\n0\r\nContent-Length: 4\r\n\r\n`;
    return post(['Transfer-Encoding: chunked'], trailer) + plain(channel, 'second');
  },
  'an address with another host': (channel) => {
    const body = json(channel, 'first');
    const target = 'http://other.example/v1/publish';
    return post([`Content-Length: ${Buffer.byteLength(body)}`], body, { target }) + plain(channel, 'second');
  },
};

/** The last of a connection: who has read all before it ends the connection behind its answer. */
const LAST = 'GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n';

/** Sends an attack to a port. What was carried out, by the order in which it was published. */
async function carriedOut(port, channel, bytes) {
  const answers = await raw(port, bytes + LAST);
  const accepted = answers.split('HTTP/1.1 202 ').length - 1;
  const history = await server.api('GET', `/api/channels/${channel}/history?limit=10`);
  const done = history.status === 404 ? [] : history.with(200).messages.map(({ data }) => data);
  const counts = `${done.length} were carried out, and ${accepted} answered`;
  assert.equal(done.length, accepted, `${counts}:\n${answers}`);
  return done;
}

/** Asks for pages that are there and pages that are not, each over a connection of its own. */
async function othersAreAnswered(port) {
  const asked = Array.from({ length: OTHERS }, async (_, number) => {
    const [target, status] = number % 2 ? ['/healthz', '200'] : [`/nowhere-${number}`, '404'];
    const answer = await raw(port, `GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    assert.equal(answer.slice(9, 12), status, `${target}: ${answer}`);
  });
  await Promise.all(asked);
}

describe('a request that two servers may read differently', () => {
  const ways = [
    ['alone', () => server.port],
    ['behind nginx', () => Number(new URL(proxies[0].url).port)],
    ['behind haproxy', () => Number(new URL(proxies[1].url).port)],
  ];
  for (const [how, port] of ways) {
    const channelOf = (name) => `${how} ${name}`.replaceAll(' ', '-');
    test(`two in a row are two, ${how}`, async () => {
      const channel = channelOf('two in a row');
      const done = await carriedOut(port(), channel, plain(channel, 'first') + plain(channel, 'second'));
      assert.deepEqual(done, ['first', 'second']);
    });
    for (const [name, attack] of Object.entries(ATTACKS)) {
      test(`with ${name} hides no other, ${how}`, async () => {
        const done = await carriedOut(port(), channelOf(name), attack(channelOf(name)));
        assert.ok(!done.includes('second'), 'what is within the first is no request');
        await othersAreAnswered(port());
      });
    }
    for (const [name, odd] of Object.entries(ODD)) {
      test(`with ${name} ends where all think it does, ${how}`, async () => {
        await carriedOut(port(), channelOf(name), odd(channelOf(name)));
        await othersAreAnswered(port());
      });
    }
  }
});

// A server of the console's size limits, made up: 100,000 users, 20,000 of them online, with the pages of the
// repository and answers in the form of the server API. Not how a server behaves, which the other tests show.
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const WEB = path.join(ROOT, 'crates/encke/web');
const CLIENT = path.join(ROOT, 'clients/js');
const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
};
// As the server sends it.
const CSP =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
  "frame-src http: https:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

export const KEY = 'large-server-key';
export const USERS = 100_000;
/** Every so many users one is online. */
const ONLINE_EVERY = 5;
const FIRST_NAMES = ['amelia', 'bashir', 'chen', 'dolores', 'emeka', 'farah', 'gunnar', 'hana', 'ivo', 'jun'];
const NOW = Date.parse('2026-11-28T12:00:00Z');
const time = (ago_s) => new Date(NOW - ago_s * 1000).toISOString();

/** A refusal. */
const refused = (status, code, message) => ({ status, body: { error: { code, message } } });

/** A push as it is listed. */
const listed = ({ id, time, url, data, totals }) => ({ id, time, url, data, totals });

export class LargeServer {
  /**
   * What was asked, and how many bytes were answered.
   * @type {{method: string, url: string, bytes: number}[]}
   */
  asked = [];
  /** What was pushed, the latest first. @type {any[]} */
  pushes = [];
  /** Whom every push was for. */
  reached = new Set();
  /** The messages of each channel. @type {Map<string, any[]>} */
  channels = new Map();
  /** Set to a status and an error, it is the answer to everything. */
  failing = null;
  /** Set to an address, what is posted there is done, and its answer is lost. */
  losing = '';
  /** What is said of every page that is checked; without it that is not allowed. @type {any} */
  checked = null;
  /** Who looks on at each user. @type {Map<string, Set<any>>} */
  looks = new Map();
  /** What was posted and deleted. @type {{method: string, path: string, body?: any}[]} */
  changes = [];
  #http;

  static async start() {
    const server = new LargeServer();
    server.users = Array.from({ length: USERS }, (_, n) => ({
      id: `${FIRST_NAMES[n % 10]}-${String(n).padStart(6, '0')}`,
      online: n % ONLINE_EVERY === 0,
      sessions: n % ONLINE_EVERY === 0 ? 1 + (n % 3) : 0,
      first_seen: time(86_400 * 30),
      last_seen: time(60 * (n % 9000)),
    })).sort((a, b) => (a.id < b.id ? -1 : 1));
    server.#fill();
    server.#http = http.createServer((request, response) => server.#answer(request, response));
    await new Promise((resolve) => server.#http.listen(0, '127.0.0.1', resolve));
    server.url = `http://127.0.0.1:${server.#http.address().port}`;
    return server;
  }

  stop() {
    this.#http.closeAllConnections();
    return new Promise((resolve) => this.#http.close(resolve));
  }

  /** The bytes and the number of all answers of the API since `from`. */
  traffic(from = 0) {
    const since = this.asked.slice(from).filter(({ url }) => url.startsWith('/api/'));
    return { requests: since.length, bytes: since.reduce((sum, { bytes }) => sum + bytes, 0) };
  }

  #fill() {
    for (let n = 0; n < 120; n++) {
      const name = n === 0 ? 'news' : `room-${String(n).padStart(3, '0')}`;
      const messages = Array.from({ length: 5 + (n % 60) }, (_, m) => ({
        id: `${name}-${m + 1}`,
        channel: name,
        offset: m + 1,
        epoch: 'k3x9',
        time: time(60 * (70 - m)),
        type: 'message',
        data: m % 3 ? { text: `Message ${m + 1}` } : `Message ${m + 1} as plain text`,
        from: m % 2 ? this.users[m].id : undefined,
      }));
      this.channels.set(name, messages);
    }
    for (let n = 0; n < 60; n++) {
      const users = [2000, 3, 20_000, 1][n % 4];
      const shown = Math.floor(users * 0.6);
      const totals = { queued: users - shown, delivered: 0, shown, expired: 0, cancelled: 0 };
      this.#put({
        id: `push-${n}`,
        time: time(300 * n),
        url: `https://example.com/offer/${n}`,
        users,
        totals,
      });
    }
  }

  #put(push) {
    this.pushes.push(push);
  }

  async #answer(request, response) {
    const url = new URL(request.url, this.url);
    let answer = url.pathname.startsWith('/api/')
      ? await this.#api(request, url)
      : await this.#file(url.pathname);
    if (answer.held) return this.#hold(request, response, answer.held);
    if (!Buffer.isBuffer(answer.body))
      answer = { type: 'application/json', ...answer, body: Buffer.from(JSON.stringify(answer.body)) };
    this.asked.push({ method: request.method, url: request.url, bytes: answer.body.length });
    response.writeHead(answer.status ?? 200, { 'content-type': answer.type, 'content-security-policy': CSP });
    response.end(answer.body);
  }

  #hold(request, response, user) {
    const look = { response, asked: { method: request.method, url: request.url, bytes: 0 } };
    this.asked.push(look.asked);
    this.looks.set(user, (this.looks.get(user) ?? new Set()).add(look));
    response.on('close', () => this.looks.get(user).delete(look));
    response.writeHead(200, { 'content-type': 'application/x-ndjson', 'content-security-policy': CSP });
    this.#tell(look, { event: 'open', session: 's', cursor: '1~k3x9', heartbeat_s: 20 });
  }

  #tell(look, event) {
    const line = `${JSON.stringify(event)}\n`;
    look.asked.bytes += line.length;
    look.response.write(line);
  }

  /** Tells those who look on at a user of a message. */
  tell(user, offset, data) {
    const place = { channel: `@${user}`, offset, epoch: 'k3x9', time: time(0) };
    const event = { event: 'message', id: `live-${offset}`, ...place, type: 'message', data };
    for (const look of this.looks.get(user) ?? []) this.#tell(look, event);
  }

  async #file(pathname) {
    const file =
      pathname === '/console'
        ? path.join(WEB, 'console.html')
        : pathname === '/client.js'
          ? path.join(CLIENT, 'served.js')
          : pathname.startsWith('/client/')
            ? path.join(CLIENT, pathname)
            : path.join(WEB, pathname.replace('/assets', ''));
    try {
      return { body: await readFile(file), type: TYPES[path.extname(file)] };
    } catch {
      return refused(404, 'not_found', 'no such address');
    }
  }

  async #api(request, url) {
    if (this.failing) return this.failing;
    if (request.headers.authorization !== `Bearer ${KEY}`)
      return refused(401, 'unauthorized', 'the key is not one');
    const [, , noun, name, part] = url.pathname.split('/').map(decodeURIComponent);
    const asked = Object.fromEntries(url.searchParams);
    const limit = Number(asked.limit ?? 100);
    if (request.method === 'POST') {
      let text = '';
      for await (const chunk of request) text += chunk;
      const body = JSON.parse(text);
      if (noun === 'check-url')
        return this.checked
          ? { body: { url: body.url, ...this.checked } }
          : refused(403, 'forbidden', 'this server checks no pages');
      this.changes.push({ method: 'POST', path: url.pathname, body });
      const answer = this.#post(noun, body);
      return this.losing === url.pathname ? { status: 502, body: {} } : answer;
    }
    if (request.method === 'DELETE') {
      this.changes.push({ method: 'DELETE', path: url.pathname });
      return this.#delete(noun, name);
    }
    switch (noun) {
      case 'users':
        if (part === 'messages') return { held: name };
        return name ? this.#user(name) : this.#users(asked, limit);
      case 'sessions':
        return { body: { sessions: this.#sessions(asked.user), next: null } };
      case 'stats':
        return { body: name ? this.#history(asked.minutes) : this.#stats() };
      case 'nodes':
        return { body: { nodes: [this.#node(1), this.#node(2)], silent: [] } };
      case 'channels':
        return name ? this.#channel(name, part, asked, limit) : this.#channels(asked, limit);
      case 'pushes':
        return { body: this.#page(this.pushes.map(listed), asked.after, limit, 'pushes', ({ id }) => id) };
      case 'push':
        return this.#push(name, asked, limit);
      default:
        return refused(404, 'not_found', 'no such address');
    }
  }

  #page(all, after, limit, member, key) {
    const from = after ? all.findIndex((one) => key(one) === after) + 1 : 0;
    const page = all.slice(from, from + limit);
    return { [member]: page, next: from + limit < all.length ? key(page.at(-1)) : null };
  }

  #users({ q = '', online, after, count }, limit) {
    const all = this.users.filter((user) => user.id.includes(q) && (online === undefined || user.online));
    const total = count ? { total: all.length } : {};
    return { body: { ...this.#page(all, after, limit, 'users', ({ id }) => id), ...total } };
  }

  #user(name) {
    const user = this.users.find(({ id }) => id === name);
    return user ? { body: user } : refused(404, 'user_unknown', 'there is no such user');
  }

  #sessions(name) {
    const { sessions = 0 } = this.users.find(({ id }) => id === name) ?? {};
    return Array.from({ length: sessions }, (_, n) => ({
      session: `3q2-7wABCDEFGHIJKLMNO${n}`,
      user: name,
      transport: ['ws', 'sse', 'poll'][n % 3],
      node: 'push-1',
      since: time(3600 * (n + 1)),
      lag: n,
      channels: [`@${name}`, 'news', 'room-001'],
      connected: n !== 2,
    }));
  }

  #totals(n) {
    return {
      pushes: 40 * n,
      publishes: 10 * n,
      deliveries: 2400 * n,
      opened: n,
      gaps: 0,
      rate_limited: 0,
      refused_credentials: n,
      errors: n % 7 === 0 ? 3 : 0,
    };
  }

  #stats() {
    const minute = {
      seconds: 60,
      rates: { pushes: 12.5, publishes: 3.25, deliveries: 1840.6, opened: 4.1, errors: 0.02 },
      latency_ms: { p50: 1, p90: 2, p99: 4 },
    };
    return {
      nodes: 2,
      silent: 0,
      connections: 20_412,
      sessions: 20_731,
      users: USERS / ONLINE_EVERY,
      lag: 37,
      totals: this.#totals(1000),
      minute,
      hour: minute,
    };
  }

  #history(minutes = '60') {
    const count = minutes === '60' ? 60 : 96;
    const step_s = minutes === '60' ? 60 : 900;
    const points = Array.from({ length: count }, (_, n) => ({
      time: time(step_s * (count - n)),
      connections: 18_000 + Math.round(2400 * Math.sin(n / 9)),
      sessions: 18_200,
      users: 17_000 + Math.round(2200 * Math.sin(n / 9)),
      lag: 0,
      totals: this.#totals(40 + Math.round(12 * Math.sin(n / 4))),
      latency_ms: n % 20 === 3 ? null : { p50: 1, p90: 2, p99: 4 + (n % 5) },
    }));
    return { step_s, points };
  }

  #node(n) {
    return {
      node: `push-${n}`,
      id: `00f1e2d3c4b5a69${n}`,
      version: '0.1.0',
      engine: 'redis',
      started: time(86_400 * n),
      uptime_s: 86_400 * n,
      addresses: [`http://10.0.0.${n}:8080`],
      connections: 10_206,
      sessions: 10_365,
      users: 10_000,
      lag: 18,
      totals: this.#totals(500),
      rates: { pushes: 6.2, publishes: 1.6, deliveries: 920.3, opened: 2, errors: 0.01 },
      latency_ms: { p50: 1, p90: 2, p99: 4 },
    };
  }

  #channels({ q = '', after, count }, limit) {
    const all = [...this.channels]
      .filter(([name]) => name.includes(q))
      .map(([channel, messages]) => ({
        channel,
        epoch: 'k3x9',
        tail: 1,
        head: messages.length,
        subscribers: 3 * messages.length,
      }));
    const total = count ? { total: all.length } : {};
    return { body: { ...this.#page(all, after, limit, 'channels', ({ channel }) => channel), ...total } };
  }

  #channel(name, part, asked, limit) {
    const own = name.startsWith('@')
      ? [
          {
            id: 'push-0',
            channel: name,
            offset: 1,
            epoch: 'k3x9',
            time: time(60),
            type: 'page',
            url: 'https://example.com/offer/0',
          },
        ]
      : [];
    const messages = this.channels.get(name) ?? own;
    if (part === 'presence') {
      const users = messages.length
        ? this.users.slice(0, limit).map(({ id }) => ({ user: id, sessions: 1 }))
        : [];
      return { body: { users, next: users.at(-1)?.user ?? null } };
    }
    const end = asked.before === 'latest' ? messages.length : Number(asked.before.split('~')[1]);
    const from = Math.max(0, end - limit);
    return {
      body: {
        messages: messages.slice(from, end),
        gaps: [],
        cursor: `1~${end}`,
        previous: from ? `1~${from}` : null,
      },
    };
  }

  #push(id, { after, state }, limit) {
    const push = this.pushes.find((one) => one.id === id);
    if (!push) return refused(404, 'push_unknown', 'there is no such push');
    const states = Object.entries(push.totals).flatMap(([state, n]) => Array(n).fill(state));
    const receipts = states.map((state, n) => ({
      user: push.to?.[n] ?? this.users[n].id,
      state,
      time: push.time,
    }));
    const wanted = receipts.filter((receipt) => !state || receipt.state === state);
    const page = this.#page(wanted, after, limit, 'receipts', ({ user }) => user);
    return { body: { id, totals: push.totals, ...page } };
  }

  #post(noun, body) {
    if (noun === 'close') {
      const user = this.users.find(({ id }) => id === body.user);
      const closed = user?.sessions ?? 1;
      if (user) Object.assign(user, { online: false, sessions: 0 });
      return { body: { closed } };
    }
    if (noun === 'publish') {
      const messages = this.channels.get(body.channel) ?? [];
      const known = messages.find(({ key }) => key !== undefined && key === body.id);
      const accepted = (/** @type {number} */ offset) => ({
        status: 202,
        body: { id: 'x', offset, epoch: 'k3x9', mode: 'redis' },
      });
      if (known) return accepted(known.offset);
      messages.push({
        key: body.id,
        id: `${body.channel}-${messages.length + 1}`,
        channel: body.channel,
        offset: messages.length + 1,
        epoch: 'k3x9',
        time: time(0),
        type: 'message',
        data: body.data,
      });
      this.channels.set(body.channel, messages);
      return accepted(messages.length);
    }
    const known = this.pushes.find((push) => push.key === body.id);
    const all = () => this.users.filter((user) => body.to === 'all' || user.online).map(({ id }) => id);
    const to = Array.isArray(body.to) ? body.to : all();
    if (!known) {
      for (const user of to) this.reached.add(user);
      const totals = { queued: to.length, delivered: 0, shown: 0, expired: 0, cancelled: 0 };
      this.pushes.unshift({
        id: `push-of-${body.id}`,
        key: body.id,
        time: new Date().toISOString(),
        url: body.url,
        data: body.data,
        to,
        users: to.length,
        totals,
      });
    }
    const offline = to.slice(0, 10_000);
    return {
      status: 202,
      body: {
        id: `push-of-${body.id}`,
        mode: 'redis',
        accepted: to.length,
        online: [],
        offline,
        truncated: to.length > 10_000 || undefined,
      },
    };
  }

  #delete(noun, name) {
    if (noun !== 'push') return { body: { deleted: true } };
    const { totals } = this.pushes.find((one) => one.id === name);
    const cancelled = totals.queued;
    Object.assign(totals, { queued: 0, cancelled: totals.cancelled + cancelled });
    return { body: { cancelled } };
  }
}

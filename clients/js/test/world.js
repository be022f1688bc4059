/**
 * A world for the client: time that only moves when told to, a network that answers as the test says, and a
 * page around it. Nothing here sleeps.
 */
// Loaded before, so that no test waits for a file.
import '../client/iframe.js';
import { Encke } from '../encke.js';

/** Lets everything that is ready to run do so, without letting time pass. */
export async function settle() {
  for (let i = 0; i < 8; i++) await new Promise((resolve) => setImmediate(resolve));
}

class Clock {
  now = 1_000_000;
  #timers = new Map();
  #next = 1;
  setTimeout = (fn, ms) => {
    this.#timers.set(this.#next, { at: this.now + ms, fn });
    return this.#next++;
  };
  clearTimeout = (id) => void this.#timers.delete(id);
  get pending() {
    return this.#timers.size;
  }
  async pass(ms) {
    const until = this.now + ms;
    await settle();
    for (;;) {
      const due = [...this.#timers]
        .filter(([, timer]) => timer.at <= until)
        .sort((a, b) => a[1].at - b[1].at)[0];
      if (!due) break;
      this.#timers.delete(due[0]);
      this.now = Math.max(this.now, due[1].at);
      due[1].fn();
      await settle();
    }
    this.now = until;
  }
}

/** The query, without the form of messages, which is asked for each time. @param {URL} url */
function queryOf(url) {
  const { form: _, ...query } = Object.fromEntries(url.searchParams);
  return query;
}

class Request {
  constructor(url, init, resolve, reject) {
    const parsed = new URL(url, 'http://server');
    this.url = url;
    this.path = parsed.pathname;
    this.query = queryOf(parsed);
    this.form = parsed.searchParams.get('form');
    this.method = init.method;
    this.headers = init.headers;
    this.credentials = init.credentials;
    this.body = init.body === undefined ? undefined : JSON.parse(init.body);
    this.signal = init.signal;
    this.resolve = resolve;
    this.reject = reject;
    this.answered = false;
    init.signal.addEventListener('abort', () => {
      reject(init.signal.reason);
      try {
        this.stream?.error(init.signal.reason);
      } catch {
        // It had ended already.
      }
    });
  }

  get aborted() {
    return this.signal.aborted;
  }

  json(body, status = 200, headers = {}) {
    this.answered = true;
    this.resolve(
      new Response(JSON.stringify(body), {
        status,
        headers: { 'content-type': 'application/json', ...headers },
      }),
    );
    return settle();
  }

  fail(status, code, headers) {
    return this.json({ error: { code, message: code } }, status, headers);
  }

  lose() {
    this.answered = true;
    this.reject(new TypeError('fetch failed'));
    return settle();
  }

  /** Answers with an event stream that stays open. */
  sse({ type = 'text/event-stream' } = {}) {
    this.answered = true;
    const body = new ReadableStream({
      start: (controller) => {
        this.stream = controller;
      },
      cancel: () => {
        this.cancelled = true;
      },
    });
    this.resolve(new Response(body, { status: 200, headers: { 'content-type': type } }));
    return settle();
  }

  write(text) {
    this.stream.enqueue(new TextEncoder().encode(text));
    return settle();
  }

  event(event, id) {
    const name = event.event === 'message' ? '' : `event: ${event.event}\n`;
    return this.write(`${name}${id ? `id: ${id}\n` : ''}data: ${JSON.stringify(event)}\n\n`);
  }

  async open(session = 's1', cursor = '1~e~@alice~0', heartbeat_s = 20) {
    await this.sse();
    await this.event({ event: 'open', session, cursor, heartbeat_s, close_key: 'key-' + session }, cursor);
    return this;
  }

  end() {
    this.stream.close();
    return settle();
  }
}

/** A WebSocket whose other end is the test. */
class Socket {
  readyState = 0;
  said = [];
  constructor(url) {
    this.url = url;
    this.path = new URL(url).pathname;
    this.query = queryOf(new URL(url));
  }
  send(text) {
    if (this.readyState !== 1) throw new Error('it is not open');
    this.said.push(JSON.parse(text));
  }
  close() {
    this.closed = true;
    this.readyState = 3;
  }
  async open(session = 's1', cursor = '1~e~@alice~0', heartbeat_s = 20) {
    this.readyState = 1;
    await this.event({ event: 'open', session, cursor, heartbeat_s, close_key: 'key-' + session });
    return this;
  }
  event(event) {
    this.onmessage?.({ data: JSON.stringify(event) });
    return settle();
  }
  /** The connection is gone, or never was. */
  lose(code = 1006) {
    this.readyState = 3;
    this.onclose?.({ code });
    return settle();
  }
}

/** A frame whose document is the test. */
class Frame extends EventTarget {
  attributes = {};
  contentWindow = {};
  setAttribute(name, value) {
    this.attributes[name] = value;
  }
  remove() {
    this.contentWindow = null;
    this.removed = true;
  }
  get path() {
    return new URL(this.attributes.src).pathname;
  }
  get query() {
    return queryOf(new URL(this.attributes.src));
  }
}

class Page extends EventTarget {
  frames = [];
  location = { href: 'http://page/here', origin: 'http://page' };
  document = Object.assign(new EventTarget(), {
    visibilityState: 'visible',
    readyState: 'complete',
    createElement: () => new Frame(),
    body: { append: (frame) => this.frames.push(frame) },
  });
  beacons = [];
  navigator = {
    sendBeacon: (url, body) => {
      this.beacons.push({ url, body });
      return true;
    },
  };
  /** A message from a frame, or from whatever else. */
  post(data, { from = this.frames.at(-1), origin = 'http://server', source = from.contentWindow } = {}) {
    return this.fire('message', { data, origin, source });
  }
  fire(type, members = {}) {
    this.dispatchEvent(Object.assign(new Event(type), members));
    return settle();
  }
  show(visibilityState) {
    this.document.visibilityState = visibilityState;
    this.document.dispatchEvent(new Event('visibilitychange'));
    return settle();
  }
}

export function world(options = {}, env = {}) {
  const clock = new Clock();
  const page = new Page();
  const requests = [];
  const sockets = [];
  const fetch = (url, init) => new Promise((resolve, reject) => {
    if (init.signal.aborted) return reject(init.signal.reason);
    requests.push(new Request(url, init, resolve, reject));
  });
  const client = new Encke({
    transport: ['sse', 'poll'],
    ...options,
    env: {
      fetch,
      WebSocket: class extends Socket {
        constructor(url) {
          super(url);
          sockets.push(this);
        }
      },
      setTimeout: clock.setTimeout,
      clearTimeout: clock.clearTimeout,
      now: () => clock.now,
      random: () => 0.5,
      window: page,
      ...env,
    },
  });
  const told = [];
  for (const type of ['message', 'page', 'gap', 'unsubscribed', 'state', 'open', 'close', 'error'])
    client.on(type, (value) => told.push([type, value]));
  let taken = 0;
  return {
    client, clock, page, requests, sockets, told,
    of: (type) => told.filter((entry) => entry[0] === type).map((entry) => entry[1]),
    /** The next request that the test has not looked at yet; there has to be one. */
    next: (path) => {
      const request = requests[taken++];
      if (!request) throw new Error(`no request was made, ${path} was expected`);
      if (path && request.path !== path)
        throw new Error(`${request.path} was requested, ${path} was expected`);
      return request;
    },
    /** Answers the request for a ticket, which has to be the next. */
    async ticket(ticket = 'T') {
      const request = this.next('/v1/ticket');
      await request.json({ ticket, expires: '2024-01-01T00:00:30Z' });
      return request;
    },
    get quiet() {
      return taken === requests.length;
    },
  };
}

/** What the tabs of one browser have in common: time, locks, and the channels between them. */
export class Browser {
  #clock = new Clock();
  /** Who holds each lock, and who waits for it. @type {Map<string, Array<() => Promise<void>>>} */
  #locks = new Map();
  /** @type {Set<{name: string, onmessage?: Function}>} */
  #channels = new Set();

  /** A tab with a client, of the same user as the others. */
  tab(options = {}) {
    const { setTimeout, clearTimeout } = this.#clock;
    const page = Object.assign(new Page(), { setTimeout, clearTimeout, BroadcastChannel: this.#channel() });
    page.navigator.locks = { request: (...asked) => this.#request(...asked) };
    const env = { window: page, setTimeout, clearTimeout, now: () => this.#clock.now };
    return Object.assign(world({ token: token('alice'), ...options }, env), { clock: this.#clock, page });
  }

  #channel() {
    const channels = this.#channels;
    return class {
      constructor(name) {
        this.name = name;
        channels.add(this);
      }
      postMessage(words) {
        for (const other of channels) {
          if (other === this || other.name !== this.name) continue;
          const data = structuredClone(words);
          queueMicrotask(() => channels.has(other) && other.onmessage({ data }));
        }
      }
      close() {
        channels.delete(this);
      }
    };
  }

  #request(name, { signal }, hold) {
    if (!this.#locks.has(name)) this.#locks.set(name, []);
    const queue = this.#locks.get(name);
    return new Promise((resolve, reject) => {
      let held = false;
      const next = async () => {
        held = true;
        resolve(await hold());
        queue.shift();
        queue[0]?.();
      };
      signal.addEventListener('abort', () => {
        if (held) return;
        queue.splice(queue.indexOf(next), 1);
        reject(signal.reason);
      });
      if (queue.push(next) === 1) queueMicrotask(() => queue[0] === next && next());
    });
  }
}

export const message = (offset, more = {}) => ({
  event: 'message',
  id: 'm' + offset,
  channel: '@alice',
  offset,
  epoch: 'e',
  time: '2024-01-01T00:00:00Z',
  type: 'message',
  data: offset,
  ...more,
});

/** A token that only says who it is. */
export const token = (user) => 'x.' + Buffer.from(JSON.stringify({ sub: user })).toString('base64url') + '.y';

/** An event without its name. */
export const bare = (event) => {
  const { event: _, ...rest } = event;
  return rest;
};

/** A client whose stream is open. */
export async function opened(options = {}) {
  const w = world({ token: token('alice'), ...options });
  w.client.connect();
  await settle();
  w.stream = await w.next('/v1/sse').open();
  return w;
}

/** A client whose first poll is answered. */
export async function polling(options = {}) {
  const w = world({ token: token('alice'), transport: 'poll', ...options });
  w.client.connect();
  await settle();
  const answer = { session: 's1', cursor: '1~e~@alice~0', messages: [], gaps: [], close: null };
  await w.next('/v1/poll').json({ ...answer, close_key: 'key-s1' });
  return w;
}

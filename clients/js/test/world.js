/**
 * A world for the client: time that only moves when told to, a network that answers as the test says, and a page around it. Nothing here sleeps.
 */
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
      const due = [...this.#timers].filter(([, timer]) => timer.at <= until).sort((a, b) => a[1].at - b[1].at)[0];
      if (!due) break;
      this.#timers.delete(due[0]);
      this.now = Math.max(this.now, due[1].at);
      due[1].fn();
      await settle();
    }
    this.now = until;
  }
}

class Request {
  constructor(url, init, resolve, reject) {
    const parsed = new URL(url, 'http://server');
    this.url = url;
    this.path = parsed.pathname;
    this.query = Object.fromEntries(parsed.searchParams);
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
    this.resolve(new Response(JSON.stringify(body), { status, headers: { 'content-type': 'application/json', ...headers } }));
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
    await this.event({ event: 'open', session, cursor, heartbeat_s }, cursor);
    return this;
  }

  end() {
    this.stream.close();
    return settle();
  }
}

class Page extends EventTarget {
  document = Object.assign(new EventTarget(), { visibilityState: 'visible' });
  beacons = [];
  navigator = {
    sendBeacon: (url, body) => {
      this.beacons.push({ url, body });
      return true;
    },
  };
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

export function world(options = {}) {
  const clock = new Clock();
  const page = new Page();
  const requests = [];
  const fetch = (url, init) => new Promise((resolve, reject) => {
    if (init.signal.aborted) return reject(init.signal.reason);
    requests.push(new Request(url, init, resolve, reject));
  });
  const client = new Encke({
    ...options,
    env: { fetch, setTimeout: clock.setTimeout, clearTimeout: clock.clearTimeout, now: () => clock.now, random: () => 0.5, window: page },
  });
  const told = [];
  for (const type of ['message', 'page', 'gap', 'state', 'open', 'close', 'error']) client.on(type, (value) => told.push([type, value]));
  let taken = 0;
  return {
    client, clock, page, requests, told,
    of: (type) => told.filter((entry) => entry[0] === type).map((entry) => entry[1]),
    /** The next request that the test has not looked at yet; there has to be one. */
    next: (path) => {
      const request = requests[taken++];
      if (!request) throw new Error(`no request was made, ${path} was expected`);
      if (path && request.path !== path) throw new Error(`${request.path} was requested, ${path} was expected`);
      return request;
    },
    get quiet() {
      return taken === requests.length;
    },
  };
}

export const message = (offset, more = {}) => ({
  event: 'message', id: 'm' + offset, channel: '@alice', offset, epoch: 'e', time: '2024-01-01T00:00:00Z', type: 'message', data: offset, ...more,
});

/** A token that only says who it is. */
export const token = (user) => 'x.' + Buffer.from(JSON.stringify({ sub: user })).toString('base64url') + '.y';

// HTTP to one server: a request and its answer, and a request whose lines are answered one by one. Knows
// nothing of what is said.
import http from 'node:http';
import https from 'node:https';

import { ApiError, TransportError } from './errors.js';

/** The server lets a connection rest for 75 s, and proxies for as long or less. */
const IDLE_MAX_MS = 30_000;
const IDLE_MAX = 10;
const AGENT = 'encke-node/0.1.0';

export class Connection {
  #url;
  #http;
  #agent;
  #headers;
  #timeoutMs;

  constructor(url, apiKey, { timeoutMs, tls = {} }) {
    this.#url = new URL(url);
    if (!['http:', 'https:'].includes(this.#url.protocol))
      throw new TypeError(`${url} is no http or https address`);
    this.#http = this.#url.protocol === 'https:' ? https : http;
    this.#agent = new this.#http.Agent({
      keepAlive: true,
      maxFreeSockets: IDLE_MAX,
      timeout: IDLE_MAX_MS,
      ...tls,
    });
    this.#headers = { authorization: `Bearer ${apiKey}`, 'user-agent': AGENT };
    this.#timeoutMs = timeoutMs;
  }

  /** The JSON of the answer. */
  async ask(method, path, body, signal) {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const headers = text === undefined ? {} : json(text);
    const late = AbortSignal.timeout(this.#timeoutMs);
    const ends = signal ? AbortSignal.any([signal, late]) : late;
    try {
      const answer = await begun(this.#request(method, path, headers, ends), text);
      return decode(answer, await whole(answer));
    } catch (error) {
      throw this.#said(error, signal);
    }
  }

  /**
   * Sends lines, at most `window` of them without an answer, and gives the JSON of each answer as it comes.
   * The lines are taken as they are sent, whether or not answers are.
   */
  async *lines(path, lines, window, signal) {
    const ended = new AbortController();
    const ends = signal ? AbortSignal.any([signal, ended.signal]) : ended.signal;
    const asked = this.#request('POST', path, { 'content-type': 'application/x-ndjson' }, ends);
    const sender = new Sender(asked, window, this.#timeoutMs);
    try {
      const answering = begun(asked);
      answering.catch(() => {});
      sender.send(lines).catch((error) => asked.destroy(error));
      const answer = await answering;
      if (answer.statusCode >= 300) decode(answer, await whole(answer));
      for await (const line of linesOf(answer)) {
        sender.answered();
        yield decode(answer, line);
        sender.goesOn();
      }
      if (sender.underWay > 0) throw new Error('the stream broke off');
    } catch (error) {
      throw sender.failure ?? this.#said(sender.lateness ?? error, signal);
    } finally {
      sender.stop();
      ended.abort();
    }
  }

  /** Ends the connections that rest. */
  shut() {
    this.#agent.destroy();
  }

  #request(method, path, headers, signal) {
    const { hostname, port, pathname } = this.#url;
    return this.#http.request({
      agent: this.#agent,
      method,
      // Brackets are for addresses of IPv6 in URLs alone.
      hostname: hostname.replace(/^\[(.*)\]$/, '$1'),
      port,
      path: pathname.replace(/\/$/, '') + path,
      headers: { ...this.#headers, ...headers },
      signal,
    });
  }

  /** What an error of a connection is for the caller. */
  #said(error, signal) {
    if (signal?.aborted) return signal.reason;
    if (error instanceof ApiError) return error;
    const isLate = error.name === 'AbortError' || error.name === 'TimeoutError';
    const what = isLate ? `not within ${this.#timeoutMs} ms` : error.message;
    return new TransportError(`no answer from ${this.#url.host}: ${what}`, error);
  }
}

/** What sends the lines of a stream, and knows how many wait for their answer. */
class Sender {
  underWay = 0;
  /** What the source of lines failed with. */
  failure;
  /** Why the sender itself broke the stream off. */
  lateness;
  #asked;
  #window;
  #timeoutMs;
  #late;
  #goOn = () => {};
  /** No further line comes. */
  #hasEnded = false;
  /** The caller has an answer, and takes the next when it is done with it. */
  #isWithCaller = false;
  #isOver = false;

  constructor(asked, window, timeoutMs) {
    this.#asked = asked;
    this.#window = Math.max(window, 1);
    this.#timeoutMs = timeoutMs;
  }

  async send(lines) {
    try {
      for await (const line of lines) {
        while (this.underWay >= this.#window && !this.#isOver)
          await new Promise((resolve) => (this.#goOn = resolve));
        if (this.#isOver) return;
        this.underWay += 1;
        this.#watch();
        this.#asked.write(`${line}\n`);
      }
    } catch (error) {
      this.failure = error;
      throw error;
    }
    this.#hasEnded = true;
    this.#asked.end();
    this.#watch();
  }

  answered() {
    this.underWay -= 1;
    this.#isWithCaller = true;
    clearTimeout(this.#late);
    this.#late = undefined;
    this.#goOn();
  }

  goesOn() {
    this.#isWithCaller = false;
    this.#watch();
  }

  stop() {
    this.#isOver = true;
    clearTimeout(this.#late);
    this.#goOn();
  }

  /** An answer, or its end, is late only if a line waits for it, or no further line comes. */
  #watch() {
    if (this.#isWithCaller || (this.underWay === 0 && !this.#hasEnded)) return;
    this.#late ??= setTimeout(() => {
      this.lateness = new Error(`not within ${this.#timeoutMs} ms`);
      this.#asked.destroy(this.lateness);
    }, this.#timeoutMs);
  }
}

const json = (text) => ({ 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });

/** The head of the answer; a text is all that is sent. */
function begun(asked, text) {
  return new Promise((resolve, reject) => {
    // Also behind the head of the answer, which then fails as well.
    asked.on('error', reject).once('response', resolve);
    if (text !== undefined) asked.end(text);
    else if (asked.getHeader('content-type') === undefined) asked.end();
    else asked.flushHeaders();
  });
}

async function whole(answer) {
  const chunks = [];
  for await (const chunk of answer) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

/** Whole lines alone: what a connection that was cut off has left over is none. */
async function* linesOf(answer) {
  let rest = '';
  answer.setEncoding('utf8');
  for await (const text of answer) {
    const lines = (rest + text).split('\n');
    rest = lines.pop();
    yield* lines;
  }
}

function decode(answer, text) {
  if (answer.statusCode < 300) {
    try {
      return JSON.parse(text);
    } catch {
      // It is told below.
    }
  }
  throw ApiError.of(answer.statusCode, answer.headers['retry-after'], text);
}

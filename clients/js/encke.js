/**
 * The browser client of Encke: ES modules, no dependency, no build step. This one is all that a page imports;
 * the others lie beside it in `client/`.
 *
 * It holds a data connection (SSE read by `fetch`, long polls, a WebSocket, or a forever frame), remembers
 * how far it has come in every channel, comes back by itself when the connection is lost, and stays away when
 * the session was ended on purpose. It never evaluates, writes HTML or navigates.
 */
import { Beacon } from './client/beacon.js';
import { formatCursor, parseCursor } from './client/cursor.js';
import { EnckeError } from './client/error.js';
import { Link, parseJson } from './client/link.js';
import { Listeners } from './client/listeners.js';
import { safeUrl } from './client/pages.js';
import { RETRY_MAX_MS, laterMs, pauseMs, retryAfterMs } from './client/pauses.js';
import { receive as receiveFrame } from './client/iframe.js';
import { look as lookOnce, receive as receivePolls } from './client/poll.js';
import { receive as receiveEvents } from './client/sse.js';
import { SseParser } from './client/sse-parser.js';
import './client/ticket.js';
import { receive as receiveSocket } from './client/ws.js';

// All modules are named here, so that a browser asks for them at the same time.
export { EnckeError, SseParser, formatCursor, parseCursor, pauseMs, safeUrl };
export { showPage } from './client/pages.js';

const CONTROL_WITHIN_MS = 10000;
const CONTROL_TRIES = 6;
/**
 * A close is asked for less often: a page that leaves should not wait, and the server frees a silent session
 * by itself.
 */
const CLOSE_TRIES = 3;
/**
 * A connection that held this long was a good one: what happens after it is a new story, not the next failure
 * in a row.
 */
const STABLE_MS = 5000;
const SAVE_EVERY_MS = 1000;

/**
 * Other statuses of the 4xx say that this very request will never succeed; these say that this transport may
 * not be there.
 */
const TRANSPORT_MISSING = [404, 405, 406, 415, 501];

/** The transports there are, by name. @type {Record<string, (link: Link) => Promise<Ending>>} */
const TRANSPORTS = { sse: receiveEvents, poll: receivePolls, ws: receiveSocket, iframe: receiveFrame };
const DEFAULT = ['sse', 'poll'];
/**
 * What `auto` stands for. The forever frame is not among them: what lets a frame through lets polls through,
 * and they need no frame.
 */
const AUTO = ['ws', 'sse', 'poll'];
/** Of these, a browser does not tell why they were refused. */
const BLIND = ['ws', 'iframe'];

/** @typedef {import('./client/link.js').Ending} Ending */

export class Encke {
  #options;
  #base;
  #env;
  #listeners = new Listeners();
  #state = 'idle';
  /** @type {string | null} */
  #session = null;
  #beacon = new Beacon();
  /** @type {string | null} */
  #token;
  #tokenTried = false;
  /** @type {Promise<boolean> | null} */
  #tokenComing = null;
  /** @type {Map<string, import('./client/cursor.js').Position>} */
  #positions = new Map();
  /** @type {string | undefined} */
  #epoch;
  /**
   * A cursor that is handed back as it is: `earliest`, or one of a version that this client can not read.
   * @type {string | null}
   */
  #opaque = null;
  /** @type {Set<string>} */
  #wanted;
  /**
   * Channels that were unsubscribed. What is still under way from them must not bring them back into the
   * cursor.
   * @type {Set<string>}
   */
  #unwanted = new Set();
  /** @type {string[]} */
  #transports;
  #transport = 0;
  /** The current life of the data connection, over all its attempts. @type {{stopped: boolean} | null} */
  #run = null;
  /** The current data connection. @type {Link | null} */
  #link = null;
  /** Ends the current pause. @type {(() => void) | null} */
  #wakeUp = null;
  /** @type {Promise<boolean> | null} */
  #closing = null;
  #hidden = false;
  /** How many connections in a row opened and then brought nothing, not even a heartbeat. */
  #mute = 0;
  /** The channels that the current connection was asked for. @type {Set<string>} */
  #asked = new Set();
  /** @type {any} */
  #saveTimer = null;
  /** @type {(() => void) | null} */
  #unlisten = null;

  /** @param {import('./encke.d.ts').EnckeOptions} [options] */
  constructor(options = {}) {
    this.#options = options;
    this.#base = (options.url ?? '').replace(/\/+$/, '');
    const given = /** @type {any} */ (options).env ?? {};
    // Time, chance and the network come from outside, so that tests need neither sleep nor luck.
    this.#env = {
      fetch:
        given.fetch ?? ((/** @type {any} */ url, /** @type {any} */ init) => globalThis.fetch(url, init)),
      setTimeout:
        given.setTimeout ??
        ((/** @type {any} */ fn, /** @type {number} */ ms) => globalThis.setTimeout(fn, ms)),
      clearTimeout: given.clearTimeout ?? ((/** @type {any} */ timer) => globalThis.clearTimeout(timer)),
      now: given.now ?? (() => Date.now()),
      random: given.random ?? Math.random,
      WebSocket: 'WebSocket' in given ? given.WebSocket : globalThis.WebSocket,
      window: 'window' in given ? given.window : globalThis.window,
    };
    this.#token = options.token ?? null;
    this.#wanted = new Set(options.channels ?? []);
    const transport = options.transport === 'auto' ? AUTO : options.transport ?? DEFAULT;
    this.#transports = typeof transport === 'string' ? [transport] : [...transport];
    for (const name of this.#transports) {
      if (!Object.hasOwn(TRANSPORTS, name)) throw new TypeError('unknown transport: ' + name);
    }
    if (this.#transports.length === 0) throw new TypeError('no transport');
    const cursor = options.cursor ?? this.#load();
    if (cursor) this.#adopt(cursor);
  }

  /** @returns {'idle' | 'connecting' | 'open' | 'waiting' | 'closed'} */
  get state() {
    return /** @type {any} */ (this.#state);
  }

  /** @returns {string | null} */
  get session() {
    return this.#session;
  }

  /** Where to go on, in all channels: good for a later `cursor` option. @returns {string | null} */
  get cursor() {
    return this.#opaque ?? formatCursor(this.#positions, this.#epoch);
  }

  /** The transport in use or tried next. @returns {string} */
  get transport() {
    return this.#transports[this.#transport];
  }

  /** The channels asked for, without the user's own. @returns {string[]} */
  get channels() {
    return [...this.#wanted];
  }

  /**
   * The user as far as the token or the cursor tells. It is not verified here, and is only good for showing.
   * @returns {string | null}
   */
  get user() {
    const subject = subjectOf(this.#token) ?? this.#options.user;
    if (subject) return subject;
    for (const name of this.#positions.keys()) if (name.startsWith('@')) return name.slice(1);
    return null;
  }

  /**
   * @param {string} type
   * @param {Function} listener
   * @returns {() => void} takes the listener away again.
   */
  on(type, listener) {
    return this.#listeners.add(type, listener);
  }

  /** Connects, and stays connected until `close()`, or until the server ends the session for good. */
  connect() {
    if (this.#closing) {
      this.#closing.then(() => this.connect());
    } else if (this.#state === 'idle' || this.#state === 'closed') {
      this.#start();
    }
  }

  /**
   * Comes back on purpose: after a close, or to replace a connection at once. The preferred transport gets
   * another chance.
   */
  reconnect() {
    if (this.#closing) {
      this.#closing.then(() => this.reconnect());
      return;
    }
    if (this.#state === 'closed') this.#session = null;
    this.#stop();
    this.#transport = 0;
    this.#start();
  }

  /**
   * Ends the session on purpose. The request goes over a connection of its own, so it does not wait for the
   * held one. There is no coming back after it but `connect()` or `reconnect()`.
   * @param {string} [reason]
   * @returns {Promise<boolean>} true when the server says that everything of the session is freed; false when
   * there was no session or no answer.
   */
  close(reason) {
    this.#closing ??= this.#closeOnPurpose(reason).finally(() => {
      this.#closing = null;
    });
    return this.#closing;
  }

  /** @param {string[]} channels @returns {Promise<string[]>} all channels that the session now has. */
  async subscribe(channels) {
    const added = channels.filter((channel) => !this.#wanted.has(channel));
    const before = added.filter((channel) => this.#unwanted.has(channel));
    for (const channel of added) {
      this.#wanted.add(channel);
      this.#unwanted.delete(channel);
    }
    try {
      return await this.#changeChannels('/v1/subscribe', channels);
    } catch (error) {
      // A channel that the server refuses must not be asked for again by every reconnect. One that was
      // wanted before is not given up because another was refused.
      if (!(error instanceof EnckeError && error.transient)) {
        for (const channel of added) this.#wanted.delete(channel);
        for (const channel of before) this.#unwanted.add(channel);
      }
      throw error;
    }
  }

  /** @param {string[]} channels @returns {Promise<string[]>} all channels that the session now has. */
  async unsubscribe(channels) {
    for (const channel of channels) {
      this.#wanted.delete(channel);
      this.#unwanted.add(channel);
      this.#positions.delete(channel);
    }
    return this.#changeChannels('/v1/unsubscribe', channels);
  }

  /**
   * Publishes to a channel. An attempt whose outcome is not known is repeated under the same idempotency key,
   * so it is published once.
   * @param {string} channel
   * @param {unknown} data
   * @param {{id?: string}} [options]
   * @returns {Promise<{id: string, offset: number, epoch: string, mode: string}>}
   */
  publish(channel, data, options = {}) {
    const body = { channel, data, id: options.id ?? randomId() };
    return this.#control('/v1/publish', () => body);
  }

  /** Tells the server that everything handed over so far was shown to the person. @returns {Promise<void>} */
  ack() {
    return this.#acknowledge(this.cursor);
  }

  /**
   * Tells the server that this message, and what came before it, was shown to the person. Only messages of
   * the user's own channel have receipts; for others there is nothing to tell.
   * @param {{channel?: string, offset?: number, epoch?: string}} message
   * @returns {Promise<void>}
   */
  shown(message) {
    const { channel, offset, epoch } = message;
    if (!channel?.startsWith('@') || offset === undefined || epoch === undefined) return Promise.resolve();
    return this.#acknowledge(formatCursor([[channel, { epoch, offset }]]));
  }

  // -- the life of the data connection

  #start() {
    const run = { stopped: false };
    this.#run = run;
    this.#hidden = false;
    this.#tokenTried = false;
    this.#listen();
    this.#setState('connecting');
    // A listener of the state may have stopped it already.
    if (!run.stopped) void this.#keepConnected(run);
  }

  /** Ends the data connection and its coming back, without a word to the server. */
  #stop() {
    if (this.#run) this.#run.stopped = true;
    this.#run = null;
    this.#link?.end();
    this.#link = null;
    this.#wakeUp?.();
  }

  /** @param {{stopped: boolean}} run */
  async #keepConnected(run) {
    let failures = 0;
    while (!run.stopped) {
      const link = this.#makeLink(run);
      let ending = await this.#receive(link);
      if (ending.kind === 'unfit' && this.#isLast && BLIND.includes(this.transport) && !run.stopped)
        ending = (await this.#inquire(run)) ?? ending;
      if (run.stopped) return;
      if (ending.error?.status === 401) ending = await this.#renewToken(ending.error);
      if (run.stopped) return;
      if (ending.kind === 'final') return this.#finish(ending.code ?? '', ending.reason ?? '', ending.error);
      // While the session is being closed on purpose a lost connection stays lost; the answer to the close
      // ends this run.
      if (this.#closing) return;
      if (ending.error) this.#emit('error', ending.error);
      // A listener may have started another run, whose transport is not for this one to choose.
      if (run.stopped) return;
      if (link.openedAt && this.#env.now() - link.openedAt >= STABLE_MS) failures = 0;
      failures = ending.kind === 'pause' ? failures : failures + 1;
      if (ending.kind === 'unfit' && !this.#isLast) {
        this.#transport++;
        failures = Math.min(failures, 1);
      }
      const wait = Math.max(
        ending.kind === 'pause' ? 0 : pauseMs(failures, this.#env.random),
        ending.afterMs ?? 0,
      );
      this.#setState(wait > 0 ? 'waiting' : 'connecting');
      // A pause that a listener has ended before it began would stand in the way of a later one.
      if (wait > 0 && !run.stopped) await this.#sleep(wait);
      if (run.stopped || this.#closing) return;
      this.#setState('connecting');
    }
  }

  /** @param {{stopped: boolean}} run */
  #makeLink(run) {
    return new Link({
      env: this.#env,
      holdS: this.#options.holdS,
      stopped: () => run.stopped,
      path: (path, more) => this.#dataPath(path, more),
      address: (path) => new URL(this.#base + path, this.#env.window?.location?.href),
      request: (method, path, body, signal, accept) => this.#request(method, path, body, signal, accept),
      sleep: (ms) => this.#sleep(ms),
      opened: (session, cursor, key) => this.#opened(run, session, cursor, key),
      renamed: (session, key) => this.#renamed(session, key),
      message: (message) => this.#message(message),
      gap: (gap) => this.#gap(gap),
      unsubscribed: (event) => this.#unsubscribed(event),
      closed: (close) => this.#closed(close),
      adopt: (cursor) => this.#adopt(cursor),
    });
  }

  /** Whether there is no other transport to go on with. */
  get #isLast() {
    return this.#transport === this.#transports.length - 1;
  }

  /**
   * Finds out why the server refuses what a browser does not tell about: the same is asked for by a poll that
   * does not wait.
   * @param {{stopped: boolean}} run
   * @returns {Promise<Ending | null>} null when nothing but the transport is wrong.
   */
  #inquire(run) {
    return this.#receive(this.#makeLink(run), lookOnce);
  }

  /**
   * Serves one data connection until it ends.
   * @template {Ending | null} T
   * @param {Link} link
   * @param {(link: Link) => Promise<T>} [transport]
   * @returns {Promise<T | Ending>}
   */
  async #receive(link, transport = /** @type {any} */ (TRANSPORTS[this.transport])) {
    this.#link = link;
    try {
      if (!this.#token && this.#options.getToken) await this.#fetchToken();
      if (link.stopped) return { kind: 'final' };
      return await transport(link);
    } catch (thrown) {
      return this.#judge(link.signal.aborted ? link.signal.reason : thrown, link);
    } finally {
      link.end();
      if (this.#link === link) this.#link = null;
    }
  }

  /** @param {unknown} thrown @param {Link} link @returns {Ending} */
  #judge(thrown, link) {
    const error =
      thrown instanceof EnckeError
        ? thrown
        : new EnckeError('network', 'the connection was lost', { cause: thrown });
    const { code, status } = error;
    if (code === 'anew') return { kind: 'pause' };
    if (code === 'silent') {
      // Once is a network that went away; twice in a row is something that lets a beginning through and then
      // collects.
      this.#mute = link.heardAt > link.openedAt ? 0 : this.#mute + 1;
      return { kind: this.#mute < 2 ? 'lost' : 'unfit', error };
    }
    if (code === 'no_open' || code === 'not_a_stream') return { kind: 'unfit', error };
    if (status === 401) return { kind: 'final', code, reason: error.message, error };
    if (status === 410) {
      this.#session = null;
      return { kind: 'final', code, reason: error.message };
    }
    if (status === 409) {
      // Another connection took this session over. That connection keeps it; this client goes on by its
      // cursor in a session of its own, where the two can not take it from each other for ever. Nothing is
      // lost, and there is nothing to tell.
      this.#session = null;
      return { kind: 'lost', afterMs: 250 + 750 * this.#env.random() };
    }
    if (code === 'bad_cursor' && this.cursor !== null) {
      this.#forgetCursor();
      return { kind: 'lost', error };
    }
    if (TRANSPORT_MISSING.includes(status)) return { kind: 'unfit', error };
    if (status >= 400 && !error.transient) return { kind: 'final', code, reason: error.message, error };
    return { kind: 'lost', error, afterMs: laterMs(error.retryAfterMs, this.#env.random) };
  }

  /**
   * The one place where the client becomes closed.
   * @param {string} code
   * @param {string} reason
   * @param {EnckeError} [error]
   */
  #finish(code, reason, error) {
    this.#stop();
    this.#unlisten?.();
    this.#unlisten = null;
    this.#hidden = false;
    this.#session = null;
    this.#save();
    if (this.#state === 'closed') return;
    this.#setState('closed');
    if (error) this.#emit('error', error);
    this.#emit('close', { code, reason, reconnect: false });
  }

  /** @param {string | undefined} reason @returns {Promise<boolean>} */
  async #closeOnPurpose(reason) {
    const session = this.#session;
    // Without a session there is nothing to free; the request that would have made one is given up.
    if (session === null || this.#state === 'closed') {
      this.#finish('client', reason ?? '');
      return false;
    }
    try {
      const answer = await this.#control(
        '/v1/close',
        () => ({ session, ...(reason === undefined ? {} : { reason }) }),
        CLOSE_TRIES,
      );
      return answer?.closed === true;
    } catch {
      return false;
    } finally {
      this.#finish('client', reason ?? '');
    }
  }

  // -- what arrives

  /** @param {{stopped: boolean}} run @param {unknown} session @param {unknown} cursor @param {unknown} key */
  #opened(run, session, cursor, key) {
    this.#renamed(session, key);
    if (typeof cursor === 'string') this.#adopt(cursor);
    this.#tokenTried = false;
    this.#changeLate();
    this.#setState('open');
    // A listener of the state may have given this connection up.
    if (run.stopped) return;
    this.#emit('open', { session: this.#session, cursor: this.cursor, transport: this.transport });
  }

  /** @param {unknown} session @param {unknown} key */
  #renamed(session, key) {
    this.#session = this.#beacon.named(session, key) ?? this.#session;
  }

  /**
   * Tells the new connection which channels were subscribed or unsubscribed while its request was under way.
   */
  #changeLate() {
    const late = this.channels.filter((channel) => !this.#asked.has(channel));
    const left = [...this.#unwanted].filter((channel) => this.#asked.has(channel));
    // What goes wrong is told to the `error` listeners.
    if (late.length) this.subscribe(late).catch(() => {});
    if (left.length) this.unsubscribe(left).catch(() => {});
  }

  /** @param {any} event */
  #message(event) {
    const { channel, offset, epoch } = event;
    if (typeof channel !== 'string' || !Number.isSafeInteger(offset) || typeof epoch !== 'string') {
      this.#emit('error', new EnckeError('bad_message', 'a message without a position was ignored'));
      return;
    }
    if (this.#unwanted.has(channel)) return;
    const known = this.#positions.get(channel);
    if (known && known.epoch === epoch && offset <= known.offset) return;
    // The position moves first, so that an `ack()` by the listener covers this message.
    this.#positions.set(channel, { epoch, offset });
    this.#saveSoon();
    const { event: _, ...message } = event;
    if (message.type !== 'page') {
      this.#emit('message', message);
    } else if (safeUrl(message.url) !== null) {
      this.#emit('page', message);
    } else {
      this.#emit('error', new EnckeError('bad_url', 'a page whose address is not one to show was ignored'));
    }
  }

  /** @param {any} event */
  #gap(event) {
    const { event: _, ...gap } = event;
    if (typeof gap.channel !== 'string' || this.#unwanted.has(gap.channel)) return;
    const known = this.#positions.get(gap.channel);
    if (known && Number.isSafeInteger(gap.to) && gap.to > known.offset)
      this.#positions.set(gap.channel, { epoch: known.epoch, offset: gap.to });
    this.#saveSoon();
    this.#emit('gap', gap);
  }

  /** The token that the session goes on with does not grant this channel. @param {any} event */
  #unsubscribed({ channel, reason }) {
    this.#wanted.delete(channel);
    this.#positions.delete(channel);
    this.#saveSoon();
    this.#emit('unsubscribed', { channel, reason });
  }

  /** @param {any} event @returns {Ending} */
  #closed(event) {
    const { code = '', reason = '', reconnect = false, retry_ms: asked } = event;
    // A frame has become long. The session goes on, in the next one.
    if (code === 'recycle' && reconnect === true) return { kind: 'pause' };
    this.#session = null;
    if (reconnect !== true) return { kind: 'final', code, reason };
    this.#emit('close', { code, reason, reconnect: true });
    // A server that stops says to each client when to come back, so that they do not all do so together.
    if (Number.isFinite(asked) && asked >= 0)
      return { kind: 'pause', afterMs: laterMs(Math.min(asked, RETRY_MAX_MS), this.#env.random) };
    // A server that does not say it sends all clients away at the same moment all the same.
    return { kind: 'pause', afterMs: 500 + 4500 * this.#env.random() };
  }

  /**
   * Takes over the positions of a cursor that the server gave. It never moves back within an epoch.
   * @param {string} text
   */
  #adopt(text) {
    const cursor = parseCursor(text);
    if (cursor === null) {
      this.#opaque = text;
      return;
    }
    this.#opaque = null;
    this.#epoch = cursor.epoch;
    for (const [channel, at] of cursor.positions) {
      const known = this.#positions.get(channel);
      if (this.#unwanted.has(channel) || (known && known.epoch === at.epoch && known.offset >= at.offset))
        continue;
      this.#positions.set(channel, at);
    }
    this.#saveSoon();
  }

  /**
   * The server does not accept the cursor, so it is not known what was missed; the application is told so for
   * each channel.
   */
  #forgetCursor() {
    const lost = [...this.#positions];
    this.#positions.clear();
    this.#opaque = null;
    this.#epoch = undefined;
    // All of them first: a listener may connect anew, which asks for what is wanted by then, or unsubscribe
    // from a channel whose gap is still to be told.
    for (const [channel] of lost) if (!channel.startsWith('@')) this.#wanted.add(channel);
    for (const [channel, at] of lost) {
      if (!this.#unwanted.has(channel))
        this.#emit('gap', { channel, from: at.offset + 1, to: null, reason: 'cursor' });
    }
    this.#saveSoon();
  }

  // -- requests

  /**
   * A data connection's path, with the query that says where to go on.
   * @param {string} path
   * @param {Record<string, string>} [more]
   */
  #dataPath(path, more = {}) {
    const query = { ...more };
    const cursor = this.cursor;
    if (cursor !== null) query.cursor = cursor;
    if (this.#session !== null) query.session = this.#session;
    this.#asked = new Set(this.#wanted);
    // The cursor subscribes what it names, so only the channels without a position have to be asked for.
    const channels = this.channels.filter((channel) => !this.#positions.has(channel));
    if (channels.length)
      query.channels = channels.map((channel) => channel.replace(/[%,]/g, encodeURIComponent)).join(',');
    const text = Object.entries(query)
      .map(([name, value]) => name + '=' + encodeURIComponent(value))
      .join('&');
    return path + (text ? '?' + text : '');
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {unknown} body
   * @param {AbortSignal} signal
   * @param {string} [accept]
   * @returns {Promise<Response>} one of the 2xx; everything else is thrown.
   */
  async #request(method, path, body, signal, accept = 'application/json') {
    /** @type {Record<string, string>} */
    const headers = { accept };
    if (this.#token) headers.authorization = 'Bearer ' + this.#token;
    if (body !== undefined) headers['content-type'] = 'application/json';
    /** @type {Response} */
    let response;
    try {
      response = await this.#env.fetch(this.#base + path, {
        method, headers, signal,
        body: body === undefined ? undefined : JSON.stringify(body),
        cache: 'no-store',
        // With a token, the cookie of the last login in this browser must not count.
        credentials: this.#options.credentials ?? (this.#token ? 'omit' : 'same-origin'),
      });
    } catch (cause) {
      throw signal.aborted
        ? signal.reason
        : new EnckeError('network', 'the server can not be reached', { cause });
    }
    if (response.ok) return response;
    let told;
    try {
      told = JSON.parse(await response.text())?.error;
    } catch {
      // A proxy answers in its own words; the status says enough.
    }
    throw new EnckeError(
      told?.code ?? 'http_' + response.status,
      told?.message ?? 'the server answered ' + response.status,
      {
        status: response.status,
        retryAfterMs: retryAfterMs(response.headers.get('retry-after'), this.#env.now()),
      },
    );
  }

  /**
   * A control request: over the data connection where that goes both ways, else over one of its own, as is
   * every further attempt. It is repeated while that may help: all of them may be sent twice.
   * @param {string} path
   * @param {() => unknown} body made anew for each attempt, since the session may have changed
   * @param {number} [tries]
   * @returns {Promise<any>}
   */
  async #control(path, body, tries = CONTROL_TRIES) {
    let renewed = false;
    for (let failures = 1; ; failures++) {
      const abort = new AbortController();
      const timer = this.#env.setTimeout(
        () => abort.abort(new EnckeError('timeout', 'the server did not answer in time')),
        CONTROL_WITHIN_MS,
      );
      /** @type {EnckeError} */
      let error;
      try {
        const said = failures === 1 ? this.#link?.ask?.(path, body(), abort.signal) : null;
        if (said) return await said;
        const response = await this.#request('POST', path, body(), abort.signal);
        return parseJson(await response.text());
      } catch (thrown) {
        const reason = abort.signal.aborted ? abort.signal.reason : thrown;
        error =
          reason instanceof EnckeError
            ? reason
            : new EnckeError('network', 'the connection was lost', { cause: reason });
      } finally {
        this.#env.clearTimeout(timer);
      }
      if (error.status === 401 && !renewed && this.#options.getToken) {
        renewed = true;
        if (await this.#fetchToken().catch(() => false)) continue;
      }
      if (!error.transient || failures >= tries) {
        this.#emit('error', error);
        throw error;
      }
      const wait = Math.max(
        pauseMs(failures + 1, this.#env.random),
        laterMs(error.retryAfterMs, this.#env.random),
      );
      await new Promise((resolve) => this.#env.setTimeout(resolve, wait));
    }
  }

  /** @param {string} path @param {string[]} channels @returns {Promise<string[]>} */
  async #changeChannels(path, channels) {
    // Without a session, the next connection brings what is wanted.
    if (this.#session === null || channels.length === 0) return this.channels;
    try {
      const answer = await this.#control(path, () => ({ session: this.#session, channels }));
      if (typeof answer.cursor === 'string') this.#adopt(answer.cursor);
      return answer.channels;
    } catch (error) {
      if (!(error instanceof EnckeError) || error.code !== 'session_unknown') throw error;
      // The server has forgotten this session. A new connection makes one that has all channels.
      if (this.#run) this.#lookAgain(true);
      return this.channels;
    }
  }

  /** @param {string | null} cursor @returns {Promise<void>} */
  async #acknowledge(cursor) {
    if (cursor === null || this.#session === null) return;
    await this.#control('/v1/ack', () => ({ session: this.#session, cursor }));
  }

  /**
   * Gets a fresh token, once for all who ask at the same time.
   * @returns {Promise<boolean>} whether there is one
   */
  #fetchToken() {
    this.#tokenComing ??= Promise.resolve()
      .then(() => this.#options.getToken?.())
      .then((token) => {
        if (token) this.#token = token;
        return Boolean(token);
      })
      .finally(() => {
        this.#tokenComing = null;
      });
    return this.#tokenComing;
  }

  /** @param {EnckeError} error the 401 @returns {Promise<Ending>} */
  async #renewToken(error) {
    /** @type {Ending} */
    const refused = { kind: 'final', code: error.code, reason: error.message, error };
    if (this.#tokenTried || !this.#options.getToken) return refused;
    try {
      this.#tokenTried = true;
      return (await this.#fetchToken()) ? { kind: 'pause' } : refused;
    } catch (cause) {
      // The source of tokens can not be reached either; that is no refusal.
      this.#tokenTried = false;
      return { kind: 'lost', error: new EnckeError('network', 'no fresh token could be had', { cause }) };
    }
  }

  // -- time

  /** @param {number} ms @returns {Promise<void>} ends early by `#wakeUp`. */
  #sleep(ms) {
    return new Promise((resolve) => {
      const done = () => {
        this.#env.clearTimeout(timer);
        this.#wakeUp = null;
        resolve();
      };
      const timer = this.#env.setTimeout(done, ms);
      this.#wakeUp = done;
    });
  }

  // -- the page around it

  #listen() {
    const window = this.#env.window;
    if (this.#unlisten || !window?.addEventListener) return;
    const document = window.document;
    const online = () => {
      // This may be another network, without whatever it was that made the client fall back.
      const fellBack = this.#transport > 0;
      this.#transport = 0;
      this.#lookAgain(fellBack);
    };
    const visible = () => document.visibilityState === 'visible' && this.#lookAgain(false);
    const hide = () => this.#pageHidden();
    const show = (/** @type {any} */ event) => {
      if (event.persisted && this.#hidden) this.#start();
    };
    window.addEventListener('online', online);
    window.addEventListener('pagehide', hide);
    window.addEventListener('pageshow', show);
    document?.addEventListener('visibilitychange', visible);
    this.#unlisten = () => {
      window.removeEventListener('online', online);
      window.removeEventListener('pagehide', hide);
      window.removeEventListener('pageshow', show);
      document?.removeEventListener('visibilitychange', visible);
    };
  }

  /**
   * There is a reason to believe that the network is back: ends a pause, and drops a connection that should
   * have been heard of by now.
   * @param {boolean} anyway drop the connection even so
   */
  #lookAgain(anyway) {
    if (this.#wakeUp) {
      this.#wakeUp();
    } else if (anyway) {
      this.#link?.end(new EnckeError('anew', 'the connection is started anew'));
    } else {
      this.#link?.look();
    }
  }

  /**
   * The page goes away, perhaps for ever, perhaps into the back/forward cache: it cannot be known which. The
   * session is ended by a beacon, which outlives the page; if the page comes back, the cursor is enough to go
   * on.
   */
  #pageHidden() {
    if (this.#state === 'idle' || this.#state === 'closed' || this.#hidden) return;
    this.#beacon.send(this.#env, this.#base, this.#session);
    this.#hidden = true;
    this.#stop();
    this.#session = null;
    this.#save();
    this.#setState('waiting');
  }

  // -- remembering the cursor over reloads

  get #storageKey() {
    return 'encke.cursor ' + this.#base + ' ' + this.user;
  }

  /** @returns {string | null} */
  #load() {
    try {
      return this.user === null ? null : this.#options.storage?.getItem(this.#storageKey) ?? null;
    } catch {
      return null; // A browser may deny its storage; then nothing is remembered.
    }
  }

  #save() {
    this.#env.clearTimeout(this.#saveTimer);
    this.#saveTimer = null;
    const cursor = this.cursor;
    if (!this.#options.storage || this.user === null || cursor === null) return;
    try {
      this.#options.storage.setItem(this.#storageKey, cursor);
    } catch {
      // The same, or it is full.
    }
  }

  #saveSoon() {
    if (!this.#options.storage || this.#saveTimer !== null || this.#run === null) return;
    this.#saveTimer = this.#env.setTimeout(() => this.#save(), SAVE_EVERY_MS);
  }

  // -- telling the application

  /** @param {string} state */
  #setState(state) {
    if (this.#state === state) return;
    const before = this.#state;
    this.#state = state;
    this.#emit('state', state, before);
  }

  /** @param {string} type @param {...unknown} values */
  #emit(type, ...values) {
    this.#listeners.tell(type, ...values);
  }
}

/** Works outside of secure contexts too, where `crypto.randomUUID` is missing. */
function randomId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) =>
    byte.toString(16).padStart(2, '0'),
  ).join('');
}

/** @param {string | null} token @returns {string | null} */
function subjectOf(token) {
  try {
    const payload = /** @type {string} */ (token).split('.')[1].replace(/-/g, '+').replace(/_/g, '/');
    const bytes = Uint8Array.from(atob(payload), (char) => char.charCodeAt(0));
    const subject = JSON.parse(new TextDecoder().decode(bytes)).sub;
    return typeof subject === 'string' ? subject : null;
  } catch {
    return null;
  }
}

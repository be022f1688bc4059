/** One data connection, as a transport sees it. */
import { failure } from './error.js';
import { parseJson } from './requests.js';
import { ShortForm } from './short.js';

/**
 * How long a stream may take until its `open` event; longer means that something on the way collects it
 * before passing it on.
 */
const OPEN_WITHIN_MS = 5000;
/** How long a request that is not held may take. */
const ANSWER_WITHIN_MS = 10000;

/**
 * How a data connection ended. `lost`: come back after a growing pause. `unfit`: as well, by the next
 * transport. `pause`: come back after `afterMs`. `final`: stay away.
 * @typedef {{kind: 'lost' | 'unfit' | 'pause' | 'final', code?: string, reason?: string, error?: any,
 * afterMs?: number}} Ending
 */

/**
 * What a transport may ask of the client that it serves.
 * @typedef {object} Host
 * @property {any} env time, chance, the network and the page, as the client was given them
 * @property {number | undefined} holdS how long a poll is to be held
 * @property {() => boolean} stopped whether what comes is not wanted any more
 * @property {(path: string, more?: Record<string, string | number>) => string} path a data connection's path,
 * with the query that says where to go on
 * @property {(path: string) => URL} address a path with the server in front
 * @property {(method: string, path: string, body: unknown, signal: AbortSignal, accept?: string) =>
 * Promise<Response>} request
 * @property {(ms: number) => Promise<void>} sleep
 * @property {(event: any) => Ending | void} take takes in an event: how the connection has ended, if it has
 */

export class Link {
  #controller = new AbortController();
  /**
   * Asks for a sign of life, where the server's own ones can not be seen.
   * @type {(() => void) | undefined}
   */
  #probe;
  #probedAt = 0;
  #patienceMs = 0;
  #guarded = false;
  #heartbeatMs = 20000;
  form = new ShortForm();
  openedAt = 0;
  heardAt = 0;
  signal = this.#controller.signal;
  failure = failure;
  /**
   * Asks for something on this connection itself, where the transport goes both ways; null when this can not
   * be asked here.
   * @type {((path: string, body: any, signal: AbortSignal) => Promise<any> | null) | null}
   */
  ask = null;

  /** @param {Host} host */
  constructor(host) {
    this.host = host;
  }

  get stopped() {
    return this.host.stopped();
  }

  /** @param {unknown} [why] */
  end(why) {
    this.ask = null;
    this.#controller.abort(why);
  }

  /** A request of this connection's own, which ends with it. @param {string} path @param {string} [accept] */
  get(path, accept) {
    return this.host.request('GET', path, undefined, this.signal, accept);
  }

  /**
   * A request that has to be answered in time.
   * @param {string} method @param {string} path
   * @param {number} [withinMs] by default what is not held may take
   * @returns {Promise<any>}
   */
  async json(method, path, withinMs = ANSWER_WITHIN_MS) {
    const { env, request } = this.host;
    const timer = env.setTimeout(() => this.end(failure('timeout')), withinMs);
    try {
      return parseJson(await (await request(method, path, undefined, this.signal)).text());
    } finally {
      env.clearTimeout(timer);
    }
  }

  /**
   * The address of a connection on which a browser sends no header: a ticket in it says who it is. Since
   * the server has answered this, whatever fails afterwards is the transport's own: the server is there, and
   * takes the token or the cookie.
   * @param {string} path @param {Record<string, string>} [query]
   * @returns {Promise<URL>}
   */
  async withTicket(path, query) {
    const { ticket } = await this.json('POST', '/v1/ticket');
    return this.host.address(this.host.path(path, { ...query, ticket }));
  }

  /**
   * Settles when the connection ends, at the latest by being given up.
   * @param {(take: (read: () => any) => void, gone: () => void) => void} begin connects: `take` takes in what
   * the peer sent, and `gone` tells that the peer is gone
   * @returns {Promise<Ending>}
   */
  until(begin) {
    return new Promise((resolve, reject) => {
      this.signal.addEventListener('abort', () => reject(this.signal.reason));
      const take = (/** @type {() => any} */ read) => {
        if (this.stopped || this.signal.aborted) return;
        this.heard();
        try {
          const ending = this.take(read());
          if (ending) resolve(ending);
        } catch (error) {
          reject(error);
        }
      };
      const gone = () => (this.openedAt ? resolve({ kind: 'lost' }) : reject(failure('no_open')));
      begin(take, gone);
    });
  }

  heard() {
    this.heardAt = this.host.env.now();
  }

  /**
   * Takes in an event as all streams write it.
   * @param {any} event
   * @returns {Ending | void} how the connection has ended, if this was the end.
   */
  take(event) {
    if (this.stopped) return;
    event = this.form.read(event);
    if (event.event === 'open') {
      this.form.begin(event);
      this.#heartbeatMs = Math.max(1, Number(event.heartbeat_s) || 20) * 1000;
      this.openedAt = this.host.env.now();
    }
    return this.host.take(event);
  }

  /**
   * Guards a stream: it has to open in time, and must not fall silent. A page's timers may be held back to
   * one a minute; a probe is therefore always given its time, while a server's own heartbeats come with the
   * stream and need none.
   * @param {() => void} [probe] asks for a sign of life, where the server's own ones can not be seen
   * @returns {() => void} stops guarding.
   */
  guard(probe) {
    const { env } = this.host;
    this.#probe = probe;
    this.#guarded = true;
    this.heard();
    /** @type {any} */
    let timer;
    const look = () => {
      const left = this.#left();
      // How long is left changes when the stream opens, so the next look is no later than the shortest time.
      if (left > 0) timer = env.setTimeout(look, Math.min(left, OPEN_WITHIN_MS));
      else this.end(failure(this.openedAt ? 'silent' : 'no_open'));
    };
    look();
    return () => {
      this.#guarded = false;
      env.clearTimeout(timer);
    };
  }

  /** How long the stream may go on without another word, in milliseconds. */
  #left() {
    const { heardAt } = this;
    const silent = this.host.env.now() - heardAt;
    if (!this.openedAt) return OPEN_WITHIN_MS - silent;
    if (!this.#probe) return 2.5 * this.#heartbeatMs - silent;
    if (this.#probedAt <= heardAt) {
      if (silent < this.#heartbeatMs) return this.#heartbeatMs - silent;
      this.#askAround(1.5 * this.#heartbeatMs);
    }
    return this.#probedAt + this.#patienceMs - heardAt - silent;
  }

  /** @param {number} patienceMs */
  #askAround(patienceMs) {
    this.#probedAt = this.host.env.now();
    this.#patienceMs = patienceMs;
    this.#probe?.();
  }

  /**
   * There is a reason to doubt that this connection is alive: a stream that should have been heard of by now
   * has to prove it, or is started anew.
   */
  look() {
    if (!this.#guarded || !this.openedAt || this.host.env.now() - this.heardAt <= 1.2 * this.#heartbeatMs)
      return;
    if (this.#probe) this.#askAround(OPEN_WITHIN_MS);
    else this.end(failure('anew'));
  }
}

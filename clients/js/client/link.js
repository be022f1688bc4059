/** One data connection, as a transport sees it. */
import { failure } from './error.js';
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
 * @property {(path: string, more?: Record<string, string | number>) => string} path a data connection's path,
 * with the query that says where to go on
 * @property {(path: string) => URL} address a path with the server in front
 * @property {import('./requests.js').Requests} requests
 * @property {(ms: number) => Promise<void>} sleep
 * @property {(event: any) => Ending | void} take takes in an event: how the connection has ended, if it has
 */

export class Link {
  #controller = new AbortController();
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

  /** Whether what comes is not wanted any more. */
  get stopped() {
    return this.signal.aborted;
  }

  /** @param {unknown} [why] */
  end(why) {
    this.ask = null;
    this.#controller.abort(why);
  }

  /**
   * A request that has to be answered in time.
   * @param {string} method @param {string} path
   * @param {number} [withinMs] by default what is not held may take
   * @returns {Promise<any>}
   */
  async json(method, path, withinMs = ANSWER_WITHIN_MS) {
    const { env, requests } = this.host;
    const callOff = env.after(withinMs, () => this.end(failure('timeout')));
    try {
      return await requests.json(method, path, undefined, this.signal);
    } finally {
      callOff();
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
        if (this.signal.aborted) return;
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
   * @returns {Ending | void} how the connection has ended, if this was the end. It throws why it was given
   * up, if it was.
   */
  take(event) {
    this.signal.throwIfAborted();
    event = this.form.read(event);
    if (event.event === 'open') {
      this.form.begin(event);
      this.#heartbeatMs = Math.max(1, Number(event.heartbeat_s) || 20) * 1000;
      this.openedAt = this.host.env.now();
    }
    return this.host.take(event);
  }

  /**
   * There is a reason to doubt that this connection is alive: a stream that should have been heard of by now
   * has to prove it, or is started anew.
   */
  look = () => {};

  /**
   * Guards a stream: it has to open in time, and must not fall silent. A page's timers may be held back to
   * one a minute; a probe is therefore always given its time, while a server's own heartbeats come with the
   * stream and need none.
   * @param {() => void} [probe] asks for a sign of life, where the server's own ones can not be seen
   * @returns {() => void} stops guarding.
   */
  guard(probe) {
    const { now, after } = this.host.env;
    let probedAt = 0;
    let patienceMs = 0;
    let callOff = () => {};
    const ask = (/** @type {number} */ ms) => {
      probedAt = now();
      patienceMs = ms;
      probe?.();
    };
    /** How long the stream may go on without another word, in milliseconds. */
    const left = () => {
      const { heardAt } = this;
      const beat = this.#heartbeatMs;
      const silent = now() - heardAt;
      if (!this.openedAt) return OPEN_WITHIN_MS - silent;
      if (!probe) return 2.5 * beat - silent;
      if (probedAt <= heardAt) {
        if (silent < beat) return beat - silent;
        ask(1.5 * beat);
      }
      return probedAt + patienceMs - heardAt - silent;
    };
    const watch = () => {
      const ms = left();
      // How long is left changes when the stream opens, so the next look is no later than the shortest time.
      if (ms > 0) callOff = after(Math.min(ms, OPEN_WITHIN_MS), watch);
      else this.end(failure(this.openedAt ? 'silent' : 'no_open'));
    };
    this.look = () => {
      if (!this.openedAt || now() - this.heardAt <= 1.2 * this.#heartbeatMs) return;
      if (probe) ask(OPEN_WITHIN_MS);
      else this.end(failure('anew'));
    };
    this.heard();
    watch();
    return () => {
      this.look = () => {};
      callOff();
    };
  }
}

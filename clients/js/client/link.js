/** One data connection, as a transport sees it. */
import { EnckeError } from './error.js';

/**
 * How long a stream may take until its `open` event; longer means that something on the way collects it
 * before passing it on.
 */
const OPEN_WITHIN_MS = 5000;

/**
 * How a data connection ended. `lost`: come back after a growing pause. `unfit`: as well, by the next
 * transport. `pause`: come back after `afterMs`. `final`: stay away.
 * @typedef {{kind: 'lost' | 'unfit' | 'pause' | 'final', code?: string, reason?: string, error?: EnckeError,
 * afterMs?: number}} Ending
 */

/**
 * What a transport may ask of the client that it serves. @typedef {object} Host @property {any} env time,
 * chance, the network and the page, as the client was given them @property {number | undefined} holdS how
 * long a poll is to be held @property {() => boolean} stopped whether what comes is not wanted any more
 * @property {(path: string, more?: Record<string, string>) => string} path a data connection's path, with the
 * query that says where to go on @property {(path: string) => URL} address a path with the server in front
 * @property {(method: string, path: string, body: unknown, signal: AbortSignal, accept?: string) =>
 * Promise<Response>} request @property {(ms: number) => Promise<void>} sleep @property {(session: unknown,
 * cursor: unknown, closeKey: unknown) => void} opened
 * @property {(session: unknown, closeKey: unknown) => void} renamed the session goes on under this name
 * @property {(message: any) => void} message @property {(gap: any) => void} gap
 * @property {(event: any) => void} unsubscribed @property {(close: any) => Ending} closed
 * @property {(cursor: string) => void} adopt
 */

export class Link {
  #controller = new AbortController();
  /** Asks for a sign of life, where the server's own ones can not be seen. @type {(() => void) | null} */
  #probe = null;
  #probedAt = 0;
  #patienceMs = 0;
  #guarded = false;
  #heartbeatMs = 20000;
  openedAt = 0;
  heardAt = 0;
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

  get signal() {
    return this.#controller.signal;
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
   * A GET or POST that is not held and has to be answered in time.
   * @template T
   * @param {number} ms
   * @param {() => Promise<T>} request
   * @returns {Promise<T>}
   */
  async within(ms, request) {
    const { env } = this.host;
    const timer = env.setTimeout(
      () => this.end(new EnckeError('timeout', 'the server did not answer in time')),
      ms,
    );
    try {
      return await request();
    } finally {
      env.clearTimeout(timer);
    }
  }

  heard() {
    this.heardAt = this.host.env.now();
  }

  /**
   * Takes in an event as all streams write it.
   * @param {any} event
   * @returns {Ending | null} how the connection has ended, if this was the end.
   */
  take(event) {
    if (event.event === 'open') {
      this.#heartbeatMs = Math.max(1, Number(event.heartbeat_s) || 20) * 1000;
      this.opened(event.session, event.cursor, event.close_key);
    } else if (event.event === 'message') {
      this.host.message(event);
    } else if (event.event === 'gap') {
      this.host.gap(event);
    } else if (event.event === 'unsubscribed') {
      this.host.unsubscribed(event);
    } else if (event.event === 'close') {
      return this.host.closed(event);
    }
    return null;
  }

  /** @param {unknown} session @param {unknown} cursor @param {unknown} closeKey */
  opened(session, cursor, closeKey) {
    this.openedAt = this.host.env.now();
    this.host.opened(session, cursor, closeKey);
  }

  /**
   * Guards a stream: it has to open in time, and must not fall silent. A page's timers may be held back to
   * one a minute; a probe is therefore always given its time, while a server's own heartbeats come with the
   * stream and need none.
   * @param {(() => void) | null} [probe] asks for a sign of life, where the server's own ones can not be seen
   * @returns {() => void} stops guarding.
   */
  guard(probe = null) {
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
      else if (!this.openedAt) this.end(new EnckeError('no_open', 'the stream did not open in time'));
      else this.end(new EnckeError('silent', 'the connection fell silent'));
    };
    look();
    return () => {
      this.#guarded = false;
      env.clearTimeout(timer);
    };
  }

  /** How long the stream may go on without another word, in milliseconds. */
  #left() {
    const now = this.host.env.now();
    if (!this.openedAt) return this.heardAt + OPEN_WITHIN_MS - now;
    if (!this.#probe) return this.heardAt + 2.5 * this.#heartbeatMs - now;
    if (this.#probedAt > this.heardAt) return this.#probedAt + this.#patienceMs - now;
    const left = this.heardAt + this.#heartbeatMs - now;
    if (left > 0) return left;
    this.#askAround(1.5 * this.#heartbeatMs);
    return this.#patienceMs;
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
    else this.end(new EnckeError('anew', 'the connection is started anew'));
  }
}

/** @param {string} text @returns {any} */
export function parseJson(text) {
  try {
    const value = JSON.parse(text);
    if (value !== null && typeof value === 'object') return value;
  } catch {
    // It is answered below.
  }
  throw new EnckeError('network', 'the server sent something that is not JSON');
}

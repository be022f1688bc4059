/** Requests to the server: who asks, what the answer says, and asking again. */
import { EnckeError, asError, failure } from './error.js';
import { laterMs, pauseMs, retryAfterMs } from './pauses.js';

const CONTROL_WITHIN_MS = 10000;
const CONTROL_TRIES = 6;
/** How long a server may take to answer at all. */
const PROBE_WITHIN_MS = 5000;

/**
 * Asks for something on the data connection, where that goes both ways.
 * @typedef {(path: string, body: any, signal: AbortSignal) => Promise<any> | null | undefined} Ask
 */

/** @param {string} text @returns {any} */
export function parseJson(text) {
  try {
    const value = JSON.parse(text);
    if (typeof value === 'object' && value) return value;
  } catch {
    // It is answered below.
  }
  throw failure('not_json');
}

export class Requests {
  #env;
  #base;
  #token;
  #credentials;
  /** Whether this page was ever let read an answer. */
  #answered = false;

  /**
   * @param {any} env
   * @param {string} base the server's address, without a trailing slash
   * @param {import('./token.js').Token} token
   * @param {RequestCredentials | undefined} credentials as in `fetch`
   */
  constructor(env, base, token, credentials) {
    this.#env = env;
    this.#base = base;
    this.#token = token;
    this.#credentials = credentials;
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {unknown} body
   * @param {AbortSignal} signal
   * @param {string} [accept]
   * @returns {Promise<Response>} one of the 2xx; everything else is thrown.
   */
  async send(method, path, body, signal, accept = 'application/json') {
    const token = this.#token.text;
    /** @type {Record<string, string>} */
    const headers = { accept };
    if (token) headers.authorization = 'Bearer ' + token;
    if (body) headers['content-type'] = 'application/json';
    /** @type {Response} */
    let response;
    try {
      response = await this.#env.fetch(this.#base + path, {
        method, headers, signal,
        body: body && JSON.stringify(body),
        cache: 'no-store',
        // With a token, the cookie of the last login in this browser must not count.
        credentials: this.#credentials ?? (token ? 'omit' : 'same-origin'),
      });
    } catch (cause) {
      const error = signal.aborted || (await this.#unreachable(cause));
      throw signal.aborted ? signal.reason : error;
    }
    this.#answered = true;
    if (response.ok) return response;
    throw await this.#refusal(response);
  }

  /** @param {Response} response one that is not of the 2xx */
  async #refusal(response) {
    let told;
    try {
      told = JSON.parse(await response.text())?.error;
    } catch {
      // A proxy answers in its own words; the status says enough.
    }
    const { status, headers } = response;
    const { code = status === 404 ? 'not_found' : 'http_' + status, message = code } = told ?? {};
    const tokenless = status === 401 && !this.#token.text && !this.#token.hasSource;
    const text =
      status === 404 && code === 'not_found'
        ? failure(code, { about: [this.#server] }).message
        : tokenless
          ? failure('no_token').message
          : message;
    const retry = retryAfterMs(headers.get('retry-after'), this.#env.now());
    return new EnckeError(code, text, { status, retryAfterMs: retry });
  }

  /** The origin of this page, if it is one. @returns {string | undefined} */
  get #origin() {
    return this.#env.window?.location?.origin;
  }

  /** The server's origin and prefix, as a person would write them. */
  get #server() {
    return this.#base || (this.#origin ?? '');
  }

  /**
   * Why there was no answer. A browser does not say why a page may not read one. When a request whose answer
   * is not read gets one, and no other ever did, then this page's origin is refused.
   * @param {unknown} cause
   */
  async #unreachable(cause) {
    const [origin, server] = [this.#origin, this.#server];
    const unreachable = failure('no_answer', { about: [server], cause });
    if (this.#answered || !origin || (server + '/').startsWith(origin + '/')) return unreachable;
    try {
      await this.#env.fetch(server + '/client.js', {
        method: 'HEAD', mode: 'no-cors', cache: 'no-store', signal: this.#env.timeout(PROBE_WITHIN_MS),
      });
    } catch {
      return unreachable;
    }
    return failure('origin_refused', { about: [server, origin] });
  }

  /**
   * A control request: over the data connection where that goes both ways, else over one of its own, as is
   * every further attempt. It is repeated while that may help: all of them may be sent twice.
   * @param {string} path
   * @param {(() => unknown) | undefined} body made anew for each attempt, since the session may have changed;
   * none for what is asked by GET
   * @param {Ask} ask
   * @param {number} [tries]
   * @returns {Promise<any>}
   */
  async control(path, body, ask, tries = CONTROL_TRIES) {
    const { random, setTimeout, clearTimeout } = this.#env;
    let renewed = false;
    for (let failures = 1; ; failures++) {
      const abort = new AbortController();
      const { signal } = abort;
      const timer = setTimeout(() => abort.abort(failure('timeout')), CONTROL_WITHIN_MS);
      let error;
      try {
        return await ((failures < 2 && ask(path, body?.(), signal)) || this.#post(path, body, signal));
      } catch (thrown) {
        error = asError(signal.aborted ? signal.reason : thrown);
      } finally {
        clearTimeout(timer);
      }
      if (error.status === 401 && !renewed && this.#token.hasSource) {
        renewed = true;
        if (await this.#token.fetch().catch(() => false)) continue;
      }
      if (!error.transient || failures >= tries) throw error;
      const wait = Math.max(pauseMs(failures + 1, random), laterMs(error.retryAfterMs, random));
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }

  /** @param {string} path @param {(() => unknown) | undefined} body @param {AbortSignal} signal */
  async #post(path, body, signal) {
    const response = await this.send(body ? 'POST' : 'GET', path, body?.(), signal);
    return parseJson(await response.text());
  }
}

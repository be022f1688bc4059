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
   * @param {AbortSignal} signal whose reason is what counts when it ends the request
   * @param {string} [accept]
   * @returns {Promise<Response>} one of the 2xx; everything else is thrown.
   */
  async send(method, path, body, signal, accept = 'application/json') {
    const { text, hasSource } = this.#token;
    /** @type {Response} */
    let response;
    try {
      response = await this.#env.fetch(this.#base + path, {
        method, signal,
        headers: {
          accept,
          ...(text && { authorization: 'Bearer ' + text }),
          ...(body ? { 'content-type': 'application/json' } : null),
        },
        body: body && JSON.stringify(body),
        cache: 'no-store',
        // With a token, the cookie of the last login in this browser must not count.
        credentials: this.#credentials ?? (text ? 'omit' : 'same-origin'),
      });
    } catch (cause) {
      throw signal.aborted ? cause : await this.#unreachable(cause);
    }
    this.#answered = true;
    if (response.ok) return response;
    const { status, headers } = response;
    let told;
    try {
      told = JSON.parse(await response.text()).error;
    } catch {
      // A proxy answers in its own words; the status says enough.
    }
    const { code = status === 404 ? 'not_found' : 'http_' + status, message = code } = told ?? {};
    const own = status === 404 && code === 'not_found' ? failure(code, 0, this.#server)
      : status === 401 && !text && !hasSource ? failure('no_token') : { message };
    throw new EnckeError(code, own.message, {
      status,
      retryAfterMs: retryAfterMs(headers.get('retry-after'), this.#env.now()),
    });
  }

  /** The origin of this page, if it is one. @returns {string | undefined} */
  get #origin() {
    return this.#env.window?.location?.origin;
  }

  /** The server's origin and prefix, as a person would write them. @returns {string} */
  get #server() {
    return this.#base || (this.#origin ?? '');
  }

  /**
   * Why there was no answer. A browser does not say why a page may not read one. When a request whose answer
   * is not read gets one, and no other ever did, then this page's origin is refused.
   * @param {unknown} cause
   */
  #unreachable(cause) {
    const origin = this.#origin;
    const server = this.#server;
    const unreachable = failure('no_answer', cause, server);
    if (this.#answered || !origin || (server + '/').startsWith(origin + '/')) return unreachable;
    return this.#env
      .fetch(server + '/client.js', {
        method: 'HEAD', mode: 'no-cors', cache: 'no-store', signal: AbortSignal.timeout(PROBE_WITHIN_MS),
      })
      .then(() => failure('origin_refused', cause, server, origin), () => unreachable);
  }

  /**
   * Asks for JSON, in the way of `send`.
   * @param {Parameters<Requests['send']>} asked @returns {Promise<any>}
   */
  async json(...asked) {
    return parseJson(await (await this.send(...asked)).text());
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
    const { random, after } = this.#env;
    let renewed = false;
    for (let failures = 1; ; failures++) {
      const abort = new AbortController();
      const { signal } = abort;
      const callOff = after(CONTROL_WITHIN_MS, () => abort.abort(failure('timeout')));
      let error;
      try {
        const words = body?.();
        return await ((failures < 2 && ask(path, words, signal)) ||
          this.json(body ? 'POST' : 'GET', path, words, signal));
      } catch (thrown) {
        error = asError(signal.aborted ? signal.reason : thrown);
      } finally {
        callOff();
      }
      if (error.status === 401 && !renewed && this.#token.hasSource) {
        renewed = true;
        if (await this.#token.fetch().catch(() => false)) continue;
      }
      if (!error.transient || failures >= tries) throw error;
      const wait = Math.max(pauseMs(failures + 1, random), laterMs(error.retryAfterMs, random));
      await new Promise((resolve) => after(wait, /** @type {any} */ (resolve)));
    }
  }
}

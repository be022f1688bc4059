/** The server API as the console asks for it: requests with the key, and their errors. Not when to ask. */

/**
 * Where the server is, by where this script came from: a proxy may have put it behind a prefix of the path.
 */
const BASE = new URL('../..', import.meta.url).pathname.replace(/\/$/, '');
/** An answer that takes longer will not come. */
const ANSWER_MAX_MS = 20_000;
/** What a proxy says when the server behind it is not there. */
const GATEWAY = [502, 504];

/** A request that was refused or not answered. */
export class ApiError extends Error {
  /** @param {number} status 0 without an answer @param {string} code @param {string} message */
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }

  /** Whether the same request may work a moment later. */
  get isPassing() {
    return this.status === 0 || this.status === 503 || GATEWAY.includes(this.status);
  }
}

/**
 * Asks the server. `refused` is dispatched when the key is not, or no longer, a good one.
 */
export class Server extends EventTarget {
  key = '';
  /** How much has been asked and answered so far. */
  requests = 0;
  bytes = 0;

  /** @param {string} path @param {Record<string, unknown>} [query] without what is undefined */
  get(path, query = {}) {
    const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== '');
    const parameters = new URLSearchParams(given.map(([name, value]) => [name, String(value)]));
    return this.#ask('GET', path + (given.length ? `?${parameters}` : ''));
  }

  /** @param {string} path @param {unknown} body */
  post(path, body) {
    return this.#ask('POST', path, body);
  }

  /** @param {string} path */
  delete(path) {
    return this.#ask('DELETE', path);
  }

  /** @param {string} method @param {string} path @param {unknown} [body] @returns {Promise<any>} */
  async #ask(method, path, body) {
    const used = this.key;
    const hasBody = body !== undefined;
    this.requests++;
    let response;
    let text;
    try {
      response = await fetch(BASE + path, {
        method,
        headers: {
          authorization: `Bearer ${used}`,
          ...(hasBody ? { 'content-type': 'application/json' } : {}),
        },
        body: hasBody ? JSON.stringify(body) : undefined,
        credentials: 'omit',
        cache: 'no-store',
        signal: AbortSignal.timeout(ANSWER_MAX_MS),
      });
      text = await response.text();
    } catch {
      throw new ApiError(0, 'unreachable', 'The server cannot be reached.');
    }
    this.bytes += text.length;
    const answer = parsed(text);
    if (response.ok && answer) return answer;
    if (response.status === 401 && used === this.key) this.dispatchEvent(new Event('refused'));
    throw errorOf(response.status, answer);
  }
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** @param {number} status @param {any} answer */
function errorOf(status, answer) {
  const { code = '', message = `The server answered ${status}.` } = answer?.error ?? {};
  if (code === 'shutting_down') return new ApiError(status, code, 'The server is stopping.');
  if (GATEWAY.includes(status))
    return new ApiError(status, code, 'The server behind the proxy is not there.');
  return new ApiError(status, code, message);
}

/** A path with names in it. @param {TemplateStringsArray} parts @param {...string} names */
export const path = (parts, ...names) =>
  String.raw({ raw: parts }, ...names.map((name) => encodeURIComponent(name)));

/** The server API as the console asks for it: requests with the key, and their errors. Not when to ask. */

/**
 * Where the server is, by where this script came from: a proxy may have put it behind a prefix of the path.
 */
const BASE = new URL('../..', import.meta.url).pathname.replace(/\/$/, '');
/** An answer that takes longer will not come. */
const ANSWER_MAX_MS = 20_000;
/** A held answer that says nothing for longer is dead: the server breaks its silence every 20 s. */
const SILENCE_MAX_MS = 50_000;
/** The longest line of a held answer. */
const LINE_MAX_CHARACTERS = 1_000_000;
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
    return this.#ask('GET', path + queryOf(query));
  }

  /**
   * Reads the lines of an answer that is held, until it ends or is aborted.
   * @param {string} path @param {Record<string, unknown>} query
   * @param {AbortController} held
   * @param {(event: any, bytes: number) => void} take
   */
  async follow(path, query, held, take) {
    const used = this.key;
    this.requests++;
    let timer = setTimeout(() => held.abort(), ANSWER_MAX_MS);
    try {
      const response = await fetch(BASE + path + queryOf(query), {
        headers: { authorization: `Bearer ${used}` },
        credentials: 'omit',
        cache: 'no-store',
        signal: held.signal,
      });
      if (!response.ok || !response.body) throw this.#refusal(response.status, await response.text(), used);
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = '';
      for (;;) {
        clearTimeout(timer);
        timer = setTimeout(() => held.abort(), SILENCE_MAX_MS);
        const { value, done } = await reader.read();
        if (done) return;
        this.bytes += value.length;
        const lines = (rest + value).split('\n');
        rest = lines.pop() ?? '';
        if (rest.length > LINE_MAX_CHARACTERS) throw new ApiError(0, 'too_long', 'A line is too long.');
        for (const line of lines) if (line) take(JSON.parse(line), line.length);
      }
    } finally {
      clearTimeout(timer);
      held.abort();
    }
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
    throw this.#refusal(response.status, text, used);
  }

  /** @param {number} status @param {string} text @param {string} used the key */
  #refusal(status, text, used) {
    if (status === 401 && used === this.key) this.dispatchEvent(new Event('refused'));
    return errorOf(status, parsed(text));
  }
}

/** @param {Record<string, unknown>} query without what is undefined */
function queryOf(query) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== '');
  const parameters = new URLSearchParams(given.map(([name, value]) => [name, String(value)]));
  return given.length ? `?${parameters}` : '';
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

// The server API: what each call sends, what its answer becomes, and when it is sent again.
import { randomInt, randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';

import { Connection } from './connection.js';
import { ApiError, TransportError } from './errors.js';

const TIMEOUT_MS = 10_000;
const RETRIES = 2;
/** How many requests of a stream may be without a result. */
const WINDOW = 64;
/** Receipts are asked for in pages of this size. */
const PAGE = 1000;
/** Refusals after which the same request may do better. */
const STATUSES_TO_REPEAT = [429, 502, 503, 504];
const PAUSE_MS = 250;
const PAUSE_MAX_MS = 5_000;
/** A server that wants a longer pause has its way with the caller, who is told. */
const RETRY_AFTER_MAX_S = 10;

export class Client {
  #connection;
  #retries;

  constructor(url, apiKey, { timeoutMs = TIMEOUT_MS, retries = RETRIES, tls } = {}) {
    this.#connection = new Connection(url, apiKey, { timeoutMs, tls });
    this.#retries = retries;
  }

  push(push, { signal } = {}) {
    return this.#send('POST', '/api/push', { body: keyed(push), signal });
  }

  async pushMany(pushes, { signal } = {}) {
    const body = { pushes: pushes.map(keyed) };
    return results(await this.#send('POST', '/api/push', { body, signal }));
  }

  pushStream(pushes, options) {
    return this.#stream('/api/push', pushes, options);
  }

  publish(message, { signal } = {}) {
    return this.#send('POST', '/api/publish', { body: keyed(message), signal });
  }

  async publishMany(messages, { signal } = {}) {
    const body = { messages: messages.map(keyed) };
    return results(await this.#send('POST', '/api/publish', { body, signal }));
  }

  publishStream(messages, options) {
    return this.#stream('/api/publish', messages, options);
  }

  async *receipts(id, { signal } = {}) {
    let after;
    do {
      const query = new URLSearchParams({ limit: PAGE, ...(after && { after }) });
      const page = await this.#send('GET', `/api/push/${encodeURIComponent(id)}?${query}`, { signal });
      yield* page.receipts;
      after = page.next;
    } while (after);
  }

  async cancel(id, { signal } = {}) {
    return (await this.#send('DELETE', `/api/push/${encodeURIComponent(id)}`, { signal })).cancelled;
  }

  user(id, { signal } = {}) {
    return this.#send('GET', `/api/users/${encodeURIComponent(id)}`, { signal });
  }

  async close({ user, session, reason, reconnect, banS }, { signal } = {}) {
    const body = { user, session, reason, reconnect, ban_s: banS };
    // Sent twice, it would close who has come back meanwhile.
    return (await this.#send('POST', '/api/close', { body, signal, isRepeatable: false })).closed;
  }

  async revoke({ user, jti, before }, { signal } = {}) {
    // For a user it is said now, so that a repeat spares the tokens that are issued until then.
    const time = before ?? (typeof user === 'string' ? new Date() : undefined);
    const body = { user, jti, before: time instanceof Date ? time.toISOString() : time };
    return (await this.#send('POST', '/api/revoke', { body, signal })).closed;
  }

  request(method, path, body, { signal } = {}) {
    return this.#send(method, path, { body, signal, isRepeatable: method !== 'POST' });
  }

  shut() {
    this.#connection.shut();
  }

  async #send(method, path, { body, signal, isRepeatable = true }) {
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await this.#connection.ask(method, path, body, signal);
      } catch (error) {
        const ms = pauseMs(attempt, error);
        if (attempt >= this.#retries || !isRepeatable || ms === undefined) throw error;
        await pause(ms, undefined, { signal });
      }
    }
  }

  async *#stream(path, requests, { window = WINDOW, signal } = {}) {
    const lines = (async function* () {
      for await (const request of requests) yield JSON.stringify(wire(request));
    })();
    for await (const result of this.#connection.lines(path, lines, window, signal)) yield resultOf(result);
  }
}

/** How long to wait before the next attempt, if there is to be one. */
function pauseMs(attempt, error) {
  const isRefusal = error instanceof ApiError;
  if (!isRefusal && !(error instanceof TransportError)) return undefined;
  const after = error.retryAfterS ?? 0;
  const isFinal = isRefusal && !STATUSES_TO_REPEAT.includes(error.status);
  if (isFinal || after > RETRY_AFTER_MAX_S) return undefined;
  const ms = Math.min(PAUSE_MS * 2 ** attempt, PAUSE_MAX_MS);
  return after * 1000 + ms / 2 + randomInt(Math.ceil(ms / 2));
}

/** A push or a message as the server takes it. */
const wire = ({ ttlS, ...rest }) => ({ ...rest, ttl_s: ttlS });

/** The same with an idempotency key, so that it can be sent again. */
const keyed = (request) => ({ ...wire(request), id: request.id ?? randomUUID() });

const results = (answer) => answer.results.map(resultOf);

const resultOf = (result) =>
  result.error ? new ApiError(0, String(result.error.code), String(result.error.message)) : result;

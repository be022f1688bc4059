/** WebSocket: events come, and what is asked goes the other way on the same connection. */
import { EnckeError } from './error.js';
import { parseJson } from './link.js';
import { withTicket } from './ticket.js';

/**
 * What can be asked over the connection, by the path that it would be posted to.
 * @type {Record<string, (body: any) => object>}
 */
const SPOKEN = {
  '/v1/subscribe': ({ channels }) => ({ do: 'subscribe', channels }),
  '/v1/unsubscribe': ({ channels }) => ({ do: 'unsubscribe', channels }),
  '/v1/publish': ({ channel, data, id }) => ({ do: 'publish', channel, data, key: id }),
  '/v1/ack': ({ cursor }) => ({ do: 'ack', cursor }),
};
/** The server ends a connection on which a longer message is sent, where a longer request is only refused. */
const MESSAGE_MAX_BYTES = 64 * 1024;
/** No character of a JavaScript string has more bytes in UTF-8. */
const BYTES_PER_CHAR_MAX = 3;
/** The most questions that wait for their answer; what is asked besides goes by a request of its own. */
const QUESTIONS_MAX = 64;
/**
 * The statuses that a request would be answered with, for the codes of which it matters here; any other is a
 * refusal.
 * @type {Record<string, number>}
 */
const STATUS = {
  unauthorized: 401,
  token_expired: 401,
  revoked: 401,
  request_timeout: 408,
  rate_limited: 429,
  internal: 500,
  engine_unavailable: 503,
  overloaded: 503,
  shutting_down: 503,
};
const REFUSED = 400;

/** @param {import('./link.js').Link} link @returns {Promise<import('./link.js').Ending>} */
export async function receive(link) {
  const { WebSocket } = link.host.env;
  if (!WebSocket) throw new EnckeError('no_open', 'there is no WebSocket here');
  const address = await withTicket(link, '/v1/ws');
  if (link.stopped) return { kind: 'final' };
  address.protocol = address.protocol === 'https:' ? 'wss:' : 'ws:';
  const socket = open(WebSocket, address.href);
  const questions = new Questions(socket);
  // Pages see no pings, so the server is asked for a sign of life when it is silent.
  const unguard = link.guard(() => socket.send('{"do":"ping"}'));
  try {
    return await new Promise((resolve, reject) => {
      link.signal.addEventListener('abort', () => reject(link.signal.reason), { once: true });
      socket.onmessage = ({ data }) => {
        if (link.stopped || link.signal.aborted) return;
        link.heard();
        try {
          const event = parseJson(data);
          if (event.event === 'reply') return questions.answer(event);
          // What a listener asks on hearing that it is open goes this way already.
          if (event.event === 'open') link.ask = (path, body, signal) => questions.ask(path, body, signal);
          const ending = link.take(event);
          if (ending) resolve(ending);
        } catch (error) {
          reject(error);
        }
      };
      // A browser does not tell why a WebSocket did not open.
      socket.onclose = () =>
        link.openedAt
          ? resolve({ kind: 'lost' })
          : reject(new EnckeError('no_open', 'the WebSocket did not open'));
    });
  } finally {
    unguard();
    link.ask = null;
    socket.onmessage = socket.onclose = null;
    socket.close(1000);
    questions.giveUp();
  }
}

/** @param {any} WebSocket @param {string} address @returns {WebSocket} */
function open(WebSocket, address) {
  try {
    return new WebSocket(address);
  } catch (cause) {
    // From a page that came by https, a browser opens none without TLS.
    throw new EnckeError('no_open', 'the browser refuses to open this WebSocket', { cause });
  }
}

/** What was asked over a connection and is not answered yet. */
class Questions {
  #socket;
  /** @type {Map<number, {resolve: (result: any) => void, reject: (error: unknown) => void}>} */
  #open = new Map();
  #last = 0;

  /** @param {WebSocket} socket */
  constructor(socket) {
    this.#socket = socket;
  }

  /**
   * @param {string} path
   * @param {any} body
   * @param {AbortSignal} signal
   * @returns {Promise<any> | null} null when this has to go by a request of its own.
   */
  ask(path, body, signal) {
    const id = ++this.#last;
    const text = Object.hasOwn(SPOKEN, path) ? JSON.stringify({ ...SPOKEN[path](body), id }) : null;
    if (
      text === null ||
      text.length * BYTES_PER_CHAR_MAX > MESSAGE_MAX_BYTES ||
      this.#open.size >= QUESTIONS_MAX
    )
      return null;
    return new Promise((resolve, reject) => {
      this.#open.set(id, { resolve, reject });
      signal.addEventListener('abort', () => {
        this.#open.delete(id);
        reject(signal.reason);
      }, { once: true });
      this.#socket.send(text);
    });
  }

  /** @param {any} reply */
  answer({ id, result, error }) {
    const question = this.#open.get(id);
    this.#open.delete(id);
    if (error)
      question?.reject(
        new EnckeError(String(error.code), String(error.message), { status: STATUS[error.code] ?? REFUSED }),
      );
    else question?.resolve(result);
  }

  /** Nothing that is still open will be answered here; it is not known whether it was done. */
  giveUp() {
    for (const { reject } of this.#open.values())
      reject(new EnckeError('network', 'the connection was lost before the answer'));
    this.#open.clear();
  }
}

/** WebSocket: events come, and what is asked goes the other way on the same connection. */
import { EnckeError, failure } from './error.js';
import { Questions } from './questions.js';
import { parseJson } from './requests.js';

/** What can be asked over the connection, by the path that it would be posted to. */
const SPOKEN = /^\/v1\/((un)?subscribe|publish|refresh|ack)$/;
/**
 * The server ends a connection on which a message of more than 64 KiB is sent, where a longer request is only
 * refused. A character of a JavaScript string has three bytes in UTF-8 at most; the rest is for the number.
 */
const TEXT_MAX_CHARS = (64 * 1024 - 32) / 3;
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
  if (!WebSocket) throw failure('no_open');
  const address = await link.withTicket('/v1/ws');
  link.signal.throwIfAborted();
  address.protocol = address.protocol.replace('http', 'ws');
  const socket = open(WebSocket, address.href);
  const questions = new Questions();
  // Pages see no pings, so the server is asked for a sign of life when it is silent.
  const unguard = link.guard(() => socket.send('{"do":"ping"}'));
  try {
    return await link.until((take, gone) => {
      socket.onmessage = ({ data }) => take(() => {
        const event = parseJson(data);
        if (event.event === 'reply') answer(questions, event);
        // What a listener asks on hearing that it is open goes this way already.
        if (event.event === 'open') link.ask = (...asked) => ask(socket, questions, asked);
        return event;
      });
      // A browser does not tell why a WebSocket did not open.
      socket.onclose = gone;
    });
  } finally {
    unguard();
    link.ask = socket.onmessage = socket.onclose = null;
    socket.close(1000);
    questions.giveUp(failure('lost'));
  }
}

/** @param {any} WebSocket @param {string} address @returns {WebSocket} */
function open(WebSocket, address) {
  try {
    return new WebSocket(address);
  } catch (cause) {
    // From a page that came by https, a browser opens none without TLS.
    throw failure('no_open', cause);
  }
}

/**
 * @param {WebSocket} socket @param {Questions} questions
 * @param {[path: string, body: any, signal: AbortSignal]} asked
 * @returns {Promise<any> | null} null when this has to go by a request of its own.
 */
function ask(socket, questions, [path, body, signal]) {
  const [, what] = SPOKEN.exec(path) ?? [];
  if (!what || questions.size >= QUESTIONS_MAX) return null;
  // The session is that of the connection, and what a request calls its id is a key here.
  const { session: _, id: key, ...rest } = body;
  const words = { do: what, ...rest, key };
  if (JSON.stringify(words).length > TEXT_MAX_CHARS) return null;
  return questions.ask(signal, (id) => socket.send(JSON.stringify({ ...words, id })));
}

/** @param {Questions} questions @param {any} reply */
function answer(questions, { id, result, error }) {
  const status = STATUS[error?.code] ?? REFUSED;
  const refusal = error && new EnckeError(error.code, error.message, { status });
  questions.answer(id, refusal, result);
}

/** Messages as an async iteration: `for await (const message of client.messages('news'))`. */
import { failure } from './error.js';

/** How many messages wait for a loop that is slower than they come. */
const WAITING_MAX = 1000;

/**
 * @param {import('./emitter.js').Emitter} emitter what is told of the messages
 * @param {import('./emitter.js').Emitter} client what is told of the end
 * @param {{signal?: AbortSignal}} [options] ends the iteration
 * @returns {AsyncGenerator<any>} until the client is closed for good. It fails when the loop is so slow that
 * messages would be lost.
 */
export async function* iterate(emitter, client, { signal } = {}) {
  /** @type {any[]} */
  const waiting = [];
  const over = new AbortController();
  let failed = false;
  let wake = () => {};
  const end = () => {
    over.abort();
    wake();
  };
  const take = (/** @type {any} */ message) => {
    failed = waiting.push(message) > WAITING_MAX;
    if (failed) over.abort();
    wake();
  };
  if (signal?.aborted) return;
  signal?.addEventListener('abort', end, { once: true });
  emitter.on('message', take, over);
  emitter.on('page', take, over);
  client.on('close', (/** @type {any} */ { reconnect }) => reconnect || end(), over);
  try {
    for (;;) {
      if (failed) throw failure('slow');
      if (waiting.length) yield waiting.shift();
      else if (over.signal.aborted) return;
      else await new Promise((resolve) => (wake = /** @type {any} */ (resolve)));
    }
  } finally {
    over.abort();
    signal?.removeEventListener('abort', end);
  }
}

/** Long polls: one answer after the other. */

/**
 * A poll without an answer for this long is dead. Holds are 25 s by default, and proxies seldom allow more
 * than a minute.
 */
const SILENCE_MS = 60000;
/** How much longer than it is held a poll may take. */
const ANSWER_WITHIN_MS = 20000;

/** @typedef {import('./link.js').Ending} Ending */

/** @param {import('./link.js').Link} link @returns {Promise<Ending>} */
export async function receive(link) {
  const { env, holdS, sleep } = link.host;
  // The first poll is not held, so that the session and the cursor are known at once.
  let { ending } = await ask(link, 'open');
  while (!ending) {
    const askedAt = env.now();
    let said;
    ({ ending, said } =
      holdS === undefined
        ? await ask(link, 'session', {}, SILENCE_MS)
        : await ask(link, 'session', { hold_s: holdS }, holdS * 1000 + ANSWER_WITHIN_MS));
    if (!ending && !said && link.heardAt - askedAt < 1000) {
      // Something answers without holding. Asking again at once would be a busy loop over the network.
      await sleep(1000);
      link.signal.throwIfAborted();
    }
  }
  return ending;
}

/**
 * Asks once, without waiting. Other transports find out by it why they were refused, where a browser does not
 * tell.
 * @param {import('./link.js').Link} link
 * @returns {Promise<Ending | undefined>} nothing when there is nothing against waiting.
 */
export const look = async (link) => (await ask(link, 'session')).ending;

/**
 * Asks, and takes in what the answer brings, as streams would bring it.
 * @param {import('./link.js').Link} link
 * @param {string} event what the answer is to the client: the connection opens by it, or it names the session
 * @param {Record<string, string | number>} [query] @param {number} [withinMs]
 * @returns {Promise<{ending?: Ending, said?: boolean}>}
 */
async function ask(link, event, query = { hold_s: 0 }, withinMs) {
  const answer = await link.json('GET', link.host.path('/v1/poll', query), withinMs);
  const { session, close_key, expiring, unsubscribed = [], gaps = [], messages = [], cursor, close } = answer;
  /** @type {Ending | void} */
  let ending;
  const take = (/** @type {string} */ event, /** @type {any[]} */ ...all) => {
    for (const one of all) if (one) ending = link.take({ ...one, event });
  };
  link.heard();
  take(event, { session, close_key });
  take('expiring', expiring);
  take('unsubscribed', ...unsubscribed);
  take('gap', ...gaps);
  if (messages.length) link.form.begin(answer);
  take('message', ...messages.map((/** @type {any} */ message) => link.form.read(message)));
  take('cursor', { cursor });
  take('close', close);
  link.signal.throwIfAborted();
  return /** @type {any} */ ({ ending, said: unsubscribed.length + gaps.length + messages.length });
}

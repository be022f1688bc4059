/** Long polls: one answer after the other. */
import { parseJson } from './link.js';

/**
 * A poll without an answer for this long is dead. Holds are 25 s by default, and proxies seldom allow more
 * than a minute.
 */
const SILENCE_MS = 60000;
/** A poll that is not held. */
const ANSWER_WITHIN_MS = 10000;

/** @param {import('./link.js').Link} link @returns {Promise<import('./link.js').Ending>} */
export async function receive(link) {
  const { env, holdS } = link.host;
  /** @type {Record<string, string>} */
  const held = holdS === undefined ? {} : { hold_s: String(holdS) };
  const silence = holdS === undefined ? SILENCE_MS : holdS * 1000 + 20000;
  // The first poll is not held, so that the session and the cursor are known at once.
  let answer = await ask(link, { hold_s: '0' }, ANSWER_WITHIN_MS);
  if (!link.stopped) link.opened(answer.session, null, answer.close_key);
  let ending = handOver(link, answer);
  while (!ending) {
    const askedAt = env.now();
    answer = await ask(link, held, silence);
    if (!link.stopped) link.host.renamed(answer.session, answer.close_key);
    ending = handOver(link, answer);
    const said = [answer.messages, answer.gaps, answer.unsubscribed].some((list) => list?.length);
    if (!ending && !said && link.heardAt - askedAt < 1000) {
      // Something answers without holding. Asking again at once would be a busy loop over the network.
      await link.host.sleep(1000);
      if (link.stopped) return { kind: 'final' };
    }
  }
  return ending;
}

/**
 * Asks once, without waiting. Other transports find out by it why they were refused, where a browser does not
 * tell.
 * @param {import('./link.js').Link} link
 * @returns {Promise<import('./link.js').Ending | null>} null when there is nothing against waiting.
 */
export async function look(link) {
  const answer = await ask(link, { hold_s: '0' }, ANSWER_WITHIN_MS);
  if (!link.stopped) link.host.renamed(answer.session, answer.close_key);
  return handOver(link, answer);
}

/** @param {import('./link.js').Link} link @param {Record<string, string>} query @param {number} withinMs */
async function ask(link, query, withinMs) {
  const answer = await link.within(withinMs, async () =>
    parseJson(await (await link.get(link.host.path('/v1/poll', query))).text()),
  );
  link.heard();
  return answer;
}

/** @param {import('./link.js').Link} link @param {any} answer @returns {import('./link.js').Ending | null} */
function handOver(link, { unsubscribed = [], gaps = [], messages = [], cursor, close }) {
  for (const told of unsubscribed) if (!link.stopped) link.host.unsubscribed(told);
  for (const gap of gaps) if (!link.stopped) link.host.gap(gap);
  for (const message of messages) if (!link.stopped) link.host.message(message);
  if (link.stopped) return { kind: 'final' };
  if (cursor) link.host.adopt(cursor);
  return close ? link.host.closed(close) : null;
}

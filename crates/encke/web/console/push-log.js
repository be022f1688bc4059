/** The latest pushes, by whomever, and what became of each. Not how they are shown. */
import { NAMED_MAX, isSettled, usersOf } from './receipts.js';
import { path } from './server.js';

/** Among how many pushes it is looked what one says. */
export const LISTED_MAX = 50;
/** How many are followed. */
const FOLLOWED_MAX = 20;
/**
 * Between two looks at a push to which nothing happens: longer and longer. The list tells of changes as well.
 */
const LOOK_MIN_MS = 600;
const LOOK_MAX_MS = 60_000;

/** @typedef {import('./receipts.js').Push & {dueAt: number, pauseMs: number, seen: string}} Followed */

/** Dispatches `change`. */
export class PushLog extends EventTarget {
  /** The latest first. @type {Followed[]} */
  pushes = [];
  #server;

  /** @param {import('./server.js').Server} server */
  constructor(server) {
    super();
    this.#server = server;
  }

  /**
   * Follows one that was sent just now.
   * @param {{ids: string[], accepted: number}} sent @param {string} text
   */
  add({ ids }, text) {
    const time = new Date().toISOString();
    this.#put(ids.map((id) => ({ id, text, time, totals: {}, dueAt: 0 })));
  }

  /** Reads the list of the server. */
  async load() {
    const { pushes } = await this.#server.get('/api/pushes', { limit: FOLLOWED_MAX });
    this.#put(pushes.map(ofServer));
  }

  /** Looks at the push that has waited longest for it. */
  async look() {
    const due = this.pushes.filter((push) => isFollowed(push) && push.dueAt <= Date.now());
    const push = due.reduce(
      (/** @type {any} */ first, one) => (first?.dueAt <= one.dueAt ? first : one),
      null,
    );
    if (!push) return;
    push.dueAt = Date.now() + LOOK_MAX_MS;
    const answer = await this.#server.get(path`/api/push/${push.id}`, { limit: 20 });
    push.totals = answer.totals;
    push.receipts = answer.receipts;
    const seen = JSON.stringify(push.totals);
    push.pauseMs = seen === push.seen ? Math.min(push.pauseMs * 1.5, LOOK_MAX_MS) : LOOK_MIN_MS;
    push.seen = seen;
    push.dueAt = Date.now() + push.pauseMs;
    this.#changed();
  }

  /** When the next look is due, in milliseconds from now. */
  get dueMs() {
    const times = this.pushes.filter(isFollowed).map((push) => push.dueAt);
    return Math.max(LOOK_MIN_MS, Math.min(...times, Date.now() + LOOK_MAX_MS) - Date.now());
  }

  /** Follows none of them any more. */
  clear() {
    this.pushes = [];
    this.#changed();
  }

  /** Has a push looked at at once. @param {string} id */
  again(id) {
    const push = this.pushes.find((one) => one.id === id);
    if (push) Object.assign(push, { dueAt: 0, pauseMs: LOOK_MIN_MS, seen: '' });
  }

  /** @param {any[]} given newer ones, or those that are there as they are now */
  #put(given) {
    const there = new Map(this.pushes.map((push) => [push.id, push]));
    for (const push of given) {
      const known = there.get(push.id);
      if (!known) {
        // Of many users the list says all that is shown.
        const dueAt = usersOf(push) > NAMED_MAX ? Infinity : 0;
        there.set(push.id, { receipts: [], dueAt, pauseMs: LOOK_MIN_MS, seen: '', ...push });
      } else if (usersOf(push) > 0 && JSON.stringify(push.totals) !== JSON.stringify(known.totals)) {
        known.totals = push.totals;
        if (usersOf(push) <= NAMED_MAX) known.dueAt = 0;
      }
    }
    this.pushes = [...there.values()]
      .sort((a, b) => (a.time < b.time ? 1 : a.time > b.time ? -1 : 0))
      .slice(0, FOLLOWED_MAX);
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event('change'));
  }
}

/** Whether there is more to be known of it. @param {Followed} push */
const isFollowed = (push) => !isSettled(push) || (push.receipts.length === 0 && usersOf(push) <= NAMED_MAX);

/** What pushes say, by id: of those that were listed last. @type {Map<string, string>} */
const texts = new Map();
const TEXTS_MAX = 1000;

/** What a push says, if it was listed. @param {string} id */
export const textOf = (id) => texts.get(id);

/** A push as the server lists it. @param {any} push @returns {import('./receipts.js').Push} */
export function ofServer({ id, time, url, data, cut, totals }) {
  const written = url ?? (typeof data === 'string' || data === undefined ? data : JSON.stringify(data));
  const text = cut ? `${written}…` : written;
  if (text !== undefined) {
    texts.set(id, text);
    if (texts.size > TEXTS_MAX) texts.delete(/** @type {string} */ (texts.keys().next().value));
  }
  return { id, time, text, totals, receipts: [] };
}

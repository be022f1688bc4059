/** How long to wait before coming back. */

/**
 * How long to wait before the next attempt: at once after the first failure, then doubling to at most 5 s,
 * and from the ninth on slowly to at most 30 s. Half of each pause is random, so that clients which lost the
 * same server do not come back in one wave.
 * @param {number} failures how many attempts have failed in a row, from 1
 * @param {() => number} random
 */
export function pauseMs(failures, random) {
  if (failures <= 1) return 0;
  const longest =
    failures <= 8
      ? Math.min(5000, 500 * 2 ** (failures - 2))
      : Math.min(30000, 5000 * 1.25 ** (failures - 8));
  return longest * (0.5 + 0.5 * random());
}

/** The longest pause that a server can ask for. */
const RETRY_MAX_MS = 300000;

/**
 * A pause that a server asked for, and up to a quarter more: never sooner than it said, and not all clients
 * that were told the same at the same moment.
 * @param {number} askedMs @param {() => number} random
 */
export function laterMs(askedMs, random) {
  return askedMs * (1 + 0.25 * random());
}

/**
 * How long to stay away after a close that is not for good. A server that stops says to each client when to
 * come back, so that they do not all do so together; one that does not say it sends all of them away at the
 * same moment all the same.
 * @param {unknown} askedMs @param {() => number} random
 */
export function closedMs(askedMs, random) {
  const asked = /** @type {number} */ (askedMs);
  return Number.isFinite(asked) && asked >= 0
    ? laterMs(Math.min(asked, RETRY_MAX_MS), random)
    : 500 + 4500 * random();
}

/**
 * @param {string | null} header seconds or a date
 * @param {number} now
 * @returns {number} milliseconds, 0 when there is nothing to honour
 */
export function retryAfterMs(header, now) {
  if (!header) return 0;
  const seconds = Number(header);
  const ms = seconds >= 0 ? seconds * 1000 : Date.parse(header) - now;
  return ms > 0 ? Math.min(ms, RETRY_MAX_MS) : 0;
}

/** What an error of a data connection means for the next one. */
import { laterMs } from './pauses.js';

/**
 * Other statuses of the 4xx say that this very request will never succeed; these say that this transport may
 * not be there, as do these codes of the client's own.
 */
const UNFIT = /^(404|405|406|415|501|no_open|not_a_stream)$/;

/** What a session is refused for because of the channels that it asks for. */
const OF_CHANNELS = /^(bad_name|channel_forbidden|channel_full|too_many_channels)$/;

/** Whether this is about the channels that were asked for, and not about the user. @param {string} code */
export const isOfChannels = (code) => OF_CHANNELS.test(code);

/**
 * @param {import('./error.js').EnckeError} error
 * @param {() => number} random
 * @returns {import('./link.js').Ending}
 */
export function endingOf(error, random) {
  const { code, status, message: reason } = error;
  if (code === 'anew') return { kind: 'pause' };
  // The connection that took the session over keeps it; this client goes on by its cursor in a session of its
  // own, where the two can not take it from each other for ever. Nothing is lost, and there is nothing to
  // tell.
  if (status === 409) return { kind: 'lost', afterMs: 250 + 750 * random() };
  if (status === 410) return { kind: 'final', code, reason };
  const kind = UNFIT.test(/** @type {any} */ (status || code)) ? 'unfit'
    : status >= 400 && !error.transient ? 'final' : 'lost';
  return { kind, code, reason, error, afterMs: laterMs(error.retryAfterMs, random) };
}

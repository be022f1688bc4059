/** What an error of a data connection means for the next one. */
import { laterMs } from './pauses.js';

/**
 * Other statuses of the 4xx say that this very request will never succeed; these say that this transport may
 * not be there.
 */
const TRANSPORT_MISSING = [404, 405, 406, 415, 501];

/** What a session is refused for because of the channels that it asks for. */
const OF_CHANNELS = ['bad_name', 'channel_forbidden', 'channel_full', 'too_many_channels'];

/** Whether this is about the channels that were asked for, and not about the user. @param {string} code */
export const isOfChannels = (code) => OF_CHANNELS.includes(code);

/**
 * @param {import('./error.js').EnckeError} error
 * @param {() => number} random
 * @returns {import('./link.js').Ending}
 */
export function endingOf(error, random) {
  const { code, status, message: reason } = error;
  if (code === 'anew') return { kind: 'pause' };
  if (code === 'no_open' || code === 'not_a_stream') return { kind: 'unfit', error };
  if (status === 401) return { kind: 'final', code, reason, error };
  if (status === 410) return { kind: 'final', code, reason };
  // The connection that took the session over keeps it; this client goes on by its cursor in a session of its
  // own, where the two can not take it from each other for ever. Nothing is lost, and there is nothing to
  // tell.
  if (status === 409) return { kind: 'lost', afterMs: 250 + 750 * random() };
  if (TRANSPORT_MISSING.includes(status)) return { kind: 'unfit', error };
  if (status >= 400 && !error.transient) return { kind: 'final', code, reason, error };
  return { kind: 'lost', error, afterMs: laterMs(error.retryAfterMs, random) };
}

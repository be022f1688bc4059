/** A message as it comes: whether it has a position, and how an application is told of it. */
import { failure } from './error.js';
import { safeUrl } from './pages.js';

/** @param {any} event */
export const hasPosition = ({ channel, offset, epoch }) =>
  typeof channel === 'string' && Number.isSafeInteger(offset) && typeof epoch === 'string';

/**
 * @param {any} event
 * @param {(type: string, ...values: unknown[]) => void} emit tells the application
 */
export function tellMessage({ event: _, ...message }, emit) {
  if (message.type === undefined) return; // It is of a kind that is not known, and only counts.
  if (message.type !== 'page') emit('message', message);
  else if (safeUrl(message.url) !== null) emit('page', message);
  else emit('error', failure('bad_url'));
}

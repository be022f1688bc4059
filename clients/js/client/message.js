/** A message as it comes: whether it has a position, and how an application is told of it. */
import { failure } from './error.js';
import { safeUrl } from './pages.js';

/** @param {any} event */
export const hasPosition = ({ channel, offset, epoch }) =>
  typeof channel === 'string' && Number.isSafeInteger(offset) && typeof epoch === 'string';

/**
 * @param {any} message
 * @param {(type: string, ...values: unknown[]) => void} tell tells the application
 */
export function tellMessage(message, tell) {
  const { type, url } = message;
  if (type === undefined) return; // It is of a kind that is not known, and only counts.
  if (type !== 'page') tell('message', message);
  else if (safeUrl(url)) tell('page', message);
  else tell('error', failure('bad_url'));
}

/** What the client rejects with and hands to `error` listeners. */
import { HELP } from './help.js';
import { textOf } from './texts.js';

/** `code` is one of the protocol's table, or one of the client's own. */
export class EnckeError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{status?: number, retryAfterMs?: number, cause?: unknown}} [more]
   */
  constructor(code, message, { status = 0, retryAfterMs = 0, cause } = {}) {
    super(message, cause === undefined ? cause : { cause });
    Object.assign(this, { name: 'EnckeError', code, status, retryAfterMs });
  }

  /** Whether the same request may succeed a little later. */
  get transient() {
    const { code, status } = /** @type {any} */ (this);
    return /^(408|425|429|5..|network|timeout)$/.test(status || code);
  }

  /** The address of the page that explains this. */
  get help() {
    return HELP;
  }
}

/** What a code of a text of its own is told as. @type {Record<string, string>} */
const TOLD_AS = { lost: 'network', no_answer: 'network', no_fresh_token: 'network', not_json: 'network' };

/**
 * An error of the client's own.
 * @param {string} text the name of its text, which is its code as well unless that is told as another
 * @param {unknown} [cause] @param {...string} about the addresses that it concerns
 */
export const failure = (text, cause, ...about) =>
  new EnckeError(TOLD_AS[text] ?? text, textOf(text, about), { cause });

/** What was thrown, which is the network's if it is none of these. @param {any} cause @returns {any} */
export const asError = (cause) =>
  cause instanceof EnckeError ? cause : failure('network', cause);

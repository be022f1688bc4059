/**
 * What the client rejects with and hands to `error` listeners. `code` is one of the protocol's table, or one
 * of the client's own.
 */
export class EnckeError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{status?: number, retryAfterMs?: number, cause?: unknown}} [more]
   */
  constructor(code, message, more = {}) {
    super(message, more.cause === undefined ? undefined : { cause: more.cause });
    this.name = 'EnckeError';
    this.code = code;
    this.status = more.status ?? 0;
    this.retryAfterMs = more.retryAfterMs ?? 0;
  }

  /** Whether the same request may succeed a little later. */
  get transient() {
    return this.status === 0
      ? this.code === 'network' || this.code === 'timeout'
      : [408, 425, 429].includes(this.status) || this.status >= 500;
  }
}

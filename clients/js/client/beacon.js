/** The beacon by which a page that goes away ends its session. */

export class Beacon {
  /** @type {string | null} */
  #session = null;
  /** What entitles a request without a token to end that session. @type {string | undefined} */
  #key;

  get key() {
    return this.#key;
  }

  /**
   * Takes note of the session that the server named, and of its key, if that came with it: a poll says it
   * once in a session.
   * @param {unknown} session @param {unknown} key
   * @returns {string | null} the session; null when it named none.
   */
  named(session, key) {
    if (typeof session !== 'string') return null;
    if (session !== this.#session) this.#key = undefined;
    this.#session = session;
    if (typeof key === 'string') this.#key = key;
    return session;
  }

  /** Ends the session. @param {any} env @param {string} base @param {string | null} session */
  send(env, base, session) {
    if (session === null) return;
    const key = session === this.#session ? this.#key : undefined;
    env.window.navigator?.sendBeacon?.(base + '/v1/close', JSON.stringify({ session, close_key: key }));
  }
}

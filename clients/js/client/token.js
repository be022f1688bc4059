/** The client's token: where it comes from, and what can be read of it without its key. */
import { bytesOf } from './base64.js';

export class Token {
  /** @type {string | null} */
  text;
  #source;
  /** @type {Promise<boolean> | null} */
  #coming = null;

  /** @param {{token?: string, getToken?: Function}} options */
  constructor({ token, getToken }) {
    this.text = token ?? null;
    this.#source = getToken;
  }

  /** Whether a fresh one can be asked for. */
  get hasSource() {
    return !!this.#source;
  }

  /** What it says. It is not verified here. @returns {Record<string, unknown>} */
  get #claims() {
    try {
      const [, payload] = /** @type {string} */ (this.text).split('.');
      return JSON.parse(new TextDecoder().decode(bytesOf(payload)));
    } catch {
      return {};
    }
  }

  /** The user that it names. @returns {string | null} */
  get subject() {
    const { sub } = this.#claims;
    return typeof sub === 'string' ? sub : null;
  }

  /** What it grants, as text: all but when it was made and when it ends. */
  get grants() {
    const { exp, iat, nbf, jti, ...grants } = this.#claims;
    return JSON.stringify(grants);
  }

  /**
   * Gets a fresh token, once for all who ask at the same time.
   * @returns {Promise<boolean>} whether there is one
   */
  fetch() {
    return (this.#coming ??= this.#ask().finally(() => (this.#coming = null)));
  }

  async #ask() {
    const token = await this.#source?.();
    if (token) this.text = token;
    return !!token;
  }
}

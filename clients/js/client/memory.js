/**
 * What a browser remembers: the cursor over reloads, where the application says so, and the place of this
 * device in its user's own channel, for all its pages. A browser may deny its storage, or have no room: then
 * nothing is remembered.
 */
import { formatCursor, isBehind, positionsIn } from './cursor.js';

const SAVE_EVERY_MS = 1000;

export class Memory {
  #env;
  #base;
  #options;
  #page;
  /** Calls off what is to be saved soon. @type {(() => void) | null} */
  #callOff = null;

  /**
   * @param {any} env @param {string} base the server's address
   * @param {import('../encke.d.ts').EnckeOptions} options
   * @param {{user: string | null, cursor: string | null}} page what there is to remember
   */
  constructor(env, base, options, page) {
    this.#env = env;
    this.#base = base;
    this.#options = options;
    this.#page = page;
  }

  /** The cursor of the last page. */
  get cursor() {
    return this.#kept('cursor');
  }

  /** The place of this device, as a cursor. */
  get place() {
    return this.#kept('place');
  }

  save() {
    this.#callOff?.();
    this.#callOff = null;
    this.#kept('cursor', this.#page.cursor);
    this.savePlace();
  }

  saveSoon() {
    if (this.#options.storage) this.#callOff ??= this.#env.after(SAVE_EVERY_MS, () => this.save());
  }

  /** Keeps how far the user's own channel has come. Another page of this browser may have come further. */
  savePlace() {
    const own = '@' + this.#page.user;
    const at = positionsIn(this.#page.cursor).get(own);
    if (at && isBehind(positionsIn(this.place).get(own), at)) this.#kept('place', formatCursor([[own, at]]));
  }

  /**
   * @param {'cursor' | 'place'} what @param {string | null} [cursor] keeps this
   * @returns {string | null | void} what is kept
   */
  #kept(what, cursor) {
    const { user } = this.#page;
    const { storage, device } = this.#options;
    try {
      const kept = what === 'cursor' ? storage : device === false ? null : this.#env.window?.localStorage;
      const key = ['encke.' + what, this.#base, user].join(' ');
      if (user !== null) return cursor ? kept?.setItem(key, cursor) : kept?.getItem(key);
    } catch {
      // Nothing is remembered.
    }
  }
}

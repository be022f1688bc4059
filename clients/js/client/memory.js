/**
 * What a browser remembers: the cursor over reloads, where the application says so, and the place of this
 * device in its user's own channel, for all its pages. A browser may deny its storage, or have no room: then
 * nothing is remembered.
 */
import { formatCursor, positionsIn } from './cursor.js';

const SAVE_EVERY_MS = 1000;

/** @typedef {Pick<Storage, 'getItem' | 'setItem'> | undefined} Kept */

export class Memory {
  #env;
  #base;
  #page;
  #cursors;
  #places;
  /** @type {any} */
  #timer = null;

  /**
   * @param {any} env @param {string} base the server's address
   * @param {import('../encke.d.ts').EnckeOptions} options
   * @param {() => {user: string | null, cursor: string | null}} page what there is to remember
   */
  constructor(env, base, { storage, device }, page) {
    this.#env = env;
    this.#base = base;
    this.#page = page;
    this.#cursors = /** @returns {Kept} */ () => storage;
    this.#places = /** @returns {Kept} */ () => (device === false ? undefined : env.window?.localStorage);
  }

  /** The cursor of the last page. */
  get cursor() {
    return this.#load('cursor', this.#cursors);
  }

  /** The place of this device, as a cursor. */
  get place() {
    return this.#load('place', this.#places);
  }

  save() {
    this.#env.clearTimeout(this.#timer);
    this.#timer = null;
    this.#save('cursor', this.#cursors, this.#page().cursor);
    this.savePlace();
  }

  saveSoon() {
    if (this.#cursors()) this.#timer ??= this.#env.setTimeout(() => this.save(), SAVE_EVERY_MS);
  }

  /** Keeps how far the user's own channel has come. Another page of this browser may have come further. */
  savePlace() {
    const { user, cursor } = this.#page();
    const own = '@' + user;
    const at = positionsIn(cursor).get(own);
    const kept = positionsIn(this.place).get(own);
    if (at && !(kept?.epoch === at.epoch && kept.offset >= at.offset))
      this.#save('place', this.#places, formatCursor([[own, at]]));
  }

  /** @param {string} what */
  #key(what) {
    return ['encke.' + what, this.#base, this.#page().user].join(' ');
  }

  /** @param {string} what @param {() => Kept} kept @returns {string | null} */
  #load(what, kept) {
    try {
      return this.#page().user === null ? null : (kept()?.getItem(this.#key(what)) ?? null);
    } catch {
      return null;
    }
  }

  /** @param {string} what @param {() => Kept} kept @param {string | null} cursor */
  #save(what, kept, cursor) {
    try {
      if (this.#page().user !== null && cursor !== null) kept()?.setItem(this.#key(what), cursor);
    } catch {
      // Nothing is remembered.
    }
  }
}

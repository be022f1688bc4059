/**
 * Whom an operator has chosen: users one by one, or all that match a search, with exceptions. Not how that is
 * shown.
 */
import { idsOf } from './user-pages.js';

/** Dispatches `change`. */
export class Selection extends EventTarget {
  /** Those that were ticked; of a rule, those that were left out. @type {Set<string>} */
  #ids = new Set();
  /** @type {{q: string, online: boolean} | null} */
  #rule = null;
  #total = 0;

  /** @param {{id: string, online: boolean}} user */
  has({ id, online }) {
    if (!this.#rule) return this.#ids.has(id);
    return matches(this.#rule, id, online) && !this.#ids.has(id);
  }

  /** @param {{id: string, online: boolean}} user @param {boolean} isChosen */
  set(user, isChosen) {
    // Who does not match a rule can only be ticked without it.
    if (this.#rule && !matches(this.#rule, user.id, user.online)) this.clear();
    if (isChosen === (this.#rule === null)) this.#ids.add(user.id);
    else this.#ids.delete(user.id);
    this.#changed();
  }

  /** These, and no others. @param {string[]} ids */
  only(ids) {
    this.#rule = null;
    this.#ids = new Set(ids);
    this.#changed();
  }

  /**
   * All that match.
   * @param {{q: string, online: boolean}} rule @param {number} total how many that are now
   */
  all(rule, total) {
    this.#rule = { ...rule };
    this.#ids.clear();
    this.#total = total;
    this.#changed();
  }

  clear() {
    this.only([]);
  }

  /** How many match the rule by now. @param {{q: string, online: boolean}} rule @param {number} total */
  recount(rule, total) {
    const isSame = this.#rule && rule.q === this.#rule.q && rule.online === this.#rule.online;
    if (!isSame || total === this.#total) return;
    this.#total = total;
    this.#changed();
  }

  get isByRule() {
    return this.#rule !== null;
  }

  get count() {
    return this.#rule ? Math.max(0, this.#total - this.#ids.size) : this.#ids.size;
  }

  /** The rule in words, or the names. */
  get description() {
    if (!this.#rule) return '';
    const { q, online } = this.#rule;
    const who = `${online ? 'all who are online' : 'all'}${q ? ` with “${q}” in the name` : ''}`;
    return this.#ids.size ? `${who}, but for ${this.#ids.size}` : who;
  }

  /** What was chosen, as one text: the same as long as no choice is made. */
  get choice() {
    return JSON.stringify([this.#rule, [...this.#ids].sort()]);
  }

  /**
   * Whom a push to the selection is for.
   * @param {import('./server.js').Server} server
   * @returns {Promise<'all' | 'online' | string[]>}
   */
  async target(server) {
    const ids = new Set(this.#ids);
    if (!this.#rule) return [...ids];
    if (this.#rule.q === '' && this.#ids.size === 0) return this.#rule.online ? 'online' : 'all';
    return (await idsOf(server, this.#rule)).filter((id) => !ids.has(id));
  }

  #changed() {
    this.dispatchEvent(new Event('change'));
  }
}

/**
 * As the server decides it.
 * @param {{q: string, online: boolean}} rule @param {string} id @param {boolean} online
 */
const matches = (rule, id, online) => id.includes(rule.q) && (online || !rule.online);

/**
 * What took many requests to find out, kept for a while, so that it is not found out again with each refresh.
 * Not how it is found out.
 */

/** @template T */
export class Kept {
  /** By what was asked, the oldest first. @type {Map<string, {value: Promise<T>, until: number}>} */
  #all = new Map();
  #max;

  /** @param {number} max how many are kept */
  constructor(max) {
    this.#max = max;
  }

  /**
   * Gives what is kept under a key, or finds it out. Callers that ask meanwhile wait for the same.
   * @param {string} key
   * @param {() => Promise<{value: T, lastsMs: number}>} findOut what it is, and how long it is taken for true
   * @returns {Promise<T>}
   */
  get(key, findOut) {
    const kept = this.#all.get(key);
    if (kept && Date.now() < kept.until) return kept.value;
    const found = findOut();
    const entry = { value: found.then(({ value }) => value), until: Infinity };
    this.#put(key, entry);
    found.then(
      ({ lastsMs }) => (entry.until = Date.now() + lastsMs),
      () => (entry.until = 0),
    );
    return entry.value;
  }

  /** What was found out before an operator changed something is not taken for true any more. */
  clear() {
    this.#all.clear();
  }

  /** @param {string} key @param {{value: Promise<T>, until: number}} entry */
  #put(key, entry) {
    this.#all.delete(key);
    this.#all.set(key, entry);
    const [oldest] = this.#all.keys();
    if (this.#all.size > this.#max) this.#all.delete(oldest);
  }
}

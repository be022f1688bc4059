/** The application's listeners, and the order in which they are told. */

export class Listeners {
  /** @type {Map<string, Set<Function>>} */
  #byType = new Map();
  /** What is still to be told. @type {Array<{type: string, values: unknown[]}>} */
  #queue = [];
  #telling = false;

  /**
   * @param {string} type @param {Function} listener
   * @returns {() => void} takes the listener away again.
   */
  add(type, listener) {
    let set = this.#byType.get(type);
    if (!set) this.#byType.set(type, (set = new Set()));
    set.add(listener);
    return () => void set.delete(listener);
  }

  /**
   * Tells all listeners of this type. What happens because a listener called the client is told behind it:
   * every listener hears of everything in the order in which it happened, whatever another does on hearing of
   * it.
   * @param {string} type @param {...unknown} values
   */
  tell(type, ...values) {
    this.#queue.push({ type, values });
    if (this.#telling) return;
    this.#telling = true;
    for (let next = this.#queue.shift(); next; next = this.#queue.shift())
      this.#tellAll(next.type, next.values);
    this.#telling = false;
  }

  /** @param {string} type @param {unknown[]} values */
  #tellAll(type, values) {
    for (const listener of [...(this.#byType.get(type) ?? [])]) {
      try {
        listener(...values);
      } catch (error) {
        report(error);
      }
    }
  }
}

/**
 * A mistake in one listener must not cost the others their message, nor the client its connection.
 * @param {unknown} error
 */
function report(error) {
  try {
    if (typeof globalThis.reportError === 'function') globalThis.reportError(error);
    else console.error(error);
  } catch {
    // Nor must a mistake in what is told of mistakes.
  }
}

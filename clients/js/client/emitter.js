/** What tells the application: an EventTarget whose listeners may also be given the value alone. */

export class Emitter extends EventTarget {
  /** Whether each listener is told once only. @type {Map<string, Map<Function, boolean>>} */
  #byType = new Map();
  /** What is still to be told. @type {Array<{type: string, values: unknown[]}>} */
  #queue = [];
  #telling = false;

  /**
   * @param {string} type @param {Function} listener
   * @param {{signal?: AbortSignal, once?: boolean}} [options] as of `addEventListener`
   * @returns {() => void} takes the listener away again.
   */
  on(type, listener, { signal, once = false } = {}) {
    const off = () => this.off(type, listener);
    if (signal?.aborted) return off;
    signal?.addEventListener('abort', off, { once: true });
    let ofType = this.#byType.get(type);
    if (!ofType) this.#byType.set(type, (ofType = new Map()));
    ofType.set(listener, once);
    return off;
  }

  /**
   * The same for one time.
   * @param {string} type @param {Function} listener @param {{signal?: AbortSignal}} [options]
   */
  once(type, listener, options) {
    return this.on(type, listener, { ...options, once: true });
  }

  /** @param {string} type @param {Function} listener */
  off(type, listener) {
    this.#byType.get(type)?.delete(listener);
  }

  /**
   * Tells all listeners of this type: those of `on` get the values, those of `addEventListener` an event with
   * the first of them as its `detail`. What happens because a listener called the client is told behind it:
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
    for (const [listener, once] of [...(this.#byType.get(type) ?? [])]) {
      if (once) this.off(type, listener);
      try {
        listener(...values);
      } catch (error) {
        report(error);
      }
    }
    this.dispatchEvent(new CustomEvent(type, { detail: values[0] }));
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

/** What tells the application: an EventTarget whose listeners may also be given the value alone. */

/** Before the type of an event that has all values as its `detail`. Listeners of `on` hear it first. */
const ON = 'on ';

export class Emitter extends EventTarget {
  /** What hears for the listeners of `on`, by their types. @type {WeakMap<Function, Record<string, any>>} */
  #heard = new WeakMap();
  /** What is still to be told. @type {Array<[type: string, values: unknown[]]>} */
  #queue = [];

  /**
   * @param {string} type @param {Function} listener
   * @param {{signal?: AbortSignal, once?: boolean}} [options] as of `addEventListener`
   * @returns {() => void} takes the listener away again.
   */
  on(type, listener, options) {
    const off = () => this.off(type, listener);
    off();
    const heard = (/** @type {any} */ { detail }) => {
      try {
        listener(...detail);
      } catch (error) {
        report(error);
      }
    };
    this.#heard.set(listener, { ...this.#heard.get(listener), [type]: heard });
    this.addEventListener(ON + type, heard, options);
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
    this.removeEventListener(ON + type, this.#heard.get(listener)?.[type] ?? null);
  }

  /**
   * Tells all listeners of this type: those of `on` get the values, those of `addEventListener` an event with
   * the first of them as its `detail`. What happens because a listener called the client is told behind it:
   * every listener hears of everything in the order in which it happened, whatever another does on hearing of
   * it.
   * @param {string} type @param {...unknown} values
   */
  tell(type, ...values) {
    // The first of the queue is what is being told.
    if (this.#queue.push([type, values]) > 1) return;
    for (; this.#queue.length; this.#queue.shift()) {
      const [type, values] = this.#queue[0];
      this.dispatchEvent(new CustomEvent(ON + type, { detail: values }));
      this.dispatchEvent(new CustomEvent(type, { detail: values[0] }));
    }
  }
}

/**
 * A mistake in one listener must not cost the others their message, nor the client its connection.
 * @param {unknown} error
 */
function report(error) {
  try {
    (globalThis.reportError ?? console.error)(error);
  } catch {
    // Nor must a mistake in what is told of mistakes.
  }
}

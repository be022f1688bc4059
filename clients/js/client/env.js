/** What a client needs of its surroundings: time, chance, the network and the page. */

/**
 * They may come from outside, so that tests need neither sleep nor luck.
 * @param {any} given what takes the place of the browser's own
 */
export const environment = (given) => {
  const env = {
    fetch: (/** @type {Parameters<typeof fetch>} */ ...asked) => fetch(...asked),
    setTimeout: (/** @type {() => void} */ then, /** @type {number} */ ms) => setTimeout(then, ms),
    clearTimeout: (/** @type {any} */ timer) => clearTimeout(timer),
    now: () => Date.now(),
    random: Math.random,
    WebSocket: globalThis.WebSocket,
    window: globalThis.window,
    ...given,
    /** Does something later. It returns what calls that off. */
    after: (/** @type {number} */ ms, /** @type {() => void} */ then) => {
      const timer = env.setTimeout(then, ms);
      return () => env.clearTimeout(timer);
    },
  };
  return env;
};

/** What a client needs of its surroundings: time, chance, the network and the page. */

/**
 * They may come from outside, so that tests need neither sleep nor luck.
 * @param {any} given what takes the place of the browser's own
 */
export const environment = (given) => ({
  fetch: (/** @type {Parameters<typeof fetch>} */ ...asked) => fetch(...asked),
  setTimeout: (/** @type {() => void} */ then, /** @type {number} */ ms) => setTimeout(then, ms),
  clearTimeout: (/** @type {any} */ timer) => clearTimeout(timer),
  timeout: (/** @type {number} */ ms) => AbortSignal.timeout(ms),
  now: () => Date.now(),
  random: Math.random,
  WebSocket: globalThis.WebSocket,
  window: globalThis.window,
  ...given,
});

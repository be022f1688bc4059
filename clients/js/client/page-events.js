/** What a page tells of itself: that it goes, that it comes back, that it is looked at, that it is online. */

/**
 * @param {any} window undefined outside of pages
 * @param {Record<string, (event: any) => void>} listeners by the types of events
 * @returns {AbortController} takes the listeners away again.
 */
export function listenToPage(window, listeners) {
  const listening = new AbortController();
  for (const [type, listener] of Object.entries(listeners)) {
    const target = type === 'visibilitychange' ? window?.document : window;
    target?.addEventListener?.(type, listener, listening);
  }
  return listening;
}

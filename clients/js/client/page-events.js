/** What a page tells of itself: that it goes, that it comes back, that it is looked at, that it is online. */

/**
 * @param {any} window undefined outside of pages
 * @param {{online: () => void, hide: () => void, show: (event: any) => void, visible: () => void}} listeners
 * @returns {AbortController} takes the listeners away again.
 */
export function listenToPage(window, { online, hide, show, visible }) {
  const listening = new AbortController();
  const document = window?.document;
  const changed = () => document.visibilityState === 'visible' && visible();
  for (const [target, type, listener] of [
    [window, 'online', online],
    [window, 'pagehide', hide],
    [window, 'pageshow', show],
    [document, 'visibilitychange', changed],
  ])
    target?.addEventListener?.(type, listener, listening);
  return listening;
}

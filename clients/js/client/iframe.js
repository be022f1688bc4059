/**
 * The forever frame, for networks that let nothing else through: a hidden frame with a document that never
 * ends, whose scripts hand its events to this page. What is asked goes by requests of their own, as with
 * every transport but WebSocket. It is loaded when an application asks for it, by clients that may be another
 * build: it imports nothing, and all that it uses is handed to it.
 */

/**
 * A frame that begins while the page still loads would keep the page from being loaded; a page that does not
 * finish by then has to bear it.
 */
const PAGE_LOADS_WITHIN_MS = 10000;
/**
 * A frame tells in one way that it has ended and in another what its last events are, and a browser may hand
 * on the one before the other.
 */
const LAST_EVENTS_WITHIN_MS = 250;

/** @param {import('./link.js').Link} link @returns {Promise<import('./link.js').Ending>} */
export async function receive(link) {
  const { env } = link.host;
  const { window } = env;
  const origin = window?.location?.origin;
  // A page without an origin of its own (a file, a sandbox) can be told from no other, so the server hands it
  // nothing. That of an app or an extension has a scheme of its own.
  if (!window?.document || !/^[a-z][a-z0-9+.-]*:\/\/./i.test(origin ?? '') || /^file:/i.test(origin))
    throw link.failure('no_open');
  await loaded(env);
  if (link.stopped) return { kind: 'final' };
  const address = await link.withTicket('/v1/stream', { as: 'iframe', origin });
  if (link.stopped) return { kind: 'final' };
  const frame = hidden(window.document, address.href);
  const unguard = link.guard();
  const listening = new AbortController();
  /** @type {any} */
  let ends;
  try {
    return await link.until((take, gone) => {
      /** @param {MessageEvent} message */
      const listener = ({ data, origin, source }) => {
        // Any window may send this page a message; only this frame, and only while it shows the server's
        // document, is listened to.
        if (source === null || source !== frame.contentWindow || origin !== address.origin) return;
        take(() => {
          if (data !== null && typeof data === 'object') return data;
          throw link.failure('network');
        });
      };
      window.addEventListener('message', listener, { signal: listening.signal });
      // A document that is loaded has ended, or was none of the server's: a browser does not tell which.
      const ended = () => (ends = env.setTimeout(gone, LAST_EVENTS_WITHIN_MS));
      frame.addEventListener('load', ended, { once: true });
      (window.document.body ?? window.document.documentElement).append(frame);
    });
  } finally {
    unguard();
    env.clearTimeout(ends);
    listening.abort();
    frame.remove();
  }
}

/** @param {Document} document @param {string} address */
function hidden(document, address) {
  const frame = document.createElement('iframe');
  frame.hidden = true;
  frame.setAttribute('title', 'Encke');
  frame.setAttribute('aria-hidden', 'true');
  // It needs its own origin, by which it is known, and its scripts. It is never to leave the frame.
  frame.setAttribute('sandbox', 'allow-scripts allow-same-origin');
  frame.setAttribute('src', address);
  return frame;
}

/**
 * Waits until the page is loaded, and a turn longer, so that its own `load` listeners come first.
 * @param {any} env
 * @returns {Promise<void>}
 */
function loaded({ window, setTimeout, clearTimeout }) {
  if (window.document.readyState === 'complete') return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      window.removeEventListener('load', soon);
      resolve();
    };
    const soon = () => setTimeout(done, 0);
    const timer = setTimeout(done, PAGE_LOADS_WITHIN_MS);
    window.addEventListener('load', soon);
  });
}

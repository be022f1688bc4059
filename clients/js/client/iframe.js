/**
 * The forever frame, for networks that let nothing else through: a hidden frame with a document that never
 * ends, whose scripts hand its events to this page. What is asked goes by requests of their own, as with
 * every transport but WebSocket.
 */
import { EnckeError } from './error.js';
import { withTicket } from './ticket.js';

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
    throw new EnckeError('no_open', 'a forever frame needs a page with an origin');
  await loaded(env);
  if (link.stopped) return { kind: 'final' };
  const address = await withTicket(link, '/v1/stream', { as: 'iframe', origin });
  if (link.stopped) return { kind: 'final' };
  const frame = window.document.createElement('iframe');
  frame.hidden = true;
  frame.setAttribute('title', 'Encke');
  frame.setAttribute('aria-hidden', 'true');
  // It needs its own origin, by which it is known, and its scripts. It is never to leave the frame.
  frame.setAttribute('sandbox', 'allow-scripts allow-same-origin');
  frame.setAttribute('src', address.href);
  const unguard = link.guard();
  /** @type {(event: MessageEvent) => void} */
  let listener = () => {};
  /** @type {any} */
  let ends;
  try {
    return await new Promise((resolve, reject) => {
      link.signal.addEventListener('abort', () => reject(link.signal.reason), { once: true });
      listener = ({ data, origin, source }) => {
        // Any window may send this page a message; only this frame, and only while it shows the server's
        // document, is listened to.
        if (
          source === null ||
          source !== frame.contentWindow ||
          origin !== address.origin ||
          link.stopped ||
          link.signal.aborted
        )
          return;
        link.heard();
        try {
          if (data === null || typeof data !== 'object')
            throw new EnckeError('network', 'the frame sent something that is no event');
          const ending = link.take(data);
          if (ending) resolve(ending);
        } catch (error) {
          reject(error);
        }
      };
      window.addEventListener('message', listener);
      // A document that is loaded has ended, or was none of the server's: a browser does not tell which.
      frame.addEventListener('load', () => {
        ends = env.setTimeout(
          () =>
            link.openedAt
              ? resolve({ kind: 'lost' })
              : reject(new EnckeError('no_open', 'the frame did not open')),
          LAST_EVENTS_WITHIN_MS,
        );
      }, { once: true });
      (window.document.body ?? window.document.documentElement).append(frame);
    });
  } finally {
    unguard();
    env.clearTimeout(ends);
    window.removeEventListener('message', listener);
    frame.remove();
  }
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

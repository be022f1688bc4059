/** Showing what was pushed: pages, in frames that can not reach out. */
import { failure } from './error.js';

/**
 * Checks the address of a page. What comes back is the parsed, normal form, so that what was checked is what
 * is used; null means: do not show it. An address has to be absolute. Browsers strip tabs, newlines and
 * leading control characters, by which `java\nscript:` hides from naive checks; no honest sender needs them,
 * so they are refused outright.
 * @param {unknown} url
 * @returns {string | null}
 */
export function safeUrl(url) {
  try {
    const { protocol, host, href } = new URL(/** @type {any} */ (url));
    if (typeof url === 'string' && !/[\0- \x7f-\x9f]/.test(url) && /^https?:$/.test(protocol) && host)
      return href;
  } catch {
    // It is no address.
  }
  return null;
}

/** The page that each container is still waiting for. @type {WeakMap<Element, () => void>} */
const loading = new WeakMap();

/**
 * Shows a pushed page in a sandboxed frame, which takes the place of whatever the container holds. A page for
 * a window of its own (`show` is `window`) is offered by a link there: browsers open windows for users only.
 *
 * The frame may run scripts, send forms and open windows; it can not navigate this page. A page of another
 * origin also gets `allow-same-origin`, which means that it keeps its own origin, and with it its cookies and
 * storage; to this page it stays a stranger. A page of this very origin does not get it: with scripts it
 * could reach into this page and take its own sandbox off. Note that a foreign address which redirects to
 * this origin would get round that, so an application whose origin serves what strangers wrote should pass
 * its own `sandbox`.
 *
 * A browser tells that a frame has finished loading, and not what is in it: a page that forbids frames, an
 * error page and a dead port load all the same. So a page counts as shown when it says so itself, by
 * `parent.postMessage({ encke: 'shown' }, '*')`, or when the application takes its loading for that; and
 * when the user follows the link.
 *
 * @param {HTMLElement} container
 * @param {{url?: unknown, show?: string, id?: string, channel?: string, offset?: number, epoch?: string,
 * title?: string}} message
 * @param {{client?: import('../encke.js').Encke, shown?: 'told' | 'loaded', link?: string, sandbox?: string,
 * title?: string}} [options] with `client`, the page is acknowledged once it is shown and the tab is visible;
 * `shown` says by what it is; `link` is the text of a link to the page, for those that forbid frames
 * @returns {Promise<HTMLIFrameElement | null>} the frame when it has loaded; null when another page took its
 * place before that, and for a page that has none.
 */
export async function showPage(container, message, options = {}) {
  const src = safeUrl(message.url);
  if (!src) throw failure('bad_url');
  loading.get(container)?.();
  const { origin, host } = new URL(src);
  const document = container.ownerDocument;
  const foreign = origin !== document.defaultView?.location.origin;
  // An address that differs only in its fragment would not load anew in a frame that is used again, hence a
  // new frame each time.
  const frame = Object.assign(document.createElement('iframe'), {
    sandbox:
      options.sandbox ?? 'allow-scripts allow-forms allow-popups' + (foreign ? ' allow-same-origin' : ''),
    referrerPolicy: 'no-referrer',
    title: options.title ?? 'Page from ' + host,
    src,
  });
  const link = Object.assign(document.createElement('a'), {
    href: src, target: '_blank', rel: 'noopener noreferrer',
    textContent: options.link ?? 'Open the page from ' + host,
    // Who follows it has the page in a window of its own.
    onclick: () => shown(),
  });
  const inWindow = message.show === 'window';
  const content = inWindow ? link : frame;
  let shown = () => {
    shown = () => {};
    // A failed acknowledgement has been told to the client's `error` listeners already.
    whenVisible(document, () => content.isConnected && options.client?.shown(message).catch(() => {}));
  };
  if (inWindow) {
    container.replaceChildren(link);
    return null;
  }
  listen(frame, () => shown());
  return new Promise((resolve) => {
    loading.set(container, () => resolve(null));
    frame.addEventListener('load', () => {
      loading.delete(container);
      resolve(frame);
      if (options.shown === 'loaded') shown();
    }, { once: true });
    container.replaceChildren(frame);
    if (options.link) container.append(link);
  });
}

/**
 * Waits for the page in a frame to say that it is shown. Any window may send this page a message; only what
 * this frame holds is listened to, as long as it is on the page.
 * @param {HTMLIFrameElement} frame @param {() => void} shown
 */
function listen(frame, shown) {
  const window = frame.ownerDocument.defaultView;
  const listener = (/** @type {MessageEvent} */ { source, data }) => {
    // A frame that another took the place of has no window any more.
    if (!frame.isConnected) window?.removeEventListener('message', listener);
    else if (source === frame.contentWindow && data?.encke === 'shown') shown();
  };
  window?.addEventListener('message', listener);
}

/**
 * A page that loaded in a hidden tab was not seen by the user yet. @param {Document} document @param {() =>
 * void} then
 */
function whenVisible(document, then) {
  const check = () => {
    if (document.visibilityState === 'hidden') return;
    document.removeEventListener('visibilitychange', check);
    then();
  };
  document.addEventListener('visibilitychange', check);
  check();
}

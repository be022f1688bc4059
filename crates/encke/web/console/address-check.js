/** What the server says of the address of a page, as one types it. Not whether it may be pushed. */
import { safeUrl } from '../../client.js';
import { afterTyping, at, setText } from './dom.js';

/** How long nothing is typed before it is asked. */
const PAUSE_MS = 800;

/** @type {Record<string, string>} */
const PROBLEMS = {
  not_public: 'The server does not look at addresses that are not public.',
  timeout: 'The page does not answer the server in time.',
  unreachable: 'The server does not reach this page.',
  too_many_redirects: 'This page leads on and on.',
  bad_redirect: 'This page leads to what is no page.',
};

export class AddressCheck {
  #server;
  /** Whether the server does this, with this key. */
  #isOff = false;
  #asked = '';

  /** @param {import('./server.js').Server} server */
  constructor(server) {
    this.#server = server;
    const field = at('push-url');
    field.addEventListener('input', () => this.#say('', ''));
    field.addEventListener('input', afterTyping(PAUSE_MS, () => this.#check(safeUrl(field.value.trim()))));
  }

  /** Asks anew: another operator may be here. */
  reset() {
    this.#isOff = false;
    this.#say('', '');
  }

  /** @param {string | null} url */
  async #check(url) {
    if (url === null || this.#isOff) return;
    this.#asked = url;
    try {
      const checked = await this.#server.post('/api/check-url', { url });
      // Another may be typed by now.
      if (this.#asked === url) this.#tell(checked);
    } catch (error) {
      // What is not allowed is not asked for again; all else is told when it is pushed.
      if (/** @type {any} */ (error).status === 403 || /** @type {any} */ (error).status === 404)
        this.#isOff = /** @type {any} */ (error).code !== 'url_not_allowed';
    }
  }

  /** @param {any} checked */
  #tell({ reached, problem, status, frames, url }) {
    if (!reached) return this.#say('bad', PROBLEMS[problem] ?? 'The server does not reach this page.');
    if (status >= 400) return this.#say('bad', `The page answers ${status}.`);
    if (frames === 'none') return this.#say('bad', 'This page forbids frames: offer a link to it.');
    if (frames === 'some')
      return this.#say('bad', 'This page allows frames only on pages that it names: others need a link to it.');
    const elsewhere = new URL(url).host === new URL(this.#asked).host ? '' : `, at ${new URL(url).host}`;
    this.#say('good', `The page answers ${status}, and may stand in a frame${elsewhere}.`);
  }

  /** @param {string} kind @param {string} text */
  #say(kind, text) {
    if (text === '') this.#asked = '';
    at('url-check').dataset.kind = kind;
    setText(at('url-check'), text);
  }
}

/** One push: what it says, its totals, and its receipts by name, in pages and by state. */
import { at, problem, setText } from './dom.js';
import { number } from './format.js';
import { LISTED_MAX, ofServer, textOf } from './push-log.js';
import { STATES, cancel, showNames, showTotals, usersOf, what } from './receipts.js';
import { path } from './server.js';

const EVERY_MS = 2000;
const PAGE_SIZE = 50;

export class OnePush {
  #server;
  #pace;
  #id = '';
  #state = '';
  /** The `after` of each page so far, the one that is shown last. */
  #pages = [''];
  #next = '';
  /** @type {any} */
  #task = null;
  /** @type {Record<string, number>} */
  #totals = {};

  /** @param {import('./server.js').Server} server @param {import('./pace.js').Pace} pace */
  constructor(server, pace) {
    this.#server = server;
    this.#pace = pace;
    at('one-push-next').addEventListener('click', () => this.#turn(() => this.#pages.push(this.#next)));
    at('one-push-back').addEventListener('click', () => this.#turn(() => this.#pages.pop()));
    at('one-push-states').addEventListener('change', () => {
      this.#state = at('one-push-states').elements.state.value;
      this.#turn(() => (this.#pages = ['']));
    });
    at('one-push-cancel').addEventListener('click', () => this.#cancel());
  }

  /** @param {string} id */
  show(id) {
    this.#id = id;
    this.#pages = [''];
    this.#state = '';
    this.#totals = {};
    at('one-push-cancel').hidden = true;
    at('one-push-states').elements.state.value = '';
    at('one-push-what').replaceChildren(id);
    at('one-push-names').replaceChildren();
    problem('one-push-error');
    if (!textOf(id)) this.#findText(id);
    this.#task = this.#pace.every(
      EVERY_MS,
      () => this.#refresh(),
      (error) => problem('one-push-error', error.message),
    );
  }

  hide() {
    this.#task?.stop();
  }

  /** Looks what the push says, which its receipts do not tell. @param {string} id */
  async #findText(id) {
    try {
      const { pushes } = await this.#server.get('/api/pushes', { limit: LISTED_MAX });
      pushes.forEach(ofServer);
      this.#showText(id);
    } catch {
      // What is shown of it otherwise says why.
    }
  }

  /** @param {string} id */
  #showText(id) {
    const text = textOf(id);
    if (id === this.#id && text && at('one-push-what').textContent !== text)
      at('one-push-what').replaceChildren(what(text, ''));
  }

  /** @param {() => void} change */
  #turn(change) {
    change();
    this.#refresh().catch((error) => problem('one-push-error', error.message));
  }

  async #refresh() {
    const [id, state, after] = [this.#id, this.#state, this.#pages.at(-1)];
    const answer = await this.#server.get(path`/api/push/${id}`, { limit: PAGE_SIZE, after, state });
    if (id !== this.#id || state !== this.#state || after !== this.#pages.at(-1)) return;
    this.#totals = answer.totals;
    this.#next = answer.next ?? '';
    problem('one-push-error');
    this.#draw(answer);
  }

  /** @param {any} answer */
  #draw(answer) {
    const push = ofServer(answer);
    this.#showText(this.#id);
    showTotals(at('view-pushes-one'), push);
    for (const state of STATES) {
      const label = at('one-push-states').querySelector(`[value="${state}"]`).closest('label');
      setText(label.querySelector('b'), number(this.#totals[state] ?? 0));
    }
    setText(at('one-push-all'), number(usersOf(push)));
    showNames(at('one-push-names'), answer.receipts);
    at('one-push-none').hidden = answer.receipts.length > 0;
    at('one-push-back').disabled = this.#pages.length === 1;
    at('one-push-next').disabled = this.#next === '';
    at('one-push-paging').hidden = this.#pages.length === 1 && this.#next === '';
    at('one-push-cancel').hidden = !this.#totals.queued;
  }

  async #cancel() {
    try {
      if (await cancel(this.#server, this.#id, this.#totals.queued)) this.#task?.soon();
    } catch (error) {
      problem('one-push-error', /** @type {Error} */ (error).message);
    }
  }
}

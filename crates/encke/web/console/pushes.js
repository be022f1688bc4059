/** The history of pushes, by whomever, as the server keeps it. Not one of them by name. */
import { at, keep, make, problem, setText } from './dom.js';
import { moment, number } from './format.js';
import { placeOf } from './places.js';
import { ofServer } from './push-log.js';
import { showTotals, totalsElements, usersOf, what } from './receipts.js';

const EVERY_MS = 5000;
const PAGE_SIZE = 20;

export class Pushes {
  #server;
  #pace;
  /** The newest page, which is asked for again and again. @type {any[]} */
  #newest = [];
  /** What was loaded behind it. @type {any[]} */
  #older = [];
  #next = '';
  /** @type {any} */
  #task = null;

  /** @param {import('./server.js').Server} server @param {import('./pace.js').Pace} pace */
  constructor(server, pace) {
    this.#server = server;
    this.#pace = pace;
    at('pushes-more').addEventListener('click', () => this.#more());
  }

  show() {
    this.#task = this.#pace.every(
      EVERY_MS,
      () => this.#refresh(),
      (error) => problem('pushes-error', error.message),
    );
  }

  hide() {
    this.#task?.stop();
  }

  async #refresh() {
    const answer = await this.#server.get('/api/pushes', { limit: PAGE_SIZE });
    if (this.#older.length === 0) this.#next = answer.next ?? '';
    // What the newest page does not hold any more is older.
    const ids = new Set(answer.pushes.map((/** @type {any} */ push) => push.id));
    const left = this.#older.length ? this.#newest.filter(({ id }) => !ids.has(id)) : [];
    this.#older = [...left, ...this.#older.filter(({ id }) => !ids.has(id))];
    this.#newest = answer.pushes.map(ofServer);
    problem('pushes-error');
    this.#draw();
  }

  async #more() {
    at('pushes-more').disabled = true;
    try {
      const answer = await this.#server.get('/api/pushes', { limit: PAGE_SIZE, after: this.#next });
      this.#older.push(...answer.pushes.map(ofServer));
      this.#next = answer.next ?? '';
      this.#draw();
    } catch (error) {
      problem('pushes-error', /** @type {Error} */ (error).message);
    }
    at('pushes-more').disabled = false;
  }

  #draw() {
    const all = [...this.#newest, ...this.#older];
    at('pushes-empty').hidden = all.length > 0;
    at('pushes-more').hidden = this.#next === '';
    keep(at('pushes'), all, ({ id }) => id, create, update);
  }
}

/** @param {any} push */
const create = (push) =>
  make(
    'li',
    { class: 'push-row', 'data-push': push.id },
    make('div', { class: 'what' }, what(push.text), make('time', { class: 'quiet' }, moment(push.time))),
    make('div', { class: 'became' }, ...totalsElements()),
    make('a', { class: 'button', href: placeOf('pushes', push.id) }),
  );

/** @param {any} row @param {any} push */
function update(row, push) {
  showTotals(row, push);
  setText(row.querySelector('a.button'), `Receipts of ${number(usersOf(push))}`);
}

/** The list of channels. Not one channel in detail. */
import { at, afterTyping, keep, make, problem, setText } from './dom.js';
import { number } from './format.js';
import { placeOf } from './places.js';

const EVERY_MS = 4000;
const PAGE_SIZE = 50;
const TYPING_MS = 150;

export class Channels {
  #server;
  #pace;
  /** The `after` of each page so far, the one that is shown last. */
  #pages = [''];
  #next = '';
  /** @type {any} */
  #task = null;

  /** @param {import('./server.js').Server} server @param {import('./pace.js').Pace} pace */
  constructor(server, pace) {
    this.#server = server;
    this.#pace = pace;
    const turn = (/** @type {() => void} */ change) => {
      change();
      this.#refresh().catch((error) => problem('channels-error', error.message));
    };
    const begin = () => turn(() => (this.#pages = ['']));
    at('channels-filter').addEventListener('input', afterTyping(TYPING_MS, begin));
    at('channels-next').addEventListener('click', () => turn(() => this.#pages.push(this.#next)));
    at('channels-back').addEventListener('click', () => turn(() => this.#pages.pop()));
  }

  show() {
    this.#task = this.#pace.every(
      EVERY_MS,
      () => this.#refresh(),
      (error) => problem('channels-error', error.message),
    );
  }

  hide() {
    this.#task?.stop();
  }

  async #refresh() {
    const [q, after] = [at('channels-filter').value.trim(), this.#pages.at(-1)];
    const answer = await this.#server.get('/api/channels', { q, after, limit: PAGE_SIZE, count: true });
    if (q !== at('channels-filter').value.trim() || after !== this.#pages.at(-1)) return;
    this.#next = answer.next ?? '';
    problem('channels-error');
    const total = answer.total === undefined ? '' : number(answer.total);
    setText(at('channels-count'), q && total ? `${total} match` : total);
    at('channels-empty').hidden = answer.channels.length > 0;
    setText(at('channels-empty'), q ? 'No channel of that name.' : 'Nothing was published to a channel yet.');
    at('channels-back').disabled = this.#pages.length === 1;
    at('channels-next').disabled = this.#next === '';
    at('channels-paging').hidden = this.#pages.length === 1 && this.#next === '';
    at('channels-table').hidden = answer.channels.length === 0;
    keep(at('channels'), answer.channels, ({ channel }) => channel, create, update);
  }
}

const COLUMNS = ['subscribers', 'head', 'tail'];

/** @param {any} channel */
const create = ({ channel }) =>
  make(
    'tr',
    { 'data-channel': channel },
    make('th', { scope: 'row' }, make('a', { href: placeOf('channels', channel) }, channel)),
    ...COLUMNS.map((name) => make('td', { class: `number ${name}` })),
  );

/** @param {any} row @param {any} channel */
function update(row, channel) {
  for (const name of COLUMNS) setText(row.querySelector(`.${name}`), number(channel[name]));
}

/** The list of users: searching, choosing, and ending sessions. Not one user in detail. */
import { at, afterTyping, button, make, problem, setText } from './dom.js';
import { ago, count, number } from './format.js';
import { placeOf } from './places.js';
import { ask } from './question.js';
import { RowList } from './row-list.js';
import { UserPages } from './user-pages.js';

const EVERY_MS = 2000;
const STATS_EVERY_MS = 6000;
/** The total is asked for with every so many refreshes. */
const COUNTS_EVERY = 4;
const TYPING_MS = 150;

export class Users {
  #server;
  #pace;
  #selection;
  #pages;
  #list;
  /** @type {any[]} */
  #tasks = [];
  #refreshes = 0;
  #online = 0;

  /**
   * @param {import('./server.js').Server} server @param {import('./pace.js').Pace} pace
   * @param {import('./selection.js').Selection} selection
   */
  constructor(server, pace, selection) {
    this.#server = server;
    this.#pace = pace;
    this.#selection = selection;
    this.#pages = new UserPages(server);
    this.#list = new RowList(at('users'), {
      name: (user) => user.id,
      create: (user) => this.#create(user),
      update: (row, user) => this.#update(row, user),
      nearEnd: () => this.#more(),
    });
    const search = () => this.#search();
    at('filter').addEventListener('input', afterTyping(TYPING_MS, search));
    at('online-only').addEventListener('change', search);
    at('select-all').addEventListener('click', () => this.#selectAll(this.#pages.query));
    at('select-online').addEventListener('click', () => this.#selectOnline());
    at('select-none').addEventListener('click', () => selection.clear());
    selection.addEventListener('change', () => this.#draw());
  }

  show() {
    this.#tasks = [
      this.#pace.every(
        EVERY_MS,
        () => this.#refresh(),
        (error) => problem('users-error', error.message),
      ),
      this.#pace.every(STATS_EVERY_MS, () => this.#countOnline()),
    ];
    this.#draw();
  }

  hide() {
    for (const task of this.#tasks) task.stop();
  }

  /** The search of the fields. */
  get #asked() {
    return { q: at('filter').value.trim(), online: at('online-only').checked };
  }

  async #search() {
    try {
      await this.#pages.begin(this.#asked);
      this.#list.toTop();
      problem('users-error');
    } catch (error) {
      // A server that does not answer is told by the pace, which asks again.
      if (!(/** @type {any} */ (error).isPassing)) problem('users-error', /** @type {any} */ (error).message);
      this.#refreshes = 0;
    }
    this.#draw();
  }

  async #refresh() {
    const [first, last] = this.#list.sight;
    const { q, online } = this.#asked;
    const isNew = this.#refreshes === 0 || q !== this.#pages.query.q || online !== this.#pages.query.online;
    if (isNew) await this.#pages.begin({ q, online });
    else await this.#pages.refresh(first, last, this.#refreshes % COUNTS_EVERY === 0);
    this.#refreshes++;
    this.#selection.recount(this.#pages.query, this.#pages.total);
    problem('users-error');
    this.#draw();
  }

  async #more() {
    if (!this.#pages.hasMore) return;
    try {
      await this.#pages.more();
      this.#draw();
    } catch {
      // It is asked for again when the list is drawn.
    }
  }

  async #countOnline() {
    this.#online = (await this.#server.get('/api/stats')).users;
    this.#draw();
  }

  /** @param {{q: string, online: boolean}} query */
  #selectAll(query) {
    at('to-selected').checked = true;
    at('to-selected').dispatchEvent(new Event('change', { bubbles: true }));
    this.#selection.all(query, this.#pages.total);
  }

  async #selectOnline() {
    at('online-only').checked = true;
    await this.#search();
    this.#selectAll(this.#pages.query);
  }

  #draw() {
    const { rows, total, query } = this.#pages;
    const isSearch = query.q !== '' || query.online;
    const matching = isSearch ? `${number(total)} match · ` : '';
    const known = isSearch ? '' : ` of ${number(total)}`;
    setText(at('users-count'), `${matching}${number(this.#online)} online${known}`);
    setText(at('select-all'), `all ${number(total)}${isSearch ? ' that match' : ''}`);
    at('select-all').hidden = total === 0;
    at('users-empty').hidden = rows.length > 0;
    at('users-empty-search').hidden = !isSearch;
    at('users-empty-first').hidden = isSearch;
    this.#list.set(rows, total);
  }

  /** @param {any} user */
  #create({ id }) {
    const box = make('input', {
      type: 'checkbox',
      'data-control': '',
      'data-select-user': id,
      'aria-label': `Choose ${id}`,
    });
    box.addEventListener('change', () => {
      at('to-selected').checked = true;
      at('to-selected').dispatchEvent(new Event('change', { bubbles: true }));
      this.#selection.set({ id, online: box.closest('[data-user]').dataset.online === 'true' }, box.checked);
    });
    const open = () => (location.hash = placeOf('users', id));
    const cell = (/** @type {string} */ kind, /** @type {Node[]} */ ...children) =>
      make('div', { role: 'gridcell', class: kind }, ...children);
    return make(
      'div',
      { class: 'user', 'data-user': id },
      cell('choose', make('label', {}, box)),
      cell(
        'name',
        make('span', { class: 'dot', 'aria-hidden': 'true' }),
        make('a', { href: placeOf('users', id), 'data-control': '' }, id),
      ),
      cell('seen quiet'),
      cell('open', button('', { class: 'plain small', 'data-control': '', 'data-sessions-of': id }, open)),
      cell(
        'close',
        button(
          'Close',
          {
            class: 'plain small danger',
            'data-control': '',
            'data-close-user': id,
            'aria-label': `Close the sessions of ${id}`,
          },
          () => closeSessions(this.#server, id).then(() => this.#tasks[0]?.soon()),
        ),
      ),
    );
  }

  /** @param {any} row @param {any} user */
  #update(row, user) {
    const { id, online, sessions, last_seen } = user;
    const isChosen = this.#selection.has(user);
    row.dataset.online = String(online);
    row.dataset.sessions = String(sessions);
    row.setAttribute('aria-selected', String(isChosen));
    row.querySelector('input').checked = isChosen;
    setText(row.querySelector('.seen'), online ? 'online' : ago(last_seen));
    const open = row.querySelector('[data-sessions-of]');
    setText(open, count(sessions, 'session'));
    open.hidden = sessions === 0;
    row.querySelector(`[data-close-user]`).hidden = sessions === 0;
    row.querySelector('a').title = id;
  }
}

/**
 * Ends all sessions of a user, if the operator means that.
 * @param {import('./server.js').Server} server @param {string} user
 */
export async function closeSessions(server, user) {
  try {
    const { sessions } = await server.get(`/api/users/${encodeURIComponent(user)}`);
    const sure = await ask({
      title: `Close ${user}?`,
      text:
        `${count(sessions, 'session')} of ${user} will end. The client does not come back by itself; ` +
        'the user may log in again.',
      yes: `Close ${count(sessions, 'session')}`,
    });
    if (!sure) return;
    const { closed } = await server.post('/api/close', { user });
    setText(
      at('said'),
      closed
        ? `Closed ${count(closed, 'session')} of ${user}.`
        : `There was nothing left to close of ${user}.`,
    );
  } catch (error) {
    setText(at('said'), /** @type {Error} */ (error).message);
  }
}

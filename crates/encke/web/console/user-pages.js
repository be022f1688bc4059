/**
 * The users that match a search, as far as they were loaded: page after page as one scrolls, and those in
 * sight again and again. Not how they are drawn.
 */
import { ApiError } from './server.js';

const PAGE_SIZE = 100;
/** A list with nothing in it yet may get some. */
const REFRESHED_MIN = 20;

export class UserPages {
  /** @type {any[]} */
  rows = [];
  /** How many match, once that is known. */
  total = 0;
  query = { q: '', online: false };
  #server;
  #next = '';
  #isLoading = false;

  /** @param {import('./server.js').Server} server */
  constructor(server) {
    this.#server = server;
  }

  /** Begins with another search. @param {{q: string, online: boolean}} query */
  async begin(query) {
    this.query = query;
    const answer = await this.#page('', PAGE_SIZE, true);
    // Another search may have begun meanwhile.
    if (this.query !== query) return;
    this.rows = answer.users;
    this.#next = answer.next ?? '';
  }

  get hasMore() {
    return this.#next !== '';
  }

  /** Loads the next page, unless that is under way. */
  async more() {
    if (!this.#next || this.#isLoading) return;
    const { query } = this;
    this.#isLoading = true;
    try {
      const answer = await this.#page(this.#next, PAGE_SIZE, false);
      if (this.query !== query) return;
      this.rows = [...this.rows, ...answer.users];
      this.#next = answer.next ?? '';
    } finally {
      this.#isLoading = false;
    }
  }

  /**
   * Loads some rows again.
   * @param {number} first @param {number} last @param {boolean} counts the total too
   */
  async refresh(first, last, counts) {
    const { query } = this;
    const after = first > 0 ? this.rows[first - 1].id : '';
    const limit = Math.min(Math.max(last - first + 1, REFRESHED_MIN), PAGE_SIZE);
    const answer = await this.#page(after, limit, counts);
    if (this.query !== query || this.#isLoading) return;
    this.#replace(first, answer.users, answer.next ?? '');
  }

  /** Puts a stretch of users, as it is now, in the place of what was there. */
  #replace(first, users, next) {
    if (next === '') {
      this.rows = [...this.rows.slice(0, first), ...users];
      this.#next = '';
      return;
    }
    const places = new Map(
      this.rows.slice(first, first + 3 * PAGE_SIZE).map((user, n) => [user.id, first + n]),
    );
    const known = users.findLastIndex((/** @type {any} */ user) => places.has(user.id));
    if (known < 0) {
      this.rows = [...this.rows.slice(0, first), ...users];
      this.#next = next;
      return;
    }
    const behind = places.get(users[known].id) + 1;
    this.rows = [...this.rows.slice(0, first), ...users.slice(0, known + 1), ...this.rows.slice(behind)];
  }

  /** @param {string} after @param {number} limit @param {boolean} count */
  async #page(after, limit, count) {
    const { query } = this;
    const answer = await this.#server.get('/api/users', asked(query, after, limit, count));
    if (answer.total !== undefined && this.query === query) this.total = answer.total;
    return answer;
  }
}

/**
 * @param {{q: string, online: boolean}} query
 * @param {string} after @param {number} limit @param {boolean} count
 */
const asked = ({ q, online }, after, limit, count) => ({
  q,
  online: online || undefined,
  after,
  limit,
  count: count || undefined,
});

/**
 * The ids of all that match.
 * @param {import('./server.js').Server} server @param {{q: string, online: boolean}} query
 */
export async function idsOf(server, query) {
  const ids = [];
  let after = '';
  do {
    const answer = await server.get('/api/users', asked(query, after, 1000, false));
    for (const { id } of answer.users) ids.push(id);
    after = answer.next ?? '';
  } while (after);
  return ids;
}

/** Whether there is a user of this name. @param {import('./server.js').Server} server @param {string} id */
export async function isKnown(server, id) {
  try {
    await server.get(`/api/users/${encodeURIComponent(id)}`);
    return true;
  } catch (error) {
    if (error instanceof ApiError && error.code === 'user_unknown') return false;
    throw error;
  }
}

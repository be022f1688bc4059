/**
 * What the server API does not say by itself yet, put together from what it does say: receipts by state, and
 * the list of pushes (of those of this tab). A server that describes that it says it is asked for it.
 */
import { Kept } from './kept.js';
import { Server } from './server.js';

const PAGE = 1000;
/** How far a list is gone through. */
const LIST_MAX = 1_000_000;
/**
 * What was put together is kept the longer the more it took, up to a minute: what is cheap is asked for with
 * each refresh.
 */
const KEPT_BYTES_PER_S = 6000;
const KEPT_MAX_MS = 60_000;
/** A total is a few numbers; what was found are rows. */
const TOTALS_MAX = 32;
const FOUND_MAX = 2;
const PUSHES = 'encke.console.pushes';
const PUSHES_MAX = 20;

export class CompletingServer extends Server {
  /** The parameters that each address takes, once they were asked for. @type {Record<string, string[]>} */
  #takes = {};
  /** How many receipts there are by state. @type {Kept<any>} */
  #totals = new Kept(TOTALS_MAX);
  /** The receipts of a push. @type {Kept<any[]>} */
  #found = new Kept(FOUND_MAX);

  /** Reads in the server's own description what it can do. */
  async begin() {
    const { bytes } = this;
    const { paths } = await super.get('/api/openapi.json');
    // It is asked for once, and does not count for how much is asked in a second.
    this.bytes = bytes;
    for (const address of ['/api/push/{id}', '/api/pushes'])
      this.#takes[address] = paths[address]?.get?.parameters?.map((/** @type {any} */ one) => one.name) ?? [];
  }

  async get(path, query = {}) {
    if (path === '/api/pushes' && !this.#takes[path].length) return { pushes: ownPushes(), next: null };
    if (path.startsWith('/api/push/') && !this.#takes['/api/push/{id}'].includes('state'))
      return this.#receipts(path, query);
    return super.get(path, query);
  }

  async post(path, body) {
    const { key } = this;
    const answer = await super.post(path, body);
    this.#forgetKept();
    if (path === '/api/push' && key === this.key) {
      const { url, data } = /** @type {any} */ (body);
      const push = { id: answer.id, time: new Date().toISOString(), url, data, totals: {} };
      keepPushes([push, ...ownPushes()]);
    }
    return answer;
  }

  async delete(path) {
    const answer = await super.delete(path);
    this.#forgetKept();
    return answer;
  }

  /** Leaves nothing of an operator who logs out. */
  forget() {
    this.key = '';
    this.#forgetKept();
    keepPushes([]);
  }

  #forgetKept() {
    this.#totals.clear();
    this.#found.clear();
  }

  /** @param {string} path @param {any} query */
  async #receipts(path, { state = '', limit, after = '' }) {
    const id = decodeURIComponent(path.split('/')[3]);
    const [page, totals] = state
      ? await this.#receiptsOfState(path, state, after, limit)
      : await this.#receiptsOfAll(path, after, limit);
    const known = ownPushes().find((one) => one.id === id);
    if (known) keepPushes(ownPushes().map((one) => (one.id === id ? { ...one, totals } : one)));
    return { ...known, id, ...page, totals };
  }

  /** @param {string} path @param {string} state @param {string} after @param {number} limit */
  async #receiptsOfState(path, state, after, limit) {
    const all = await this.#found.get(path, () => this.#collect('receipts', path, {}));
    const rows = all.filter((receipt) => receipt.state === state);
    return [pageOf('receipts', rows, ({ user }) => user, after, limit), countStates(all)];
  }

  /** @param {string} path @param {string} after @param {number} limit */
  async #receiptsOfAll(path, after, limit) {
    const page = await super.get(path, { after, limit });
    if (isWhole(page, after)) return [page, countStates(page.receipts)];
    const totals = await this.#totals.get(path, async () => {
      const { value, lastsMs } = await this.#collect('receipts', path, {});
      return { value: countStates(value), lastsMs };
    });
    return [page, totals];
  }

  /**
   * Goes through a list from its beginning.
   * @param {string} kind @param {string} path @param {any} query @param {(row: any) => boolean} [matches]
   */
  async #collect(kind, path, query, matches = () => true) {
    const from = this.bytes;
    const value = [];
    let after = '';
    for (let seen = 0; seen < LIST_MAX; seen += PAGE) {
      const page = await super.get(path, { ...query, after, limit: PAGE });
      for (const row of page[kind]) if (matches(row)) value.push(row);
      after = page.next ?? '';
      if (!after) break;
    }
    return { value, lastsMs: Math.min(((this.bytes - from) / KEPT_BYTES_PER_S) * 1000, KEPT_MAX_MS) };
  }
}

/** Whether a page is all there is. @param {any} page @param {string} after */
const isWhole = (page, after) => !after && !page.next;

/**
 * A page of a list, which is in the order of its names, as the server gives it.
 * @param {string} kind @param {any[]} rows @param {(row: any) => string} name
 * @param {string} after @param {number} limit
 */
function pageOf(kind, rows, name, after, limit) {
  // The last row of the page before may be gone.
  const from = after ? rows.findLastIndex((row) => name(row) <= after) + 1 : 0;
  const page = rows.slice(from, from + limit);
  return { [kind]: page, next: from + limit < rows.length ? name(page.at(-1)) : null };
}

/** @param {any[]} receipts */
function countStates(receipts) {
  /** @type {Record<string, number>} */
  const totals = {};
  for (const { state } of receipts) totals[state] = (totals[state] ?? 0) + 1;
  return totals;
}

/** The pushes of this tab, the latest first. @returns {any[]} */
function ownPushes() {
  try {
    return JSON.parse(sessionStorage.getItem(PUSHES) ?? '[]');
  } catch {
    return [];
  }
}

/** @param {any[]} pushes */
function keepPushes(pushes) {
  try {
    if (pushes.length) sessionStorage.setItem(PUSHES, JSON.stringify(pushes.slice(0, PUSHES_MAX)));
    else sessionStorage.removeItem(PUSHES);
  } catch {
    // A browser may deny its storage; the list is then that of the page.
  }
}

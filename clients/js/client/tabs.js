/**
 * Tabs of one user that share a connection. One of them leads: it holds the connection, and tells the others
 * what comes. Web Locks say which, and hand that on at once when the tab is gone; a BroadcastChannel carries
 * the words. Not what a tab follows, nor how far it has come: each keeps that for itself.
 */
import { positionsIn } from './cursor.js';
import { EnckeError } from './error.js';
import { isOwn } from './positions.js';
import { Questions } from './questions.js';
import { randomId } from './random-id.js';

/**
 * What the tabs are told of by each.
 * @typedef {object} Page
 * @property {() => {cursor: string | null, channels: string[]}} place where this page goes on
 * @property {(channel: string) => boolean} follows whether this page follows it
 * @property {() => void} lead this tab leads from now on
 * @property {() => any} now the event by which a tab that comes knows how the connection is
 * @property {() => string | null} session the session, if there is one
 * @property {(cursor: string | null, channels: string[]) => string[]} joined another tab follows these; gives
 * those that are still to be subscribed
 * @property {(channels: string[]) => Promise<void>} subscribe subscribes these for other tabs
 * @property {(channels: string[]) => void} left another tab does not follow these any more
 */

/** Only pages share: of a worker there are not several. @param {any} window */
export function canShare(window) {
  return Boolean(window?.document && window.navigator?.locks && window.BroadcastChannel);
}

/** The channels that a cursor names, without the user's own. @param {string | null} cursor */
const named = (cursor) =>
  [...positionsIn(cursor).keys()].filter((channel) => !isOwn(channel));

/** A tab that the browser has put to sleep says nothing. */
const GATHER_MS = 1000;

export class Tabs {
  #page;
  #setTimeout;
  #clearTimeout;
  #locks;
  #key;
  #id = randomId();
  #channel;
  #left = new AbortController();
  /** That this tab's own lock is held: only then does the leader know when it is gone. */
  #here;
  /** The other tabs that this one leads, and what they follow. @type {Map<string, Set<string>>} */
  #others = new Map();
  /**
   * The other tabs, as far as each says so: one that has led for a moment only knows of them by this.
   * @type {Set<string>}
   */
  #members = new Set();
  /** Ends the following of another tab. @type {((ending: any) => void) | null} */
  #lead = null;
  /** @type {((event: any) => void) | null} */
  #heard = null;
  /** Ends the following of another tab by an error. @type {((error: EnckeError) => void) | null} */
  #refused = null;
  /** What was asked of the leader. */
  #asked = new Questions();
  /** Whether the leader knows where this tab is; what it tells before that is not counted on. */
  #served = false;
  leads = false;
  /** Whether this tab leads and waits for the others before it connects. */
  gathers = false;
  /** What is done when the connection is open. @type {Array<(value?: unknown) => void>} */
  #whenOpen = [];
  /** Looks whether all have said where they are. */
  #look = () => {};
  /** The leader's transport. @type {string | undefined} */
  transport;

  /** @param {any} window @param {string} key what these tabs have in common @param {Page} page */
  constructor(window, key, page) {
    this.#page = page;
    this.#key = key;
    this.#locks = window.navigator.locks;
    this.#setTimeout = (/** @type {any} */ then, /** @type {number} */ ms) => window.setTimeout(then, ms);
    this.#clearTimeout = (/** @type {number} */ timer) => window.clearTimeout(timer);
    this.#channel = new window.BroadcastChannel(key);
    this.#channel.onmessage = (/** @type {any} */ { data }) => this.#hear(data);
    // This tab's own lock tells the leader when it is gone; the common one makes it the leader.
    this.#here = new Promise((resolve) => this.#hold(key + ' ' + this.#id, () => resolve(undefined)));
    this.#hold(key, () => {
      this.leads = true;
      this.transport = undefined;
      page.lead();
      for (const id of this.#members) this.#watch(id);
      this.#post({ leader: this.#id });
      this.#lead?.({ kind: 'pause' });
    });
  }

  /** Holds a lock until this tab leaves. @param {string} name @param {() => void} then */
  #hold(name, then) {
    const { signal } = this.#left;
    this.#locks
      .request(name, { signal }, () => {
        then();
        return new Promise((resolve) => signal.addEventListener('abort', resolve));
      })
      .catch(() => {}); // It left before.
  }

  /** @param {object} words */
  #post(words) {
    if (!this.#left.signal.aborted) this.#channel.postMessage(words);
  }

  /** Tells the tabs that this one leads. @param {any} event */
  tell(event) {
    if (event.event === 'open') for (const go of this.#whenOpen.splice(0)) go();
    if (this.leads && this.#others.size) this.#post({ event });
  }

  /** Whether another tab that this one leads follows this channel. @param {string} channel */
  othersFollow(channel) {
    return [...this.#others.values()].some((channels) => channels.has(channel));
  }

  /**
   * Waits, for a moment at most, until the other tabs have said where they are, or are gone: then one
   * connection serves them all from its beginning.
   * @returns {Promise<void>}
   */
  gather() {
    this.gathers = true;
    return new Promise((resolve) => {
      const timer = this.#setTimeout(resolve, GATHER_MS);
      this.#look = () => {
        if (![...this.#members].every((id) => this.#others.has(id))) return;
        this.#clearTimeout(timer);
        resolve(undefined);
      };
      this.#look();
    }).then(() => {
      this.gathers = false;
      this.#look = () => {};
    });
  }

  /** @returns {boolean} whether another tab goes on with the session. */
  leave() {
    const goesOn = this.#members.size > 0;
    this.#post({ left: this.#id });
    this.#left.abort();
    this.#channel.close();
    return goesOn;
  }

  /**
   * Serves a link by what the leader tells, until this tab leads itself.
   * @param {import('./link.js').Link} link
   * @returns {Promise<import('./link.js').Ending>}
   */
  follow(link) {
    return new Promise((resolve, reject) => {
      this.#lead = resolve;
      this.#refused = reject;
      this.#heard = (event) => {
        const ending = this.#take(link, event);
        if (ending?.kind === 'final') resolve(ending);
      };
      link.signal.addEventListener('abort', () => reject(link.signal.reason));
      link.ask = (path, body, signal) => this.#ask(path, body, signal);
      this.#greet();
    }).finally(() => {
      this.#lead = this.#heard = this.#refused = null;
    });
  }

  /** Tells the leader where this tab goes on. */
  #greet() {
    this.#served = false;
    void this.#here.then(() => this.#post({ from: this.#id, ...this.#page.place() }));
  }

  /** @param {import('./link.js').Link} link @param {any} event */
  #take(link, event) {
    if (event.channel !== undefined && !this.#page.follows(event.channel)) return;
    if (event.event === 'open') this.transport = event.transport;
    // A close that is not for good is the leader's to come back from.
    return link.take(event);
  }

  /**
   * Asks the leader; all but what the session follows goes to the server at once.
   * @param {string} path @param {any} body @param {AbortSignal} signal
   */
  #ask(path, body, signal) {
    if (!path.endsWith('subscribe')) return null;
    const what = path === '/v1/subscribe' ? 'channels' : 'without';
    return this.#asked.ask(signal, (number) =>
      this.#post({ from: this.#id, number, [what]: body.channels }));
  }

  /** @param {any} words */
  #hear(words) {
    if (this.#left.signal.aborted) return;
    const { from, left, members = [from] } = words;
    for (const id of members) if (id && id !== this.#id) this.#meet(id);
    this.#members.delete(left);
    if (this.leads) {
      if (left) this.#gone(left);
      else if (from) void this.#serve(words);
    } else if (words.leader) {
      // Another leads now, and knows nothing of this tab.
      if (this.#heard) this.#greet();
    } else if (words.to === this.#id && (words.number || words.error)) {
      this.#answered(words);
    } else if (words.event) {
      if (words.to === this.#id) this.#served = true;
      if (this.#served && (words.to ?? this.#id) === this.#id) this.#heard?.(words.event);
    }
  }

  /** The leader's answer: what has no number is about the greeting. @param {any} words */
  #answered({ number, result, error }) {
    const refusal = error && new EnckeError(error.code, error.message, error);
    if (number) this.#asked.answer(number, refusal, result);
    else this.#refused?.(refusal);
  }

  /** Does what another tab asks. @param {any} words */
  async #serve({ from, number, cursor = null, channels = [], without = [] }) {
    let others = this.#others.get(from);
    if (!others) this.#others.set(from, (others = new Set()));
    const added = [...channels, ...named(cursor)].filter((channel) => !others.has(channel));
    for (const channel of added) others.add(channel);
    for (const channel of without) others.delete(channel);
    this.#giveUp(without);
    let answer;
    try {
      this.#look();
      // Where a session goes on, it has them; else a connection could be refused for them as well.
      const goesOn = this.gathers && this.#page.session() !== null;
      const unknown = goesOn ? [] : named(cursor).filter((channel) => !this.#page.follows(channel));
      if (unknown.length) await this.#subscribe(unknown);
      const joins = this.#page.joined(cursor, channels);
      // What comes from here on counts for it, whether or not the server has been asked yet.
      const members = [this.#id, ...this.#members];
      if (!number) this.#post({ to: from, members, event: this.#page.now() });
      if (joins.length) await this.#subscribe(joins);
      const now = this.#page.now();
      answer = number
        ? { result: { channels: [...others], cursor: now.cursor } }
        : { event: { ...now, event: 'state' } };
    } catch (error) {
      const { code = 'network', message, status } = /** @type {any} */ (error);
      for (const channel of added) others.delete(channel);
      answer = { error: { code, message, status } };
    }
    this.#post({ to: from, number, ...answer });
  }

  /**
   * Subscribes for another tab, once there is a session, and again if that is lost meanwhile. It takes a
   * request of its own: a connection that asks for what is refused ends, for all tabs.
   * @param {string[]} channels
   */
  async #subscribe(channels) {
    for (let lost = this.gathers; ; ) {
      if (lost || this.#page.session() === null)
        await new Promise((resolve) => this.#whenOpen.push(resolve));
      const wanted = channels.filter((channel) => this.othersFollow(channel));
      if (!wanted.length) return;
      const session = this.#page.session();
      const error = await this.#page.subscribe(wanted).then(() => null, (thrown) => thrown);
      lost = error?.code === 'session_unknown';
      if (lost || session !== this.#page.session()) continue;
      if (error) throw error;
      return;
    }
  }

  /** @param {string} id another tab */
  #meet(id) {
    if (this.#members.has(id)) return;
    this.#members.add(id);
    if (this.leads) this.#watch(id);
  }

  /** Gets the lock of another tab when that is gone. @param {string} id */
  #watch(id) {
    this.#locks
      .request(this.#key + ' ' + id, { signal: this.#left.signal }, () => {
        this.#gone(id);
        // What a tab that crashed did not say.
        this.#post({ left: id });
      })
      .catch(() => {}); // This one left before.
  }

  /** Another tab is gone, or follows alone. @param {string} id */
  #gone(id) {
    const channels = [...(this.#others.get(id) ?? [])];
    this.#others.delete(id);
    this.#members.delete(id);
    this.#look();
    this.#giveUp(channels);
  }

  /** @param {string[]} channels what a tab does not follow any more */
  #giveUp(channels) {
    const left = channels.filter((channel) => !this.othersFollow(channel));
    if (left.length) this.#page.left(left);
  }
}

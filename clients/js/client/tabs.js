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
  #after;
  #locks;
  #key;
  #id = randomId();
  #channel;
  #left = new AbortController();
  /** Ends when this tab leaves. @type {Promise<void>} */
  #stays = new Promise((resolve) => this.#left.signal.addEventListener('abort', () => resolve()));
  /** That this tab's own lock is held: only then does the leader know when it is gone. */
  #here;
  /** The other tabs that this one leads, and what they follow. @type {Map<string, Set<string>>} */
  #others = new Map();
  /**
   * The other tabs, as far as each says so: one that has led for a moment only knows of them by this.
   * @type {Set<string>}
   */
  #members = new Set();
  /**
   * While this tab follows another: what takes in an event, and what ends that, perhaps by an error.
   * @type {{take: (event: any) => void, end: (ending: any) => void, fail: (error: unknown) => void} | null}
   */
  #following = null;
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

  /** @param {any} env of a page @param {string} key what these tabs have in common @param {Page} page */
  constructor({ window, after }, key, page) {
    this.#page = page;
    this.#key = key;
    this.#locks = window.navigator.locks;
    this.#after = after;
    this.#channel = new window.BroadcastChannel(key);
    this.#channel.onmessage = (/** @type {any} */ { data }) => this.#hear(data);
    // This tab's own lock tells the leader when it is gone; the common one makes it the leader.
    this.#here = new Promise((resolve) =>
      this.#lock(this.#id, () => {
        resolve(undefined);
        return this.#stays;
      }));
    this.#lock('', () => {
      this.leads = true;
      this.transport = undefined;
      page.lead();
      for (const id of this.#members) this.#watch(id);
      this.#post({ leader: this.#id });
      this.#following?.end({ kind: 'pause' });
      return this.#stays;
    });
  }

  /**
   * Waits for a lock, and has it until what `then` returns is done.
   * @param {string} id of a tab, or none for that of all @param {() => Promise<void> | void} then
   */
  #lock(id, then) {
    // It fails when this tab left before.
    this.#locks
      .request(id ? this.#key + ' ' + id : this.#key, { signal: this.#left.signal }, then)
      .catch(() => {});
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
      const callOff = this.#after(GATHER_MS, resolve);
      this.#look = () => {
        if (![...this.#members].every((id) => this.#others.has(id))) return;
        callOff();
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
      const take = (/** @type {any} */ event) => {
        if (event.channel !== undefined && !this.#page.follows(event.channel)) return;
        if (event.event === 'open') this.transport = event.transport;
        const ending = link.take(event);
        // A close that is not for good is the leader's to come back from.
        if (ending?.kind === 'final') resolve(ending);
      };
      this.#following = { take, end: resolve, fail: reject };
      link.signal.addEventListener('abort', () => reject(link.signal.reason));
      link.ask = (path, body, signal) => this.#ask(path, body, signal);
      this.#greet();
    }).finally(() => {
      this.#following = null;
    });
  }

  /** Tells the leader where this tab goes on. */
  #greet() {
    this.#served = false;
    void this.#here.then(() => this.#post({ from: this.#id, ...this.#page.place() }));
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
      if (this.#following) this.#greet();
    } else if (words.to === this.#id && (words.number || words.error)) {
      this.#answered(words);
    } else if (words.event) {
      if (words.to === this.#id) this.#served = true;
      if (this.#served && (words.to ?? this.#id) === this.#id) this.#following?.take(words.event);
    }
  }

  /** The leader's answer: what has no number is about the greeting. @param {any} words */
  #answered({ number, result, error }) {
    const refusal = error && new EnckeError(error.code, error.message, error);
    if (number) this.#asked.answer(number, refusal, result);
    else this.#following?.fail(refusal);
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
    this.#lock(id, () => {
      this.#gone(id);
      // What a tab that crashed did not say.
      this.#post({ left: id });
    });
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

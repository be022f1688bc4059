/**
 * What is pushed to one user: the latest by the history, and then each as it comes by looking on, which takes
 * nothing from the user. Nothing is held while the tab is hidden, and no more is read than the bounds below.
 * Not how it is shown.
 */
import { path } from './server.js';

/** How many are shown. */
const SHOWN = 20;
/** Between two looks at the history: what was cancelled or is over is not there any more. */
const LIVE_EVERY_MS = 30_000;
const EVERY_MS = 6000;
/** How much may come live within a time. */
const SPAN_MS = 5000;
const SPAN_MAX_BYTES = 20_000;
/** How long it is not live after more than that. */
const REST_MS = 5000;

/** Dispatches `change`. */
export class Look extends EventTarget {
  /** The latest first. @type {any[]} */
  messages = [];
  /**
   * `begins`, `live`, `rests` (more came than is read) or `away` (the server does not let one look on now).
   * @type {'begins' | 'live' | 'rests' | 'away'}
   */
  state = 'begins';
  #server;
  #pace;
  #id = '';
  /** @type {any} */
  #task = null;
  /** @type {AbortController | null} */
  #held = null;
  #restsUntil = 0;
  #span = { began: 0, bytes: 0 };

  /** @param {import('./server.js').Server} server @param {import('./pace.js').Pace} pace */
  constructor(server, pace) {
    super();
    this.#server = server;
    this.#pace = pace;
    document.addEventListener('visibilitychange', () => {
      if (document.hidden) this.#held?.abort();
      else this.soon();
    });
  }

  /** Begins with another user. @param {string} id @param {(error: Error) => void} failed */
  start(id, failed) {
    this.stop();
    this.#id = id;
    this.messages = [];
    this.#become('begins');
    const everyMs = () => (this.state === 'live' ? LIVE_EVERY_MS : EVERY_MS);
    this.#task = this.#pace.every(everyMs, () => this.#refresh(), failed);
  }

  stop() {
    this.#id = '';
    this.#task?.stop();
    this.#task = null;
    this.#held?.abort();
    this.#held = null;
    this.#restsUntil = 0;
  }

  soon() {
    this.#task?.soon();
  }

  async #refresh() {
    const task = this.#task;
    const asked = { before: 'latest', limit: SHOWN };
    const { messages, cursor } = await this.#server.get(
      path`/api/channels/${`@${this.#id}`}/history`,
      asked,
    );
    // Another user may be shown by now.
    if (task !== this.#task) return;
    const newest = messages.at(-1);
    // What came live meanwhile is not in the answer.
    const later = this.messages.filter((one) => newest?.epoch === one.epoch && one.offset > newest.offset);
    this.messages = [...later, ...messages.toReversed()].slice(0, SHOWN);
    if (!this.#held && Date.now() >= this.#restsUntil && !document.hidden) this.#hold(cursor);
    this.#changed();
  }

  /** Looks on from a cursor until that ends. @param {string} cursor */
  async #hold(cursor) {
    const held = new AbortController();
    this.#held = held;
    this.#span = { began: Date.now(), bytes: 0 };
    const address = path`/api/users/${this.#id}/messages`;
    try {
      const take = (/** @type {any} */ event, /** @type {number} */ bytes) => this.#take(held, event, bytes);
      await this.#server.follow(address, { as: 'ndjson', cursor }, held, take);
    } catch {
      // The history is asked for as ever, and tells what is wrong.
    }
    if (this.#held !== held) return;
    this.#held = null;
    if (this.state === 'live' || this.state === 'rests') this.#task?.soon();
    if (this.state !== 'rests') this.#become('away');
  }

  /** @param {AbortController} held @param {any} event @param {number} bytes */
  #take(held, event, bytes) {
    if (this.#held !== held || held.signal.aborted) return;
    if (event.event === 'open') return this.#become('live');
    if (event.event === 'gap') return this.#task?.soon();
    if (event.event !== 'message') return;
    this.messages = [event, ...this.messages.filter(({ id }) => id !== event.id)].slice(0, SHOWN);
    const now = Date.now();
    if (now - this.#span.began > SPAN_MS) this.#span = { began: now, bytes: 0 };
    this.#span.bytes += bytes;
    if (this.#span.bytes > SPAN_MAX_BYTES) {
      this.#restsUntil = now + REST_MS;
      this.#become('rests');
      held.abort();
      return;
    }
    this.#changed();
  }

  /** @param {'begins' | 'live' | 'rests' | 'away'} state */
  #become(state) {
    this.state = state;
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event('change'));
  }
}

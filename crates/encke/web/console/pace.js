/**
 * What the console asks for by itself, again and again: one request after the other, never more than the
 * bounds below, nothing while the tab is hidden, and less and less while the server does not answer. Not what
 * an operator asks for by a click, which is done at once and only slows this down.
 */

/** Between two requests: fewer than 2 a second. */
const GAP_MS = 600;
/** What answers may take in a second, in bytes. */
const BYTES_PER_S = 6000;
/** The longest rest after a large answer: what an operator asked for does not hold up all else. */
const REST_MAX_MS = 4000;
/** Between two tries of a server that does not answer. */
const RETRY_MIN_MS = 1000;
const RETRY_MAX_MS = 30_000;
/** How long a task rests that was refused. */
const REFUSED_MS = 15_000;

/** Something that is asked for again and again. */
class Task {
  dueAt = 0;
  /** Whether an operator waits for it: what is opened comes at once. */
  isFirst = true;

  /**
   * @param {Pace} pace
   * @param {number | (() => number)} everyMs
   * @param {() => Promise<unknown>} run makes one request
   * @param {(error: any) => void} refused
   */
  constructor(pace, everyMs, run, refused) {
    this.pace = pace;
    this.everyMs = typeof everyMs === 'number' ? () => everyMs : everyMs;
    this.run = run;
    this.refused = refused;
  }

  /** Has it done as soon as the bounds allow. */
  soon() {
    this.dueAt = 0;
    this.pace.wake();
  }

  stop() {
    this.pace.remove(this);
  }
}

/** Dispatches `state` when the server begins or ceases to answer. */
export class Pace extends EventTarget {
  #server;
  /** @type {Set<Task>} */
  #tasks = new Set();
  #timer = 0;
  #isRunning = false;
  #isOn = false;
  #notBefore = 0;
  #failures = 0;
  #seen = { requests: 0, bytes: 0 };
  /** `live`, `paused` (the tab is hidden) or `lost`. */
  state = 'paused';
  /** When the server is asked again, of a state `lost`. */
  retryAt = 0;
  /** Why, of a state `lost`. */
  why = '';

  /** @param {import('./server.js').Server} server */
  constructor(server) {
    super();
    this.#server = server;
    document.addEventListener('visibilitychange', () => {
      if (this.#isOn && document.hidden) this.#become('paused');
      this.wake();
    });
  }

  start() {
    this.#isOn = true;
    this.wake();
  }

  stop() {
    this.#isOn = false;
    clearTimeout(this.#timer);
  }

  /**
   * Adds a task; it is due at once.
   * @param {number | (() => number)} everyMs
   * @param {() => Promise<unknown>} run
   * @param {(error: any) => void} [refused]
   */
  every(everyMs, run, refused = () => {}) {
    const task = new Task(this, everyMs, run, refused);
    this.#tasks.add(task);
    this.wake();
    return task;
  }

  /** @param {Task} task */
  remove(task) {
    this.#tasks.delete(task);
  }

  /** Tries a server that did not answer now. */
  retry() {
    this.retryAt = 0;
    this.wake();
  }

  wake() {
    clearTimeout(this.#timer);
    if (this.#isRunning || !this.#isOn || document.hidden || this.#tasks.size === 0) return;
    const task = this.#next();
    const due = Math.max(task.dueAt, task.isFirst ? 0 : this.#notBefore, this.retryAt);
    this.#timer = setTimeout(() => this.#turn(), Math.max(0, due - Date.now()));
  }

  #next() {
    return [...this.#tasks].reduce((first, task) => (task.dueAt < first.dueAt ? task : first));
  }

  async #turn() {
    if (this.#tasks.size === 0) return;
    const task = this.#next();
    this.#isRunning = true;
    let restMs = task.everyMs();
    try {
      await task.run();
      this.#answered();
    } catch (error) {
      if (/** @type {any} */ (error).isPassing) this.#failed(/** @type {any} */ (error));
      else {
        this.#answered();
        restMs = Math.max(restMs, REFUSED_MS);
        task.refused(error);
      }
    }
    const now = Date.now();
    task.dueAt = now + restMs;
    task.isFirst = false;
    this.#notBefore = now + this.#owedMs();
    this.#isRunning = false;
    this.wake();
  }

  /** How long to rest for what was asked since the last turn, by a task or by an operator. */
  #owedMs() {
    const { requests, bytes } = this.#server;
    const owed = Math.max(
      (requests - this.#seen.requests) * GAP_MS,
      ((bytes - this.#seen.bytes) / BYTES_PER_S) * 1000,
    );
    this.#seen = { requests, bytes };
    return Math.min(Math.max(owed, GAP_MS), REST_MAX_MS);
  }

  #answered() {
    this.#failures = 0;
    this.retryAt = 0;
    if (this.#isOn && !document.hidden) this.#become('live');
  }

  /** @param {Error} error */
  #failed(error) {
    this.retryAt = Date.now() + Math.min(RETRY_MIN_MS * 2 ** this.#failures++, RETRY_MAX_MS);
    this.why = error.message;
    this.#become('lost');
  }

  /** @param {string} state */
  #become(state) {
    if (this.state === state && state !== 'lost') return;
    this.state = state;
    this.dispatchEvent(new Event('state'));
  }
}

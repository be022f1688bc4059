/** The latest pushes beside the form that makes them. Not all there were. */
import { at, keep } from './dom.js';
import { makeArticle, showArticle } from './receipts.js';

const LIST_EVERY_MS = 4000;

export class Feed {
  #server;
  #pace;
  #log;
  /** @type {any[]} */
  #tasks = [];

  /**
   * @param {import('./server.js').Server} server @param {import('./pace.js').Pace} pace
   * @param {import('./push-log.js').PushLog} log
   */
  constructor(server, pace, log) {
    this.#server = server;
    this.#pace = pace;
    this.#log = log;
    log.addEventListener('change', () => this.#draw());
  }

  show() {
    this.#tasks = [
      this.#pace.every(LIST_EVERY_MS, () => this.#log.load()),
      this.#pace.every(
        () => this.#log.dueMs,
        () => this.#log.look(),
      ),
    ];
    this.#draw();
  }

  hide() {
    for (const task of this.#tasks) task.stop();
  }

  /** Looks at what has just been sent. */
  soon() {
    this.#tasks[1]?.soon();
  }

  #draw() {
    const { pushes } = this.#log;
    at('receipts-empty').hidden = pushes.length > 0;
    keep(
      at('receipts'),
      pushes,
      ({ id }) => id,
      (push) => makeArticle(push, this.#server, () => (this.#log.again(push.id), this.soon())),
      showArticle,
    );
  }
}

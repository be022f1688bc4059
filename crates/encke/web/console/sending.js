/**
 * Sends a push to however many users: the server takes a bounded list, so a long one goes in parts. Sent
 * again after a failure, what was accepted already is not sent twice. Not whom it is for.
 */

import { newRequestId } from './request-id.js';

/** The most that a part has, of what the server takes: 10,000 users and 64 KiB. */
const PART_USERS = 10_000;
const PART_BYTES = 40_000;

/**
 * Of very many users, an answer names some: `online` and `offline` are then at least so many.
 * @typedef {{ids: string[], mode: string, accepted: number, online: number, offline: number,
 * isTruncated: boolean}} Sent
 */

export class Sending {
  /** The name of this push, by which the server knows a part that it has had. */
  #key = newRequestId();
  #parts;
  /** Of the parts that were accepted. @type {any[]} */
  #answers = [];
  #payload;

  /** @param {'all' | 'online' | string[]} to @param {import('./payload.js').Payload} payload */
  constructor(to, payload) {
    this.#parts = Array.isArray(to) ? parts(to) : [to];
    this.#payload = payload;
  }

  /**
   * Sends the parts that were not accepted yet.
   * @param {import('./server.js').Server} server
   * @param {(done: number, of: number) => void} progress
   * @returns {Promise<Sent>}
   */
  async run(server, progress) {
    for (let n = this.#answers.length; n < this.#parts.length; n++) {
      progress(n, this.#parts.length);
      const part = { to: this.#parts[n], ...this.#payload, id: `${this.#key}-${n}` };
      this.#answers.push(await server.post('/api/push', part));
    }
    return summed(this.#answers);
  }
}

/** @param {any[]} answers @returns {Sent} */
function summed(answers) {
  const sum = (/** @type {(answer: any) => number} */ of) => answers.reduce((all, one) => all + of(one), 0);
  return {
    ids: answers.map(({ id }) => id),
    mode: answers.at(-1).mode,
    accepted: sum(({ accepted }) => accepted),
    online: sum(({ online }) => online.length),
    offline: sum(({ offline }) => offline.length),
    isTruncated: answers.some(({ truncated }) => truncated),
  };
}

/** @param {string[]} names */
function parts(names) {
  const encoder = new TextEncoder();
  /** @type {string[][]} */
  const all = [[]];
  let bytes = 0;
  for (const name of names) {
    const size = encoder.encode(JSON.stringify(name)).length + 1;
    const part = /** @type {string[]} */ (all.at(-1));
    if (part.length > 0 && (part.length >= PART_USERS || bytes + size > PART_BYTES)) {
      all.push([name]);
      bytes = size;
    } else {
      part.push(name);
      bytes += size;
    }
  }
  return all;
}

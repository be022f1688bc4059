/** What was asked over a connection, by numbers, and is not answered yet. */

export class Questions {
  /** @type {Map<number, {resolve: (result: any) => void, reject: (error: unknown) => void}>} */
  #open = new Map();
  #last = 0;

  get size() {
    return this.#open.size;
  }

  /**
   * @param {AbortSignal} signal gives it up @param {(id: number) => void} send sends it under this number
   * @returns {Promise<any>}
   */
  ask(signal, send) {
    const id = ++this.#last;
    return new Promise((resolve, reject) => {
      this.#open.set(id, { resolve, reject });
      signal.addEventListener('abort', () => this.answer(id, signal.reason));
      send(id);
    });
  }

  /** @param {number} id @param {unknown} error @param {unknown} [result] */
  answer(id, error, result) {
    const question = this.#open.get(id);
    this.#open.delete(id);
    if (error) question?.reject(error);
    else question?.resolve(result);
  }

  /** @param {unknown} error what they are all answered with: it is not known whether any was done */
  giveUp(error) {
    for (const id of this.#open.keys()) this.answer(id, error);
  }
}

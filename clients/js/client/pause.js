/** A pause that may end early. */

export class Pause {
  #env;

  /** @param {any} env */
  constructor(env) {
    this.#env = env;
  }

  /** Ends it. @returns {boolean} whether there was one. */
  end = () => false;

  /** @param {number} ms @returns {Promise<void>} */
  wait(ms) {
    const { setTimeout, clearTimeout } = this.#env;
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.end(), ms);
      this.end = () => {
        clearTimeout(timer);
        this.end = () => false;
        resolve();
        return true;
      };
    });
  }
}

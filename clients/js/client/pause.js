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
    return new Promise((resolve) => {
      const callOff = this.#env.after(ms, () => this.end());
      this.end = () => {
        callOff();
        this.end = () => false;
        resolve();
        return true;
      };
    });
  }
}

/** One channel, with listeners of its own. */
import { Emitter } from './emitter.js';
import { iterate } from './iteration.js';

export class Channel extends Emitter {
  #client;
  /** @type {string} */
  name;

  /** @param {import('./encke.js').Encke} client @param {string} name */
  constructor(client, name) {
    super();
    this.#client = client;
    this.name = name;
  }

  subscribe() {
    return this.#client.subscribe([this.name]);
  }

  unsubscribe() {
    return this.#client.unsubscribe([this.name]);
  }

  /** @param {unknown} data @param {{id?: string}} [options] */
  publish(data, options) {
    return this.#client.publish(this.name, data, options);
  }

  /** @param {{cursor?: string, before?: string, limit?: number}} [query] */
  history(query) {
    return this.#client.history(this.name, query);
  }

  /** @param {{limit?: number, after?: string}} [query] */
  presence(query) {
    return this.#client.presence(this.name, query);
  }

  /** @param {{signal?: AbortSignal}} [options] */
  messages(options) {
    return iterate(this, this.#client, options);
  }
}

/** The client as applications see it: what they may ask of it, and what it tells them. */
import { Channel } from './channel.js';
import { formatCursor } from './cursor.js';
import { iterate } from './iteration.js';
import { queryOf } from './query.js';
import { randomId } from './random-id.js';
import { Session } from './session.js';

export class Encke extends Session {
  /** @type {Map<string, Channel>} */
  #channels = new Map();
  /** @type {unknown} */
  #error = null;

  /** Tells it to the listeners of the channel as well. @param {string} type @param {...any} values */
  tell(type, ...values) {
    const [value] = values;
    if (type === 'open') this.#error = null;
    if (type === 'error') this.#error = value;
    super.tell(type, ...values);
    this.#channels.get(value?.channel)?.tell(type, ...values);
  }

  /** All that a page may show of the connection, as of now. */
  get status() {
    const { state, since, session, transport, user, retryAt, shared } = this;
    return { state, since, session, transport, user, retryAt, shared, error: this.#error };
  }

  /**
   * One channel with listeners of its own, the same object each time. It is subscribed if it was not.
   * @param {string} name
   */
  channel(name) {
    let channel = this.#channels.get(name);
    if (!channel) this.#channels.set(name, (channel = new Channel(this, name)));
    // What goes wrong is told to the `error` listeners.
    if (!name.startsWith('@') && !this.channels.includes(name)) channel.subscribe().catch(() => {});
    return channel;
  }

  /**
   * The messages and pages of a channel, or all that come, as they come.
   * @param {string} [channel] @param {{signal?: AbortSignal}} [options]
   */
  messages(channel, options) {
    return channel === undefined ? iterate(this, this, options) : this.channel(channel).messages(options);
  }

  /**
   * Publishes to a channel. An attempt whose outcome is not known is repeated under the same idempotency key,
   * so it is published once.
   * @param {string} channel
   * @param {unknown} data
   * @param {{id?: string}} [options]
   * @returns {Promise<{id: string, offset: number, epoch: string, mode: string}>}
   */
  publish(channel, data, options = {}) {
    const body = { channel, data, id: options.id ?? randomId() };
    return this.control('/v1/publish', () => body);
  }

  /**
   * What a channel has kept.
   * @param {string} channel @param {Record<string, string | number>} [query] `cursor` or `before`, `limit`
   */
  history(channel, query) {
    return this.#look(channel, 'history', query);
  }

  /**
   * Who follows a channel.
   * @param {string} channel @param {Record<string, string | number>} [query] `limit`, `after`
   */
  presence(channel, query) {
    return this.#look(channel, 'presence', query);
  }

  /**
   * Asks for what the server knows of a channel.
   * @param {string} channel @param {string} what @param {Record<string, string | number>} [query]
   * @returns {Promise<any>}
   */
  #look(channel, what, query = {}) {
    return this.control('/v1/channels/' + encodeURIComponent(channel) + '/' + what + queryOf(query));
  }

  /** @param {string | null} cursor @returns {Promise<void>} */
  async #acknowledge(cursor) {
    if (cursor !== null && this.session !== null)
      await this.control('/v1/ack', () => ({ session: this.session, cursor }));
  }

  /** Tells the server that everything handed over so far was shown to the person. @returns {Promise<void>} */
  ack() {
    return this.#acknowledge(this.cursor);
  }

  /**
   * Tells the server that this message, and what came before it, was shown to the person. Only messages of
   * the user's own channel have receipts; for others there is nothing to tell.
   * @param {{channel?: string, offset?: number, epoch?: string}} message
   * @returns {Promise<void>}
   */
  async shown({ channel, offset, epoch }) {
    if (channel?.startsWith('@') && offset !== undefined && epoch !== undefined)
      await this.#acknowledge(formatCursor([[channel, { epoch, offset }]]));
  }
}

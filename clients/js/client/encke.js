/** The client as applications see it: what they may ask of it, and what it tells them. */
import { Channel } from './channel.js';
import { formatCursor } from './cursor.js';
import { Emitter } from './emitter.js';
import { iterate } from './iteration.js';
import { queryOf } from './query.js';
import { randomId } from './random-id.js';
import { Session } from './session.js';

export class Encke extends Emitter {
  #session;
  /** @type {Map<string, Channel>} */
  #channels = new Map();
  /** @type {unknown} */
  #error = null;

  /** @param {import('../encke.d.ts').EnckeOptions} [options] */
  constructor(options = {}) {
    super();
    this.#session = new Session(options, (type, ...values) => this.#told(type, values));
  }

  /** @param {string} type @param {any[]} values */
  #told(type, values) {
    if (type === 'open') this.#error = null;
    if (type === 'error') this.#error = values[0];
    this.tell(type, ...values);
    const channel = values[0]?.channel;
    if (channel !== undefined) this.#channels.get(channel)?.tell(type, ...values);
  }

  /** @returns {'idle' | 'connecting' | 'open' | 'waiting' | 'closed'} */
  get state() {
    return this.#session.state;
  }

  /** @returns {string | null} */
  get session() {
    return this.#session.session;
  }

  /** Where to go on, in all channels: good for a later `cursor` option. @returns {string | null} */
  get cursor() {
    return this.#session.cursor;
  }

  /** The transport in use or tried next. @returns {string} */
  get transport() {
    return this.#session.transport;
  }

  /** The channels asked for, without the user's own. @returns {string[]} */
  get channels() {
    return this.#session.channels;
  }

  /**
   * The user as far as the token or the cursor tells. It is not verified here, and is only good for showing.
   * @returns {string | null}
   */
  get user() {
    return this.#session.user;
  }

  /** All that a page may show of the connection, as of now. */
  get status() {
    const { state, since, session, transport, user, retryAt, shared } = this.#session;
    return { state, since, session, transport, user, retryAt, shared, error: this.#error };
  }

  /** Connects, and stays connected until `close()`, or until the server ends the session for good. */
  connect() {
    this.#session.connect();
  }

  /**
   * Comes back on purpose: after a close, or to replace a connection at once. The preferred transport gets
   * another chance.
   */
  reconnect() {
    this.#session.reconnect();
  }

  /**
   * Ends the session on purpose. The request goes over a connection of its own, so it does not wait for the
   * held one. There is no coming back after it but `connect()` or `reconnect()`. Where other tabs share the
   * session, they go on with it.
   * @param {string} [reason]
   * @returns {Promise<boolean>} true when the server says that everything of the session is freed, or other
   * tabs go on with it; false when there was no session or no answer.
   */
  close(reason) {
    return this.#session.close(reason);
  }

  /** @param {string[]} channels @returns {Promise<string[]>} all channels that the session now has. */
  subscribe(channels) {
    return this.#session.subscribe(channels);
  }

  /** @param {string[]} channels @returns {Promise<string[]>} all channels that the session now has. */
  unsubscribe(channels) {
    return this.#session.unsubscribe(channels);
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
    return this.#session.control('/v1/publish', () => body);
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
    return this.#session.control('/v1/channels/' + encodeURIComponent(channel) + '/' + what + queryOf(query));
  }

  /** @param {string | null} cursor @returns {Promise<void>} */
  async #acknowledge(cursor) {
    const { session } = this;
    if (cursor === null || session === null) return;
    await this.#session.control('/v1/ack', () => ({ session: this.session, cursor }));
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
  shown(message) {
    const { channel, offset, epoch } = message;
    if (!channel?.startsWith('@') || offset === undefined || epoch === undefined) return Promise.resolve();
    return this.#acknowledge(formatCursor([[channel, { epoch, offset }]]));
  }
}

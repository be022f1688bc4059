import { createRequire } from 'node:module';

import { adapt } from 'cometd-nodejs-client';

import { until } from './until.js';

const faye = createRequire(import.meta.url)('faye');

// It looks for a browser when it is loaded.
adapt();
const { AckExtension, CometD, TimeStampExtension, TimeSyncExtension } = await import('cometd');

/** A client of CometD, as its project publishes it, with everything that it has received. */
export class CometClient {
  received = [];
  replies = [];
  #client = new CometD();

  /** @param {string} url @param {{websocket?: boolean, ack?: boolean, token?: string}} [options] */
  constructor(url, { websocket = false, ack = true, token } = {}) {
    this.ext = token ? { ext: { token } } : {};
    const retries = { backoffIncrement: 100, maxBackoff: 500 };
    this.#client.configure({ url: `${url}/cometd`, logLevel: 'error', ...retries });
    this.#client.websocketEnabled = websocket;
    if (!websocket) this.#client.unregisterTransport('websocket');
    if (ack) this.#client.registerExtension('ack', new AckExtension());
    this.#client.registerExtension('timesync', new TimeSyncExtension());
    this.#client.registerExtension('timestamp', new TimeStampExtension());
    this.#client.addListener('/meta/*', (message) => this.replies.push(message));
  }

  get transport() {
    return this.#client.getTransport()?.type;
  }

  get clientId() {
    return this.#client.getClientId();
  }

  #done(begin) {
    return new Promise((resolve, reject) =>
      begin((reply) => (reply.successful ? resolve(reply) : reject(Object.assign(new Error(), { reply })))),
    );
  }

  async open() {
    await this.#done((done) => this.#client.handshake(this.ext, done));
    const isFirst = ({ channel, successful }) => channel === '/meta/connect' && successful;
    await until('it is connected', () => this.replies.some(isFirst));
    return this;
  }

  subscribe(channel) {
    const listener = (message) => this.received.push(message);
    return this.#done((done) => (this.last = this.#client.subscribe(channel, listener, done)));
  }

  unsubscribe() {
    return this.#done((done) => this.#client.unsubscribe(this.last, done));
  }

  publish(channel, data) {
    return this.#done((done) => this.#client.publish(channel, data, done));
  }

  remoteCall(target, data) {
    return this.#done((done) => this.#client.remoteCall(target, data, 5_000, done));
  }

  batch(work) {
    this.#client.batch(() => work(this.#client));
  }

  on(channel, listener) {
    this.#client.addListener(channel, listener);
  }

  /** How often it has shaken hands. */
  get handshakes() {
    const isOne = ({ channel, successful }) => channel === '/meta/handshake' && successful;
    return this.replies.filter(isOne).length;
  }

  get data() {
    return this.received.map(({ data }) => data);
  }

  close() {
    return this.#done((done) => this.#client.disconnect(done));
  }
}

/** A client of Faye, as its project publishes it. */
export class FayeClient {
  received = [];

  constructor(url, { transport = 'websocket', token } = {}) {
    this.client = new faye.Client(`${url}/bayeux`, { retry: 1 });
    for (const other of ['websocket', 'eventsource'].filter((name) => name !== transport))
      this.client.disable(other);
    if (token) {
      this.client.addExtension({
        outgoing: (message, callback) =>
          callback(message.channel === '/meta/handshake' ? { ...message, ext: { token } } : message),
      });
    }
  }

  get transport() {
    return this.client._dispatcher.connectionType;
  }

  async subscribe(channel) {
    const listener = (name, data) => this.received.push({ channel: name, data });
    await this.client.subscribe(channel).withChannel(listener);
    return this;
  }

  unsubscribe(channel) {
    return this.client.unsubscribe(channel);
  }

  publish(channel, data) {
    return this.client.publish(channel, data);
  }

  get data() {
    return this.received.map(({ data }) => data);
  }

  close() {
    return this.client.disconnect();
  }
}

/** A client in a program of another language. */
export class DrivenClient {
  received = [];
  handshakes = 0;
  #driver;
  #name;

  /** @param {import('./driver.js').Driver} driver */
  constructor(driver) {
    this.#driver = driver;
    this.#name = driver.name((said) => this.#take(said));
  }

  #take({ handshake, channel, data }) {
    if (handshake === undefined) return this.received.push({ channel, data });
    this.clientId = handshake;
    return this.handshakes++;
  }

  #ask(what, more) {
    return this.#driver.ask({ client: this.#name, do: what, ...more });
  }

  /** @param {string} url @param {{transport: string, token: string}} options */
  async open(url, options) {
    const { transport } = await this.#ask('open', { url, ...options });
    this.transport = transport;
    return this;
  }

  subscribe(channel) {
    return this.#ask('subscribe', { channel });
  }

  unsubscribe(channel) {
    return this.#ask('unsubscribe', { channel });
  }

  publish(channel, data) {
    return this.#ask('publish', { channel, data });
  }

  get data() {
    return this.received.map(({ data }) => data);
  }

  close() {
    return this.#ask('close');
  }
}

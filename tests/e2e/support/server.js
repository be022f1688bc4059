import path from 'node:path';

import { engineUrl } from './engines.js';
import { Front } from './front.js';
import { query, request } from './http.js';
import { freePort } from './port.js';
import { Program, run, temporaryDirectory } from './program.js';
import { Stream } from './sse.js';
import { certificate, TLS } from './tls.js';
import { until } from './until.js';

export const API_KEY = 'e2e-8d1f60b3a97c';
/**
 * What the stories run on that do not ask for an engine: `redis` or `nats` make two nodes of each server,
 * behind a front that gives each request to the next of them.
 */
export const CLUSTER = process.env.TESTS_CLUSTER ?? '';
const NODES = 2;

export const TOKEN_SECRET = '5b0c2a9d7e184f63a1d2c3b4e5f60718293a4b5c6d7e8f90';

/**
 * A real server, in a process of its own, on data of its own. Among several nodes, all of them with the front
 * before them.
 */
export class Server {
  #remove;
  #args;
  #env;
  #data;
  #ports;
  #front;
  #cluster;
  port = 0;
  /** The running programs, one for each node. @type {Program[]} */
  programs = [];

  /**
   * @param {{dev?: boolean, engine?: string, cluster?: string, tls?: boolean, env?: Record<string, string>,
   * args?: string[]}} [options]
   */
  static async start({ dev = true, engine, cluster = CLUSTER, tls = TLS, env = {}, args = [] } = {}) {
    const server = new Server();
    const { dir, remove } = await temporaryDirectory();
    server.#remove = remove;
    server.#data = path.join(dir, 'data');
    const among = cluster !== '' && engine === undefined;
    server.#cluster = cluster;
    server.#args = [
      ...(dev ? ['--dev'] : []),
      '--engine',
      among ? await engineUrl(cluster) : (engine ?? 'log'),
      ...args,
    ];
    server.#env = {
      ENCKE_API_KEY: API_KEY,
      ENCKE_TOKEN_SECRET: TOKEN_SECRET,
      ENCKE_SHUTDOWN_DRAIN_S: '5',
      ...env,
    };
    server.port = await freePort();
    const tlsPort = tls ? await freePort() : 0;
    if (tls) {
      const { cert, key } = certificate();
      Object.assign(server.#env, {
        ENCKE_TLS_LISTEN: `127.0.0.1:${tlsPort}`,
        ENCKE_TLS_CERT: cert,
        ENCKE_TLS_KEY: key,
      });
    }
    server.#ports = among ? await Promise.all(Array.from({ length: NODES }, freePort)) : [server.port];
    try {
      if (among) {
        server.#front = new Front(() => server.#ports);
        await server.#front.listen(server.port);
      }
      await server.#run();
      if (tls) server.port = tlsPort;
    } catch (error) {
      await server.kill('SIGKILL');
      await server.#front?.close();
      await remove();
      throw error;
    }
    return server;
  }

  async #run() {
    this.programs = this.#ports.map((_, number) => this.#start(number));
    const lines = await Promise.all(this.programs.map((program) => this.#listens(program)));
    this.url = this.#front ? `http://127.0.0.1:${this.port}` : lines[0].slice('listening on '.length);
    if (this.#env.ENCKE_TLS_LISTEN) this.url = `https://${this.#env.ENCKE_TLS_LISTEN}`;
  }

  #start(number) {
    const data = this.#ports.length > 1 ? `${this.#data}-${number}` : this.#data;
    return new Program(
      ['serve', '--listen', `127.0.0.1:${this.#ports[number]}`, '--data', data, ...this.#args],
      { env: this.#env },
    );
  }

  #listens(program) {
    return program.line('where it listens', (line) => line.startsWith('listening on '));
  }

  /** The program, of a server that is alone. @type {Program} */
  get program() {
    return this.programs[0];
  }

  /** What `serve` printed for the console's address; in dev mode only. */
  console() {
    return this.program
      .line('the address of the console', (line) => line.startsWith('console '))
      .then((line) => {
        const address = line.slice('console '.length);
        return this.#front ? address.replace(new URL(address).origin, this.url) : address;
      });
  }

  get amongNodes() {
    return this.#front !== undefined;
  }

  /** How safe a message is that was accepted. */
  get mode() {
    return this.#front ? this.#cluster : 'log';
  }

  get data() {
    return this.#data;
  }

  /** One of several nodes, for requests that the front would give to any. */
  node(number) {
    return Object.assign(Object.create(this), { url: `http://127.0.0.1:${this.#ports[number]}` });
  }

  /** Ends one of several nodes, and starts it again. */
  async killNode(number, signal = 'SIGKILL') {
    await this.programs[number].kill(signal);
  }

  async startNode(number) {
    this.programs[number] = this.#start(number);
    await this.#listens(this.programs[number]);
  }

  /** Ends the process by a signal; SIGKILL leaves it no time for anything. */
  async kill(signal = 'SIGKILL') {
    await Promise.all(this.programs.map((program) => program.kill(signal)));
  }

  /** Starts it again on the same port and data. */
  async restart(signal = 'SIGKILL') {
    await this.kill(signal);
    await this.#run();
  }

  /** Starts it again after it was killed. */
  async startAgain() {
    await this.#run();
  }

  /** Ends it as an operator would, and removes its data. */
  async stop() {
    await this.kill('SIGTERM');
    await this.#front?.close();
    await this.#remove();
    const failed = this.programs.find((program) => program.status !== 0);
    if (failed) throw new Error(`the server ended with ${failed.status}: ${failed.stderr}`);
  }

  /** A request without a token. */
  ask(method, address, options = {}) {
    return request(this.url + address, { method, ...options });
  }

  /** A request to the server API, with the key. */
  api(method, address, body, headers = {}) {
    return this.ask(method, address, { body, headers: { authorization: `Bearer ${API_KEY}`, ...headers } });
  }

  /** A push that has to be accepted. */
  async push(body) {
    return (await this.api('POST', '/api/push', body)).with(202);
  }

  /** What became of a push with each user. */
  async receipts(id) {
    const { receipts } = (await this.api('GET', `/api/push/${id}`)).with(200);
    return Object.fromEntries(receipts.map(({ user, state }) => [user, state]));
  }

  /** The state of one receipt, once it is this one. */
  receipt(id, user, state) {
    return until(`the receipt of ${user} is ${state}`, async () => (await this.receipts(id))[user] === state);
  }

  async user(id) {
    return (await this.api('GET', `/api/users/${encodeURIComponent(id)}`)).with(200);
  }

  /**
   * Whether a user is online, and in how many sessions. Who has just come for the first time is written down
   * a moment later; one who has left by then is not known yet.
   */
  async presence(id) {
    const answer = await this.api('GET', `/api/users/${encodeURIComponent(id)}`);
    const { online, sessions } = answer.status === 404 ? { online: false, sessions: 0 } : answer.with(200);
    return { online, sessions };
  }

  async isOnline(id) {
    return (await this.presence(id)).online;
  }

  /** The sessions of a user. */
  async sessions(user) {
    return (await this.api('GET', `/api/sessions${query({ user })}`)).with(200).sessions;
  }

  /** Waits until a connection serves this session: it then waits for messages. */
  held(user, session) {
    return until(`a connection of ${user} is held`, async () =>
      (await this.sessions(user)).find(
        (one) => one.connected && (session === undefined || one.session === session),
      ),
    );
  }

  /** The value of a gauge or the sum of a counter in `/metrics`, of all nodes together. */
  async metric(name, labels = '') {
    const texts = await Promise.all(
      this.#ports.map((port) =>
        request(`http://127.0.0.1:${port}/metrics`, { headers: { authorization: `Bearer ${API_KEY}` } }),
      ),
    );
    const text = texts.map((answer) => answer.text).join('\n');
    const values = text
      .split('\n')
      .filter(
        (line) => (line.startsWith(`${name} `) || line.startsWith(`${name}{`)) && line.includes(labels),
      );
    return values.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
  }

  /** Logs in by id. */
  async login(user) {
    const { token } = (await this.ask('POST', '/v1/login', { body: { user } })).with(200);
    return new User(this, user, token);
  }

  /** A user with a token that the test made. */
  as(user, token) {
    return new User(this, user, token);
  }

  /** Runs a command against this server. */
  cli(...args) {
    return run(args, { env: this.cliEnv });
  }

  /** Starts a command against this server. */
  startCli(...args) {
    return new Program(args, { env: this.cliEnv });
  }

  get cliEnv() {
    const trust = this.#env.ENCKE_TLS_CERT ? { SSL_CERT_FILE: this.#env.ENCKE_TLS_CERT } : {};
    return { ENCKE_URL: this.url, ENCKE_API_KEY: API_KEY, ...trust };
  }
}

/** A user with a token. */
export class User {
  constructor(server, name, token) {
    this.server = server;
    this.name = name;
    this.token = token;
  }

  get headers() {
    return { authorization: `Bearer ${this.token}` };
  }

  /** A control request. */
  post(address, body, headers = {}) {
    return this.server.ask('POST', address, { body, headers: { ...this.headers, ...headers } });
  }

  /** A poll, with whatever parameters. */
  poll(parameters = {}, { headers = {}, signal } = {}) {
    return this.server.ask('GET', `/v1/poll${query(parameters)}`, {
      headers: { ...this.headers, ...headers },
      signal,
      ms: 40_000,
    });
  }

  /** A poll that is not held and has to be answered. */
  async look(parameters = {}) {
    return (await this.poll({ hold_s: 0, ...parameters })).with(200);
  }

  /** Polls until `n` messages have come; gives them, the gaps, and where that ended. */
  async take(n, parameters = {}) {
    let at = { ...parameters };
    const messages = [];
    const gaps = [];
    for (;;) {
      const answer = (await this.poll({ hold_s: 5, ...at })).with(200);
      messages.push(...answer.messages);
      gaps.push(...answer.gaps);
      at = { session: answer.session, cursor: answer.cursor };
      if (messages.length >= n) return { messages, gaps, ...at, close: answer.close };
      if (answer.messages.length === 0 && answer.gaps.length === 0)
        throw new Error(`${messages.length} messages came instead of ${n}`);
    }
  }

  /** A stream, whose `open` event is taken. */
  async stream(parameters = {}, headers = {}) {
    const stream = await this.events(parameters, headers);
    if (!(stream instanceof Stream))
      throw new Error(`the stream was refused: ${stream.status} ${stream.text}`);
    stream.opened = await stream.next();
    stream.session = stream.opened.session;
    return stream;
  }

  /** A stream, or the answer that refuses it. */
  events(parameters = {}, headers = {}) {
    return Stream.open(`${this.server.url}/v1/sse${query(parameters)}`, { ...this.headers, ...headers });
  }
}

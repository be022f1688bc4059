import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import https from 'node:https';
import path from 'node:path';
import { promisify } from 'node:util';

import { freePort } from './port.js';
import { request } from './http.js';
import { TARGET, temporaryDirectory } from './program.js';
import { Never, until, within } from './until.js';

const LIVES_S = 7_776_000;

function tool(name) {
  const file = path.join(TARGET, 'tools', 'bin', name);
  if (!existsSync(file)) throw new Error(`there is no ${file}: tests/run installs it`);
  return file;
}

/** A process whose words are kept, for what it is asked later. */
class Process {
  said = '';

  constructor(file, args, env = {}) {
    this.child = spawn(file, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.child.stdout, this.child.stderr])
      stream.setEncoding('utf8').on('data', (text) => (this.said += text));
    this.gone = new Promise((resolve) => {
      this.child.on('error', (error) => resolve((this.said += error)));
      this.child.on('close', resolve);
    });
  }

  get runs() {
    return this.child.exitCode === null && this.child.signalCode === null && this.child.pid !== undefined;
  }

  async says(what, words) {
    await until(what, () => {
      if (this.said.includes(words)) return true;
      if (!this.runs) throw new Never(`it has ended: ${this.said}`);
      return false;
    });
  }

  async kill() {
    if (this.runs) this.child.kill('SIGKILL');
    await within('a process ends', this.gone);
  }
}

/**
 * A directory of ACME: a real Pebble, with a DNS server of its own for which every name is this machine. It
 * forgets all that it knew when it is halted.
 */
export class Pebble {
  #remove;
  #dir;
  #dns;
  #ports;
  #pebble;

  /** Everything but the process itself, which `run` starts. */
  static async prepare() {
    const pebble = new Pebble();
    const { dir, remove } = await temporaryDirectory();
    pebble.#remove = remove;
    pebble.#dir = dir;
    const [directory, management, dns, records] = await Promise.all([1, 2, 3, 4].map(freePort));
    pebble.#ports = { directory, management, dns, records };
    pebble.url = `https://127.0.0.1:${directory}/dir`;
    await pebble.#certify();
    const nothing = ['-http01', '', '-https01', '', '-tlsalpn01', '', '-doh', '', '-defaultIPv6', ''];
    const at = ['-dnsserver', `127.0.0.1:${dns}`, '-management', `127.0.0.1:${records}`];
    pebble.#dns = new Process(tool('pebble-challtestsrv'), [...nothing, ...at]);
    try {
      await until('the DNS server listens', () => pebble.reveal('nothing.example'));
    } catch (error) {
      await pebble.stop();
      throw new Error(`${error.message}: ${pebble.#dns.said}`);
    }
    return pebble;
  }

  /** The file with what the directory's own certificate is checked with. */
  get root() {
    return path.join(this.#dir, 'cert.pem');
  }

  get #key() {
    return path.join(this.#dir, 'key.pem');
  }

  async #certify() {
    const config = path.join(this.#dir, 'openssl.conf');
    await writeFile(
      config,
      `[req]\ndistinguished_name = name\nx509_extensions = more\nprompt = no\n[name]\nCN = directory\n` +
        `[more]\nsubjectAltName = IP:127.0.0.1\nbasicConstraints = CA:FALSE\n`,
    );
    const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '30'];
    const files = ['-config', config, '-out', this.root, '-keyout', this.#key];
    await promisify(execFile)('openssl', ['req', '-x509', ...kind, ...files]);
  }

  /**
   * Starts it. It checks names at these ports, and its certificates live so long.
   * @param {{httpPort: number, tlsPort: number, livesS?: number}} options
   */
  async run({ httpPort, tlsPort, livesS = LIVES_S }) {
    const config = path.join(this.#dir, 'pebble.json');
    const pebble = {
      listenAddress: `127.0.0.1:${this.#ports.directory}`,
      managementListenAddress: `127.0.0.1:${this.#ports.management}`,
      certificate: this.root,
      privateKey: this.#key,
      httpPort,
      tlsPort,
      retryAfter: { authz: 1, order: 1 },
      keyAlgorithm: 'ecdsa',
      profiles: { default: { description: 'of this test', validityPeriod: livesS } },
    };
    await writeFile(config, JSON.stringify({ pebble }));
    const args = ['-config', config, '-dnsserver', `127.0.0.1:${this.#ports.dns}`, '-strict'];
    this.#pebble = new Process(tool('pebble'), args, { PEBBLE_VA_NOSLEEP: '1' });
    await this.#pebble.says('Pebble listens', 'ACME directory available at');
    // What clients of the server check its certificate with.
    this.issuer = await until('Pebble has a root', () => this.#managed('/roots/0'));
  }

  async #managed(address) {
    const ca = await readFile(this.root);
    const port = this.#ports.management;
    const done = new Promise((resolve, reject) => {
      const asked = https.get({ host: '127.0.0.1', port, path: address, ca, agent: false }, (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (part) => (text += part));
        response.on('end', () => (response.statusCode === 200 ? resolve(text) : reject(new Error(text))));
      });
      asked.on('error', reject);
    });
    return within(address, done);
  }

  async #record(what, body) {
    const answer = await request(`http://127.0.0.1:${this.#ports.records}/${what}`, { method: 'POST', body });
    return answer.status === 200;
  }

  /** From now on there is no answer to where a name is. */
  async hide(host) {
    assert.ok(await this.#record('set-servfail', { host }));
  }

  /** From now on there is one again. */
  reveal(host) {
    return this.#record('clear-servfail', { host });
  }

  #count(words) {
    return this.#pebble.said.split(words).length - 1;
  }

  /** How many orders came since it runs. */
  get orders() {
    return this.#count('Added order ');
  }

  /** How many certificates it has issued since it runs. */
  get issued() {
    return this.#count('Issued certificate serial');
  }

  /** How many accounts it has made since it runs. */
  get accounts() {
    return this.#count(' accounts in memory');
  }

  /** Ends it, so that it can be run again. */
  async halt() {
    await this.#pebble?.kill();
  }

  async stop() {
    await this.halt();
    await this.#dns.kill();
    await this.#remove();
  }
}

// Certificates by ACME, from a real directory that checks names at the ports of a real server.
import assert from 'node:assert/strict';
import { chmod, lstat, mkdir, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import http from 'node:http';
import path from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import tls from 'node:tls';

import { request } from './support/http.js';
import { Pebble } from './support/pebble.js';
import { freePort } from './support/port.js';
import { Program, temporaryDirectory } from './support/program.js';
import { certificate } from './support/tls.js';
import { always, until, within } from './support/until.js';

const NAME = 'push.example.com';
const OTHER = 'other.example.com';
/** Longer than the directory takes on a loaded machine, with the waits between two tries. */
const GOT_MS = 60_000;
/** For what must not happen. */
const QUIET_MS = 1_500;

let files;
before(async () => void (files = await temporaryDirectory()));
after(() => files.remove());

/** A server with its own ports, which it keeps over restarts, and a place for its data. */
class Encke {
  static #made = 0;

  static async make(pebble, { names = [NAME], env = {} } = {}) {
    const encke = new Encke();
    encke.data = path.join(files.dir, `data-${(Encke.#made += 1)}`);
    [encke.port, encke.tlsPort] = [await freePort(), await freePort()];
    encke.env = {
      ENCKE_TLS_LISTEN: `127.0.0.1:${encke.tlsPort}`,
      ENCKE_TLS_ACME: names.join(','),
      ENCKE_TLS_ACME_CONTACT: 'ops@example.com',
      ENCKE_TLS_ACME_DIRECTORY: pebble.url,
      ENCKE_TLS_ACME_ROOT: pebble.root,
      ...env,
    };
    return encke;
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  async start() {
    const listen = ['--listen', `127.0.0.1:${this.port}`, '--data', this.data];
    this.program = new Program(['serve', '--dev', '--engine', 'memory', ...listen], { env: this.env });
    await this.program.line('where it listens for TLS', (line) => line.startsWith('listening on https://'));
  }

  async restart() {
    await this.program.kill('SIGKILL');
    await this.start();
  }

  async stop() {
    await this.program?.kill('SIGTERM');
    assert.equal(this.program?.status ?? 0, 0, this.program?.stderr);
  }

  async folder() {
    const [directory] = await readdir(path.join(this.data, 'acme'));
    return path.join(this.data, 'acme', directory);
  }

  /** A value of /metrics, or nothing. */
  async metric(name) {
    const { text } = await request(`${this.url}/metrics`);
    const line = text.split('\n').find((line) => line.startsWith(`${name} `));
    return line && Number(line.slice(name.length + 1));
  }

  orders(outcome) {
    return this.metric(`encke_tls_acme_orders_total{outcome="${outcome}"}`);
  }

  /** What a client is shown that asks for a name and trusts the issuer; an error when it is refused. */
  shown(issuer, name = NAME) {
    const done = new Promise((resolve, reject) => {
      const options = { host: '127.0.0.1', port: this.tlsPort, servername: name, ca: issuer };
      const socket = tls.connect({ ...options, ALPNProtocols: ['http/1.1'] }, () => {
        resolve(socket.getPeerCertificate());
        socket.destroy();
      });
      socket.on('error', reject);
    });
    return within('a handshake', done);
  }

  /** Waits until a certificate is shown that a client trusts, and gives it. */
  got(issuer, fits = () => true) {
    const look = async () => {
      const certificate = await this.shown(issuer);
      return fits(certificate) && certificate;
    };
    return until('a certificate is got', look, GOT_MS).catch((error) => {
      throw new Error(`${error.message}\n${this.program.stderr}`);
    });
  }
}

/** A connection under TLS that is kept, and asked again and again. */
class Kept {
  static async open(encke, issuer) {
    const kept = new Kept();
    kept.text = '';
    const options = { host: '127.0.0.1', port: encke.tlsPort, servername: NAME, ca: issuer };
    kept.socket = tls.connect({ ...options, ALPNProtocols: ['http/1.1'] });
    kept.socket.setEncoding('utf8').on('data', (part) => (kept.text += part));
    kept.socket.on('error', (error) => (kept.text += error));
    await within('a handshake', new Promise((resolve) => kept.socket.once('secureConnect', resolve)));
    return kept;
  }

  async ask() {
    this.text = '';
    this.socket.write(`GET /healthz HTTP/1.1\r\nhost: ${NAME}\r\n\r\n`);
    await until('an answer on the kept connection', () => this.text.includes('"ok":true'));
  }
}

describe('a certificate by ACME', () => {
  let pebble;
  let servers;
  before(async () => void (pebble = await Pebble.prepare()));
  after(() => pebble.stop());
  afterEach(async () => {
    await Promise.all(servers.map((server) => server.stop()));
    await pebble.halt();
  });

  const make = async (options) => {
    const encke = await Encke.make(pebble, options);
    servers = [encke];
    return encke;
  };

  test('is got by a handshake for all names at once, kept, and shown again after a restart', async () => {
    const encke = await make({ names: [NAME, OTHER] });
    await pebble.run({ httpPort: await freePort(), tlsPort: encke.tlsPort });
    await encke.start();
    const got = await encke.got(pebble.issuer);
    assert.equal(got.subjectaltname.split(', ').sort().join(), `DNS:${OTHER},DNS:${NAME}`);
    assert.equal((await encke.shown(pebble.issuer, OTHER)).serialNumber, got.serialNumber);
    await until('it is counted', async () => (await encke.orders('issued')) === 1);
    assert.deepEqual([pebble.accounts, pebble.orders, pebble.issued], [1, 1, 1]);
    assert.equal(await encke.metric('encke_tls_acme_names_missing'), 0);
    const file = path.join(await encke.folder(), 'certificate.pem');
    const ends = await encke.metric(`encke_tls_certificate_not_after_seconds{cert="${file}"}`);
    assert.equal(ends, Date.parse(got.valid_to) / 1000);
    assert.match(encke.program.stderr, /agrees to the terms of service/);
    const mode = async (place) => ((await lstat(place)).mode & 0o777).toString(8);
    assert.equal(await mode(path.join(encke.data, 'acme')), '700');
    assert.equal(await mode(await encke.folder()), '700');
    for (const name of ['account.json', 'attempts.json', 'certificate.pem'])
      assert.equal(await mode(path.join(await encke.folder(), name)), '600', name);
    await encke.restart();
    assert.equal((await encke.shown(pebble.issuer)).serialNumber, got.serialNumber);
    await always('it orders nothing', QUIET_MS, () => pebble.orders === 1);
    assert.equal(await encke.orders('issued'), undefined);
    await pebble.halt();
    await encke.restart();
    assert.equal((await encke.shown(pebble.issuer)).serialNumber, got.serialNumber);
    assert.equal(await encke.metric('encke_tls_acme_names_missing'), 0);
  });

  test('is got by a request where no handshake gets through, and that way first from then on', async () => {
    const encke = await make();
    await pebble.run({ httpPort: encke.port, tlsPort: await freePort() });
    await encke.start();
    const got = await encke.got(pebble.issuer);
    assert.equal(got.subjectaltname, `DNS:${NAME}`);
    assert.match(encke.program.stderr, /not validated by tls-alpn-01: push\.example\.com: /);
    await until('it is counted', async () => (await encke.orders('issued')) === 1);
    assert.equal(pebble.orders, 2);
    // A directory that knows nothing of the account is told of it again.
    await encke.stop();
    await pebble.halt();
    await rm(path.join(await encke.folder(), 'certificate.pem'));
    await pebble.run({ httpPort: encke.port, tlsPort: await freePort() });
    await encke.start();
    await encke.got(pebble.issuer);
    assert.deepEqual([pebble.accounts, pebble.orders], [1, 1]);
    assert.deepEqual(await readdir(await encke.folder()).then((names) => names.sort()), [
      'account.json',
      'attempts.json',
      'certificate.pem',
      'lock',
    ]);
  });

  test('is renewed before it ends, and no connection is dropped', async () => {
    const encke = await make();
    await pebble.run({ httpPort: await freePort(), tlsPort: encke.tlsPort, livesS: 12 });
    await encke.start();
    const first = await encke.got(pebble.issuer);
    const kept = await Kept.open(encke, pebble.issuer);
    await kept.ask();
    const second = await encke.got(pebble.issuer, ({ serialNumber }) => serialNumber !== first.serialNumber);
    assert.ok(Date.parse(second.valid_from) < Date.parse(first.valid_to), 'the first was valid still');
    await kept.ask();
    kept.socket.destroy();
    assert.equal(pebble.accounts, 1);
  });

  test('comes when the directory does, and nothing else waits for it', async () => {
    const encke = await make();
    await encke.start();
    assert.equal((await request(`${encke.url}/healthz`)).status, 200);
    await assert.rejects(encke.shown([]), /alert/);
    await until('it is counted', async () => (await encke.orders('unreachable')) >= 1);
    assert.equal(await encke.metric('encke_tls_acme_names_missing'), 1);
    const words = /handshakes are refused.*push\.example\.com/;
    await until('it is logged', () => words.test(encke.program.stderr));
    await pebble.run({ httpPort: await freePort(), tlsPort: encke.tlsPort });
    await encke.got(pebble.issuer);
    await until('it is told', async () => (await encke.metric('encke_tls_acme_names_missing')) === 0);
  });

  test('is not asked for again and again when a name fails, over restarts too', async () => {
    const encke = await make({ names: [NAME, OTHER] });
    await pebble.hide(OTHER);
    try {
      await pebble.run({ httpPort: encke.port, tlsPort: encke.tlsPort });
      await encke.start();
      await until('it fails', async () => (await encke.orders('invalid')) === 1, GOT_MS);
      assert.match(encke.program.stderr, /not validated by tls-alpn-01: other\.example\.com: /);
      assert.match(encke.program.stderr, /not validated by http-01: other\.example\.com: /);
      assert.doesNotMatch(encke.program.stderr, /not validated by [^\n]*push\.example\.com: /);
      await assert.rejects(encke.shown(pebble.issuer), /alert/, 'one certificate is for all names');
      assert.equal(pebble.orders, 2);
      const kept = JSON.parse(await readFile(path.join(await encke.folder(), 'attempts.json'), 'utf8'));
      assert.equal(kept.refused, 1);
      assert.ok(kept.next_s > Date.now() / 1000 + 60, 'minutes later');
      await encke.restart();
      await always('it orders nothing', QUIET_MS, () => pebble.orders === 2);
    } finally {
      await pebble.reveal(OTHER);
    }
    // What other names met with says nothing of these.
    encke.env.ENCKE_TLS_ACME = NAME;
    await encke.restart();
    await encke.got(pebble.issuer);
  });

  test('is not asked for before the directory wants to be asked again', async () => {
    let asked = 0;
    const busy = http.createServer((_, response) => {
      asked += 1;
      response.writeHead(503, { 'retry-after': '3600' }).end();
    });
    const port = await freePort();
    await new Promise((resolve) => busy.listen(port, '127.0.0.1', resolve));
    try {
      const encke = await make({ env: { ENCKE_TLS_ACME_DIRECTORY: `http://127.0.0.1:${port}/dir` } });
      await encke.start();
      await until('it fails', async () => (await encke.orders('unreachable')) === 1);
      assert.match(encke.program.stderr, /it answered with the status 503/);
      const asking = asked;
      await encke.restart();
      await always('it asks no more', QUIET_MS, () => asked === asking);
      const kept = JSON.parse(await readFile(path.join(await encke.folder(), 'attempts.json'), 'utf8'));
      assert.ok(kept.next_s > Date.now() / 1000 + 3_500, 'an hour later');
    } finally {
      busy.close();
    }
  });

  test('is not ordered while it could not be kept', async () => {
    const encke = await make();
    await mkdir(encke.data, { recursive: true });
    await writeFile(path.join(encke.data, 'acme'), 'no folder');
    await pebble.run({ httpPort: encke.port, tlsPort: encke.tlsPort });
    await encke.start();
    assert.equal((await request(`${encke.url}/healthz`)).status, 200);
    await until('it is counted', async () => (await encke.orders('not_kept')) >= 1);
    assert.match(encke.program.stderr, /acme\/\S+ cannot be used/);
    assert.deepEqual([pebble.accounts, pebble.orders], [0, 0]);
    await rm(path.join(encke.data, 'acme'));
    await encke.got(pebble.issuer);
  });

  test('is shared by nodes that share its folder, which answer for each other', async () => {
    const [first, second] = [await Encke.make(pebble), await Encke.make(pebble)];
    servers = [first, second];
    const shared = path.join(files.dir, 'shared');
    for (const { data } of servers) {
      await mkdir(data, { recursive: true });
      await mkdir(shared, { recursive: true });
      await chmod(shared, 0o700);
      await symlink(shared, path.join(data, 'acme'));
    }
    // It cannot order, as it does not trust the directory, which asks it alone.
    second.env.ENCKE_TLS_ACME_ROOT = certificate().cert;
    await pebble.run({ httpPort: second.port, tlsPort: await freePort() });
    await first.start();
    await second.start();
    const got = await first.got(pebble.issuer);
    const other = await second.got(pebble.issuer);
    assert.equal(other.serialNumber, got.serialNumber);
    assert.equal(await second.orders('issued'), undefined);
  });

  test('nothing is agreed on with a directory that checks a name without an order', async () => {
    const encke = await make();
    await pebble.run({ httpPort: encke.port, tlsPort: encke.tlsPort });
    await encke.start();
    await encke.got(pebble.issuer);
    const challenged = new Promise((resolve, reject) => {
      const options = { host: '127.0.0.1', port: encke.tlsPort, servername: NAME, rejectUnauthorized: false };
      tls.connect({ ...options, ALPNProtocols: ['acme-tls/1'] }, () => resolve()).on('error', reject);
    });
    await assert.rejects(within('a handshake', challenged), /alert/);
    const answer = await request(`${encke.url}/.well-known/acme-challenge/${'a'.repeat(43)}`);
    answer.refused(404, 'not_found');
  });
});

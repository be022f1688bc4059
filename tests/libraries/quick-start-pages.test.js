// The quick starts (docs/start) that are no applications: what they say to type into a shell, the page
// without a client in Chromium, and the configurations of proxies in real ones.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import http from 'node:http';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Client } from '../../clients/node/index.js';
import { launch } from '../e2e/support/browser.js';
import { request } from '../e2e/support/http.js';
import { freePort } from '../e2e/support/port.js';
import { binary, temporaryDirectory } from '../e2e/support/program.js';
import { API_KEY, Server, TOKEN_SECRET, User } from '../e2e/support/server.js';
import { sign, inSeconds } from '../e2e/support/token.js';
import { Never, until } from '../e2e/support/until.js';
import { blocks } from './blocks.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const PYTHON = `${ROOT}target/libraries/bin/python`;
const MAX_MS = 30_000;

let server;
before(async () => {
  server = await Server.start({ cluster: '', env: { ENCKE_TRUSTED_PROXIES: '127.0.0.1' } });
});
after(() => server?.stop());

const textOf = async (page, info) =>
  (await blocks(page)).filter((block) => block.info === info).map((block) => block.text);
const environment = () => ({
  PATH: process.env.PATH,
  ENCKE_URL: server.url,
  ENCKE_API_KEY: API_KEY,
  ENCKE_TOKEN_SECRET: TOKEN_SECRET,
});

/** Runs a program to its end; gives what it said. */
async function run(program, args, { env = environment(), cwd } = {}) {
  const child = spawn(program, args, { env, cwd, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const output of [child.stdout, child.stderr])
    output.setEncoding('utf8').on('data', (text) => (said += text));
  const late = setTimeout(() => child.kill('SIGKILL'), MAX_MS);
  const status = await new Promise((resolve, reject) => child.on('error', reject).on('close', resolve));
  clearTimeout(late);
  assert.equal(status, 0, said);
  return said;
}

const shell = (text, options) => run('bash', ['-euo', 'pipefail', '-c', text], options);

/** Starts a program that goes on. */
function begin(program, args, options = {}) {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
  const begun = { child, said: '' };
  for (const output of [child.stdout, child.stderr])
    output.setEncoding('utf8').on('data', (text) => (begun.said += text));
  const ended = new Promise((resolve) => child.on('error', resolve).on('close', resolve));
  ended.then((status) => (begun.status = status));
  begun.stop = () => (child.kill('SIGKILL'), ended);
  /** Waits until it says this. */
  begun.says = (what) =>
    until(`it says: ${what}`, () => {
      if (begun.said.includes(what)) return true;
      const { status, said } = begun;
      throw status === undefined ? new Error(`it said: ${said}`) : new Never(`it ended (${status}): ${said}`);
    });
  return begun;
}

describe('shells', () => {
  test('curl', async () => {
    const commands = (await textOf('curl.md', 'sh')).join('\n');
    const here = commands
      .replace('http://127.0.0.1:8080', server.url)
      .replace('ENCKE_API_KEY=dev-key', `ENCKE_API_KEY=${API_KEY}`);
    const said = await shell(`${here}\nprintf '\\n%s' "$TOKEN"`);
    // The poll has what was pushed before, once.
    assert.match(said, /"messages":\[\{[^\]]*"data":\{"text":"hello"\}/);
    assert.match(said, /"state":"queued"/);
    assert.match(said, /\{"cancelled":1\}/);
    const token = said.trim().split('\n').at(-1);
    const [stream] = await textOf('curl.md', 'sh stream');
    const env = { ...environment(), TOKEN: token };
    const open = begin('bash', ['-c', `exec ${stream}`], { env });
    try {
      await open.says('event: opened');
      await server.push({ to: ['alice'], data: 'over the stream' });
      await open.says('over the stream');
    } finally {
      await open.stop();
    }
  });

  test('a server is started as it says', async () => {
    const [plain, hooks] = (await textOf('README.md', '')).filter((text) => text.includes('encke serve'));
    for (const lines of [plain, `${plain.split('\n')[0]}\n${hooks}`]) {
      const { dir, remove } = await temporaryDirectory();
      const port = await freePort();
      // The program has its name here, whatever the file is called that is tested.
      await symlink(path.resolve(binary()), path.join(dir, 'encke'));
      const env = { PATH: `${dir}:${process.env.PATH}` };
      const text = lines.replace('encke serve', 'exec encke serve').replace(':8080', `:${port}`);
      const serve = begin('bash', ['-euc', text], { env, cwd: dir });
      try {
        await serve.says('listening on');
      } finally {
        await serve.stop();
        await remove();
      }
    }
  });

  test('a token in ten lines', async () => {
    const [lines] = await textOf('README.md', 'python');
    const token = (await run(PYTHON, ['-c', `${lines}\nprint(token("zoë"))`])).trim();
    await server.as('zoë', token).look({ channels: 'news' });
    (await server.as('zoë', token).poll({ hold_s: 0, channels: 'other' })).refused(403, 'channel_forbidden');
  });

  test('what other servers call it', async () => {
    const alice = server.as('alice', token('alice'));
    const channels = ['https://example.com/books/1', 'news', 'room'];
    const { session, cursor } = await alice.look({ channels: channels.join() });
    for (const lines of await textOf('moving.md', 'sh')) await shell(lines);
    const { dir, remove } = await temporaryDirectory();
    try {
      await mkdir(path.join(dir, 'node_modules'));
      await symlink(`${ROOT}clients/node`, path.join(dir, 'node_modules/encke-backend'));
      const [lines] = await textOf('moving.md', 'js');
      await writeFile(path.join(dir, 'moving.mjs'), lines);
      await run(process.execPath, ['moving.mjs'], { cwd: dir });
    } finally {
      await remove();
    }
    const { messages } = await alice.take(4, { session, cursor });
    assert.deepEqual(messages.map(({ channel }) => channel).sort(), [...channels, '@alice'].sort());
  });
});

const token = (user) => sign(TOKEN_SECRET, { sub: user, exp: inSeconds(600), channels: ['*'] });

describe('EventSource', () => {
  let browser;
  before(async () => (browser = await launch()));
  after(() => browser?.close());

  /** An application at the same host as Encke, as a proxy makes it. */
  async function site(html) {
    const front = http.createServer((request, response) => {
      if (request.url === '/token') return response.end(token('alice'));
      if (request.url === '/') return response.writeHead(200, { 'content-type': 'text/html' }).end(html);
      const { method, headers } = request;
      const asked = http.request(server.url + request.url, { method, headers });
      asked.on('response', (answer) => answer.pipe(response.writeHead(answer.statusCode, answer.headers)));
      asked.on('error', () => response.destroy());
      response.on('close', () => asked.destroy());
      return request.pipe(asked);
    });
    await new Promise((resolve) => front.listen(0, '127.0.0.1', resolve));
    const stop = () => new Promise((resolve) => (front.closeAllConnections(), front.close(resolve)));
    return { url: `http://127.0.0.1:${front.address().port}/`, stop };
  }

  test('by the cookie', async () => {
    const [html] = await textOf('eventsource.md', 'html');
    const front = await site(`<!doctype html><title>a page</title>${html}`);
    try {
      const page = await browser.newPage();
      await page.goto(front.url);
      await server.held('alice');
      await server.push({ to: ['alice'], data: 'to you' });
      await server.api('POST', '/api/publish', { channel: 'news', data: 'to all' });
      await page.getByText('@alice: "to you"').waitFor();
      await page.getByText('news: "to all"').waitFor();
      await page.close();
    } finally {
      await front.stop();
    }
  });

  test('by a ticket', async () => {
    const [lines] = await textOf('eventsource.md', 'js');
    const script = `const encke = '${server.url}', token = '${token('bob')}';
      ${lines}
      stream.onmessage = ({ data }) => { document.body.append(data); };`;
    // In dev mode pages of this machine may ask.
    const html = `<!doctype html><title>a page</title><body><script type="module">${script}</script>`;
    const front = await site(html);
    try {
      const page = await browser.newPage();
      await page.goto(front.url);
      await server.held('bob');
      await server.push({ to: ['bob'], data: 'to bob' });
      await page.getByText('to bob').waitFor();
      await page.close();
    } finally {
      await front.stop();
    }
  });
});

describe('proxies', () => {
  /** The configuration of a proxy, before the tests' server, at a port of its own. */
  const here = (text, port) =>
    text
      .replaceAll('127.0.0.1:8080', new URL(server.url).host)
      .replace(/(listen |bind ):?80\b/, (_, word) => `${word}127.0.0.1:${port}`);

  /** A proxy that is given a file. */
  async function started(program, file, text, args, port) {
    const { dir, remove } = await temporaryDirectory();
    await writeFile(path.join(dir, file), text);
    const env = { ...process.env, HOME: dir, XDG_DATA_HOME: dir };
    const proxy = begin(program, args(path.join(dir, file)), { env });
    const url = `http://127.0.0.1:${port}`;
    const stop = async () => {
      await proxy.stop();
      await remove();
    };
    try {
      await until('it serves', async () => (await request(`${url}/readyz`)).status === 200);
    } catch (error) {
      await stop();
      throw new Error(`${error.message}: ${proxy.said}`);
    }
    return { url, stop };
  }

  const PROXIES = {
    async nginx() {
      const [[text], port] = [await textOf('proxies.md', 'nginx'), await freePort()];
      const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
      // What includes /etc/nginx/conf.d there.
      const whole = `daemon off; master_process off; pid nginx.pid;
        events { }
        http {
          access_log off; ${temporary.map((name) => `${name}_temp_path ${name};`).join(' ')}
          ${here(text, port)}
        }`;
      const args = (file) => ['-p', path.dirname(file), '-c', file, '-e', 'stderr'];
      return started('/usr/sbin/nginx', 'nginx.conf', whole, args, port);
    },
    async haproxy() {
      const [[text], port] = [await textOf('proxies.md', 'haproxy'), await freePort()];
      const args = (file) => ['-db', '-f', file];
      return started('/usr/sbin/haproxy', 'haproxy.cfg', here(text, port), args, port);
    },
    async Caddy() {
      const [[text], port] = [await textOf('proxies.md', 'caddy'), await freePort()];
      const address = `http://127.0.0.1:${port} {\n\tbind 127.0.0.1`;
      const site = here(text, port).replace('push.example.com {', address);
      const args = (file) => ['run', '--adapter', 'caddyfile', '--config', file];
      return started('caddy', 'Caddyfile', `{\n\tadmin off\n}\n\n${site}`, args, port);
    },
  };
  /** Which pass on the answer to a request that has not ended. */
  const DUPLEX = ['nginx', 'haproxy'];

  for (const [name, start] of Object.entries(PROXIES))
    test(name, async () => {
      const proxy = await start();
      try {
        const user = `carol-${name.toLowerCase()}`;
        const behind = Object.assign(Object.create(server), { url: proxy.url });
        const carol = new User(behind, user, token(user));
        const stream = await carol.stream();
        const socket = await webSocket(proxy.url, carol.token);
        const client = new Client(proxy.url, API_KEY);
        await client.push({ to: [user], data: 1 });
        assert.equal((await stream.next()).data, 1);
        await until('the WebSocket has it, too', () => socket.said.includes('"data":1'));
        if (DUPLEX.includes(name)) {
          const results = [];
          const pushes = async function* () {
            yield { to: [user], data: 2 };
            // The answer to the first comes before the second is sent.
            await until('there is a result', () => results.length === 1);
            yield { to: [user], data: 3 };
          };
          for await (const result of client.pushStream(pushes())) results.push(result);
          assert.deepEqual(results.map(({ accepted }) => accepted), [1, 1]);
        }
        socket.end();
        await stream.drop();
        client.shut();
      } finally {
        await proxy.stop();
      }
    });

  /** A WebSocket, as far as it is needed to see what comes. */
  async function webSocket(url, bearer) {
    const headers = {
      authorization: `Bearer ${bearer}`,
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': 'AQIDBAUGBwgJCgsMDQ4PEA==',
    };
    const asked = http.get(`${url}/v1/ws`, { headers, agent: false });
    const socket = await new Promise((resolve, reject) =>
      asked
        .on('upgrade', (_, socket, head) => resolve(Object.assign(socket, { said: head.toString() })))
        .on('response', (answer) => reject(new Error(`no WebSocket: ${answer.statusCode}`)))
        .on('error', reject),
    );
    socket.on('error', () => {}).on('data', (data) => (socket.said += data));
    await until('it opens', () => socket.said.includes('"event":"open"'));
    return socket;
  }
});

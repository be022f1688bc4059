// The quick starts (docs/start), as they stand there: each application is run beside a server of its own that
// asks it by hooks, and is used as a browser would.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { request } from '../e2e/support/http.js';
import { freePort } from '../e2e/support/port.js';
import { temporaryDirectory } from '../e2e/support/program.js';
import { API_KEY, Server, TOKEN_SECRET } from '../e2e/support/server.js';
import { Never, until } from '../e2e/support/until.js';
import { blocks } from './blocks.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const BIN = `${ROOT}target/libraries/bin`;
const HOOKS_SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
const PASSWORD = 'wonderland';

/** An application of a page, by the name of its file there; `command` is how the page says to run it. */
const APPLICATIONS = {
  Flask: { page: 'flask.md', file: 'app.py', command: (port) => [`${BIN}/flask`, 'run', '--port', port] },
  FastAPI: {
    page: 'flask.md',
    file: 'main.py',
    command: (port) => [`${BIN}/uvicorn`, 'main:app', '--port', port],
  },
  Django: { page: 'django.md', file: 'app.py', command: () => [`${BIN}/python`, 'app.py'] },
  Express: { page: 'express.md', file: 'app.mjs', command: () => [process.execPath, 'app.mjs'] },
  Laravel: {
    page: 'laravel.md',
    file: 'routes/web.php',
    command: (port) => ['php', '-S', `127.0.0.1:${port}`, `${ROOT}tests/libraries/laravel.php`],
    prepare: prepareLaravel,
  },
  PHP: {
    page: 'laravel.md',
    file: 'app.php',
    command: (port) => ['php', '-S', `127.0.0.1:${port}`, 'app.php'],
  },
};

/** What Laravel's own template has, as far as these routes need it. */
async function prepareLaravel(dir) {
  const providers = ['Cookie', 'Encryption', 'Filesystem', 'Session', 'Translation', 'View'];
  const files = {
    'config/app.php': {
      key: '0123456789abcdef0123456789abcdef',
      cipher: 'AES-256-CBC',
      locale: 'en',
      fallback_locale: 'en',
      providers: providers.map((name) => `Illuminate\\${name}\\${name}ServiceProvider`),
    },
    'config/session.php': {
      driver: 'file',
      files: `${dir}/storage/framework/sessions`,
      lifetime: 60,
      expire_on_close: false,
      lottery: [0, 1],
      cookie: 'session',
      path: '/',
      domain: null,
      secure: false,
      http_only: true,
      same_site: 'lax',
    },
    'config/view.php': { paths: [], compiled: dir },
    'config/logging.php': { default: 'null', channels: {} },
  };
  for (const folder of ['config', 'bootstrap/cache', 'storage/framework/sessions', 'storage/logs'])
    await mkdir(path.join(dir, folder), { recursive: true });
  for (const [file, value] of Object.entries(files)) {
    const text = JSON.stringify(value).replaceAll('\\', '\\\\');
    await writeFile(path.join(dir, file), `<?php return json_decode('${text}', true);\n`);
  }
}

/** Writes an application as its page has it, and runs it; gives its address and what ends it. */
async function start({ page, file, command, prepare }, server, port) {
  const { dir, remove } = await temporaryDirectory();
  const text = (await blocks(page)).find((block) => block.info.endsWith(` ${file}`))?.text;
  assert.ok(text, `${page} has ${file}`);
  await mkdir(path.dirname(path.join(dir, file)), { recursive: true });
  await writeFile(path.join(dir, file), text);
  await mkdir(path.join(dir, 'node_modules'));
  await symlink(`${ROOT}clients/node`, path.join(dir, 'node_modules/encke-backend'));
  for (const name of ['express', 'express-session'])
    await symlink(`${ROOT}tests/libraries/node_modules/${name}`, path.join(dir, 'node_modules', name));
  await prepare?.(dir);
  const [program, ...args] = command(String(port));
  const child = spawn(program, args, {
    cwd: dir,
    env: {
      PATH: process.env.PATH,
      HOME: dir,
      PORT: String(port),
      PYTHONPATH: `${ROOT}clients/python/src`,
      ENCKE_PHP: `${ROOT}clients/php/src`,
      LARAVEL: dir,
      ROUTES: path.join(dir, 'routes/web.php'),
      ENCKE_URL: server.url,
      ENCKE_API_KEY: API_KEY,
      ENCKE_TOKEN_SECRET: TOKEN_SECRET,
      ENCKE_HOOKS_SECRET: HOOKS_SECRET,
      SECRET_KEY: 'a secret of the application alone',
      PASSWORD,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const app = { url: `http://127.0.0.1:${port}`, said: '' };
  for (const output of [child.stdout, child.stderr])
    output.setEncoding('utf8').on('data', (said) => (app.said += said));
  const ended = new Promise((resolve) => child.on('error', resolve).on('close', resolve));
  app.stop = async () => {
    child.kill('SIGKILL');
    await ended;
    await remove();
  };
  let isOver = false;
  ended.then(() => (isOver = true));
  await until(`${page} answers: ${app.said}`, async () => {
    if (isOver) throw new Never(`it ended: ${app.said}`);
    return (await request(`${app.url}/token`)).status;
  });
  return app;
}

/** What a user's browser does with the application and the server. */
async function use(app, server) {
  const ask = (method, address, body, headers) => request(app.url + address, { method, body, headers });
  const is = (answer, status) => assert.equal(answer.status, status, `${answer.text}\n${app.said}`);
  is(await ask('GET', '/token'), 401);
  is(await ask('POST', '/orders', { what: 'tea' }), 401);
  is(await ask('POST', '/login', { user: 'alice', password: 'wrong' }), 401);
  const login = await ask('POST', '/login', { user: 'alice', password: PASSWORD });
  is(login, 204);
  const cookie = login.headers['set-cookie'].map((one) => one.split(';')[0]).join('; ');
  const { status, text: token } = await ask('GET', '/token', undefined, { cookie });
  assert.equal(status, 200, app.said);
  const alice = server.as('alice', token);
  // The hook decides.
  const first = await alice.look({ channels: 'news' });
  (await alice.poll({ hold_s: 0, channels: 'secret' })).refused(403, 'channel_forbidden');
  is(await ask('POST', '/encke', { type: 'subscribe', user: 'alice', channel: 'news' }), 401);
  is(await ask('POST', '/orders', { what: 'tea' }, { cookie }), 202);
  const { messages } = await alice.take(1, { session: first.session, cursor: first.cursor });
  assert.deepEqual(messages[0].data, { order: 'tea' });
}

describe('applications', { concurrency: 3 }, () => {
  for (const [name, application] of Object.entries(APPLICATIONS))
    test(name, async () => {
      const port = await freePort();
      const server = await Server.start({
        dev: false,
        cluster: '',
        env: {
          ENCKE_HOOKS_URL: `http://127.0.0.1:${port}/encke`,
          ENCKE_HOOKS_SECRET: HOOKS_SECRET,
          ENCKE_HOOKS_ALLOW_PRIVATE: 'true',
          ENCKE_HOOKS_DECIDE: 'subscribe',
          // PHP's own server and a loaded machine take their time.
          ENCKE_HOOKS_TIMEOUT_MS: '10000',
        },
      });
      let app;
      try {
        app = await start(application, server, port);
        await use(app, server);
      } finally {
        await app?.stop();
        await server.stop();
      }
    });
});

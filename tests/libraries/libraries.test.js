// The libraries for backends, each by its own tests, against a real server and a front that loses and refuses
// what passes it. Their tests find both in the environment. Each library has a server of its own, since tests
// push to all who are online.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { API_KEY, Server, TOKEN_SECRET } from '../e2e/support/server.js';
import { faultyFront } from './faulty-front.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const PYTHON = `${ROOT}target/libraries/bin/python`;
const MAX_MS = 90_000;

/** The same as `passes`, with a server and a front before it. */
async function passesWithServer(folder, says, program, ...args) {
  const server = await Server.start({ dev: false, cluster: '' });
  const front = await faultyFront(server.url);
  const env = {
    ENCKE_URL: server.url,
    ENCKE_API_KEY: API_KEY,
    ENCKE_TOKEN_SECRET: TOKEN_SECRET,
    ENCKE_FAULTY_URL: front.url,
  };
  try {
    await passes(folder, says, env, program, ...args);
  } finally {
    await front.stop();
    await server.stop();
  }
}

/** Runs a command in a folder of clients/, which has to say this; what it says is the failure's message. */
async function passes(folder, says, env, program, ...args) {
  const child = spawn(program, args, {
    cwd: `${ROOT}clients/${folder}`,
    // NODE_TEST_CONTEXT is for the runner of these tests.
    env: { ...process.env, PYTHONPATH: 'src', NODE_TEST_CONTEXT: undefined, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  for (const output of [child.stdout, child.stderr])
    output.setEncoding('utf8').on('data', (text) => (said += text));
  const ended = new Promise((resolve, reject) => child.on('error', reject).on('close', resolve));
  const late = setTimeout(() => ((said += `\nended after ${MAX_MS} ms`), child.kill('SIGKILL')), MAX_MS);
  const status = await ended.finally(() => clearTimeout(late));
  assert.equal(status, 0, said);
  assert.match(said, says);
  // Of Python: a connection that was left open.
  assert.doesNotMatch(said, /ResourceWarning/);
}

const GO = process.env.ENCKE_GO ?? 'go';

// They mostly wait: for pauses between attempts, and for what is silent.
describe('libraries for backends', { concurrency: 3 }, () => {
  test('Python', () =>
    passesWithServer('python', /^Ran [1-9]\d+ tests/m, PYTHON, '-m', 'unittest', 'discover', '-s', 'tests'));
  test('Python: its types', () => {
    const options = ['--strict', '--python-version', '3.10', '--cache-dir', `${ROOT}target/mypy`];
    return passes('python', /no issues found/, {}, PYTHON, '-m', 'mypy', ...options, 'src', 'tests');
  });
  test('Node', () => {
    // One file at a time: the examples of README.md push to all who are online.
    const args = ['--test', '--test-concurrency=1', 'test/'];
    return passesWithServer('node', /^(#|ℹ) pass [1-9]\d/m, process.execPath, ...args);
  });
  test('Node: its types', () =>
    passes('node', /^$/, {}, process.execPath, 'node_modules/typescript/bin/tsc', '--project', 'test'));
  test('Go', () => {
    const args = ['test', '-vet=all', '-timeout=60s', '-count=1', './...'];
    return passesWithServer('go', /^ok /m, GO, ...args);
  });
  test('PHP', () =>
    passesWithServer('php', /^(ok .*\n){10}/m, 'php', '-d', 'zend.assertions=1', 'tests/run.php'));
});

import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import net from 'node:net';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { freePort } from './port.js';
import { until } from './until.js';

/**
 * The servers that this test process has started, by their kind. One serves all stories, each under a prefix
 * of its own.
 */
const running = new Map();

/** What `--engine` has to be for a story of its own. */
export async function engineUrl(kind) {
  const { port } = await server(kind);
  const scheme = kind === 'redis' ? 'redis' : 'nats';
  return `${scheme}://127.0.0.1:${port}/?prefix=e2e${randomBytes(6).toString('hex')}`;
}

/** Stops the engine's process where it is, or lets it go on: it is there, and does not answer. */
export async function signalEngine(kind, signal) {
  (await server(kind)).child.kill(signal);
}

async function server(kind) {
  if (!running.has(kind)) running.set(kind, start(kind));
  return running.get(kind);
}

async function start(kind) {
  const dir = mkdtempSync(path.join(tmpdir(), `encke-${kind}-`));
  const port = await freePort();
  const [program, args] = command(kind, dir, port);
  const child = spawn(program, args, { stdio: 'ignore' });
  child.on('error', () => {});
  process.on('exit', () => {
    child.kill('SIGKILL');
    rmSync(dir, { recursive: true, force: true });
  });
  // It is not what keeps this process alive.
  child.unref();
  await until(`${program} listens`, () => new Promise((resolve, reject) => {
    if (child.exitCode !== null) return reject(new Error(`${program} ended with ${child.exitCode}`));
    const probe = net.connect(port, '127.0.0.1', () => resolve(probe.destroy()));
    probe.on('error', reject);
  }));
  return { port, child };
}

function command(kind, dir, port) {
  if (kind === 'redis') {
    return [
      'redis-server',
      ['--port', String(port), '--bind', '127.0.0.1', '--dir', dir, '--appendonly', 'yes', '--save', ''],
    ];
  }
  const settings = path.join(dir, 'nats.conf');
  writeFileSync(
    settings,
    `listen: 127.0.0.1:${port}\njetstream { store_dir: ${JSON.stringify(dir)}, sync_interval: always }\n`,
  );
  return [process.env.ENCKE_NATS_SERVER ?? 'nats-server', ['-c', settings]];
}

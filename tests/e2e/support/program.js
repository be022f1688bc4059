import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { Never, until, within } from './until.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

/** Where screenshots and the like go. */
export const TARGET = path.join(ROOT, 'target');

/** The file of the program that is tested. */
export function binary() {
  const file = process.env.ENCKE_BIN ?? path.join(TARGET, 'debug', 'encke');
  if (!existsSync(file))
    throw new Error(`there is no ${file}: build it with \`cargo build -p encke\`, or set ENCKE_BIN`);
  return file;
}

/**
 * The environment without anything that Encke reads: what a test does not say must not come from the shell
 * that runs it.
 */
function cleanEnvironment() {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('ENCKE_')));
}

/** A new directory, which is removed by the function that comes with it. */
export async function temporaryDirectory() {
  const dir = await mkdtemp(path.join(tmpdir(), 'encke-e2e-'));
  return { dir, remove: () => rm(dir, { recursive: true, force: true, maxRetries: 5 }) };
}

/** One run of the program. */
export class Program {
  stdout = '';
  stderr = '';
  /** The exit status; a signal's name if one ended it. */
  status = null;

  /**
   * @param {string[]} args
   * @param {{env?: Record<string, string>, cwd?: string}} [options]
   */
  constructor(args, { env = {}, cwd } = {}) {
    this.args = args;
    this.child = spawn(binary(), args, {
      env: { ...cleanEnvironment(), ...env },
      cwd,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.child.stdout.setEncoding('utf8').on('data', (text) => (this.stdout += text));
    this.child.stderr.setEncoding('utf8').on('data', (text) => (this.stderr += text));
    this.ended = new Promise((resolve, reject) => {
      this.child.on('error', reject);
      this.child.on('close', (code, signal) => {
        this.status = code ?? signal;
        resolve(this);
      });
    });
  }

  get running() {
    return this.status === null;
  }

  /** The lines on stdout that are whole. */
  get lines() {
    return this.stdout.split('\n').slice(0, -1);
  }

  /** The same, each read as JSON. */
  get objects() {
    return this.lines.map((line) => JSON.parse(line));
  }

  /** Waits for a line that `fits`, and gives it. */
  line(what, fits) {
    return until(`${this.args[0]} prints ${what}`, () => {
      const found = this.lines.find(fits);
      if (!found && !this.running) throw new Never(`it ended with ${this.status}: ${this.stderr}`);
      return found;
    });
  }

  end(ms) {
    return within(`encke ${this.args.join(' ')} ends`, this.ended, ms);
  }

  /** Ends it by this signal, if it runs. */
  async kill(signal) {
    if (this.running) this.child.kill(signal);
    await this.end();
    return this;
  }
}

/** Runs the program to its end. */
export async function run(args, options) {
  const program = new Program(args, options);
  try {
    return await program.end();
  } catch (error) {
    await program.kill('SIGKILL');
    throw error;
  }
}

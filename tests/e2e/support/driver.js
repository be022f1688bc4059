import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { TARGET } from './program.js';
import { within } from './until.js';

const DRIVERS = fileURLToPath(new URL('../drivers/', import.meta.url));
const TOOLS = path.join(TARGET, 'tools');
const JARS = path.join(TOOLS, 'cometd');
const PYTHON = path.join(TOOLS, 'python', 'bin', 'python');
/** What each is run by, which tests/run installs, and with which arguments. */
const PROGRAMS = {
  cometd: {
    needs: JARS,
    command: ['java', '-XX:TieredStopAtLevel=1', '-Xmx256m', '-cp', path.join(JARS, '*')],
    file: path.join('cometd', 'CometDriver.java'),
  },
  aiocometd: { needs: PYTHON, command: [PYTHON], file: 'aiocometd_driver.py' },
  pusher: { needs: PYTHON, command: [PYTHON], file: 'pusher_driver.py' },
};
/** A virtual machine that compiles its program first, on a machine that is busy. */
const ANSWER_MS = 40_000;

/**
 * A program with clients of another language. It is asked by lines of JSON, `{"id","do",…}`, and answers each
 * by one: `{"id",…}`, or `{"id","failed"}` with the reason. Between these it tells what its clients receive:
 * `{"client",…}`. It ends with its input.
 */
export class Driver {
  #child;
  #answers = new Map();
  #listeners = new Map();
  #number = 0;
  #stderr = '';
  /** How it ended, once it has. */
  #end;

  /** @param {'cometd' | 'aiocometd' | 'pusher'} name */
  constructor(name) {
    const { needs, command: [program, ...args], file } = PROGRAMS[name];
    if (!existsSync(needs)) throw new Error(`there is no ${needs}: tests/run installs it`);
    this.#child = spawn(program, [...args, path.join(DRIVERS, file)], { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child.stderr.setEncoding('utf8').on('data', (text) => (this.#stderr += text));
    this.#child.on('error', (error) => this.#ended(error.message));
    this.#child.on('close', (status) => this.#ended(`it ended with ${status}`));
    // Its end is told by `close`.
    this.#child.stdin.on('error', () => {});
    createInterface({ input: this.#child.stdout }).on('line', (line) => this.#take(JSON.parse(line)));
  }

  #ended(how) {
    this.#end ??= new Error(`${how}: ${this.#stderr}`);
    for (const { reject } of this.#answers.values()) reject(this.#end);
    this.#answers.clear();
  }

  #take({ id, client, ...said }) {
    if (client !== undefined) return this.#listeners.get(client)?.(said);
    const { resolve, reject } = this.#answers.get(id);
    this.#answers.delete(id);
    return said.failed === undefined ? resolve(said) : reject(new Error(said.failed));
  }

  /** @param {{do: string}} asked */
  async ask(asked) {
    if (this.#end) throw this.#end;
    const id = ++this.#number;
    const answer = new Promise((resolve, reject) => this.#answers.set(id, { resolve, reject }));
    this.#child.stdin.write(`${JSON.stringify({ id, ...asked })}\n`);
    return within(`${asked.do} is answered`, answer, ANSWER_MS);
  }

  /** A name for a client, of which `listener` is told what it receives. */
  name(listener) {
    const name = `client ${++this.#number}`;
    this.#listeners.set(name, listener);
    return name;
  }

  async close() {
    if (this.#end) return;
    const ended = new Promise((resolve) => this.#child.once('close', resolve));
    this.#child.stdin.end();
    await within('it ends', ended).catch(() => this.#child.kill('SIGKILL'));
  }
}

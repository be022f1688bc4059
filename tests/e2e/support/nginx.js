import { spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';

import { freePort } from './port.js';
import { request } from './http.js';
import { temporaryDirectory } from './program.js';
import { until } from './until.js';

/** A real nginx of its own, with one virtual server. */
export class Nginx {
  #process;
  #remove;
  #said = '';

  /** @param {string} locations what stands in its `server` block */
  static async start(locations) {
    const nginx = new Nginx();
    const { dir, remove } = await temporaryDirectory();
    nginx.#remove = remove;
    const port = await freePort();
    nginx.url = `http://127.0.0.1:${port}`;
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
      .map((name) => `${name}_temp_path ${dir}/${name};`)
      .join(' ');
    const config = path.join(dir, 'nginx.conf');
    await writeFile(
      config,
      `daemon off; master_process off; worker_processes 1; pid ${dir}/pid; error_log stderr;
events { worker_connections 512; }
http {
  access_log off; ${temporary}
  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
  server {
    listen 127.0.0.1:${port};
    ${locations}
  }
}
`,
    );
    nginx.#process = spawn('nginx', ['-p', dir, '-c', config, '-e', 'stderr'], {
      env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    nginx.#process.stderr.on('data', (chunk) => void (nginx.#said += chunk));
    nginx.#process.on('error', (error) => void (nginx.#said += error));
    try {
      await until('nginx listens', () => request(`${nginx.url}/`).then(() => true, () => false));
    } catch (error) {
      await nginx.stop();
      throw new Error(`${error.message}: ${nginx.#said}`);
    }
    return nginx;
  }

  async stop() {
    if (
      this.#process.exitCode === null &&
      this.#process.signalCode === null &&
      this.#process.pid !== undefined
    ) {
      const gone = new Promise((resolve) => this.#process.once('exit', resolve));
      this.#process.kill('SIGKILL');
      await gone;
    }
    await this.#remove();
  }
}

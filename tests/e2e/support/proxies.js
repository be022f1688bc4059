import { spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';

import { request } from './http.js';
import { freePort } from './port.js';
import { temporaryDirectory } from './program.js';
import { Never, until, within } from './until.js';

/**
 * How long the proxies let a client's connection rest: less than the server does, and no multiple of half a
 * second.
 */
export const CLIENT_REST_MS = 60_250;

/** As docs/OPERATING.md has it, before one server. */
const nginx = (dir, port, server) => `
daemon off; master_process off; pid ${dir}/nginx.pid; error_log ${dir}/error.log;
events { worker_connections 2048; }
http {
  access_log off; client_body_temp_path ${dir}/body; proxy_temp_path ${dir}/proxy;
  fastcgi_temp_path ${dir}/fastcgi; uwsgi_temp_path ${dir}/uwsgi; scgi_temp_path ${dir}/scgi;
  keepalive_timeout ${CLIENT_REST_MS}ms;
  upstream encke { server 127.0.0.1:${server} max_fails=0; keepalive 256; }
  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://encke; proxy_http_version 1.1;
      proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
      proxy_buffering off; proxy_request_buffering off; proxy_connect_timeout 2s;
      proxy_read_timeout 150s; proxy_send_timeout 150s; proxy_next_upstream error timeout http_503;
    }
  }
}`;
const haproxy = (_, port, server) => `
defaults
  mode http
  timeout connect 2s
  timeout client 150s
  timeout server 150s
  timeout tunnel 1h
  timeout http-request 20s
  timeout http-keep-alive ${CLIENT_REST_MS}ms
  option redispatch
  retries 2
frontend web
  bind 127.0.0.1:${port}
  default_backend encke
backend encke
  balance leastconn
  option httpchk GET /readyz
  http-check expect status 200
  default-server check inter 1s fall 2 rise 1
  server a 127.0.0.1:${server}
`;
const KINDS = {
  nginx: { program: '/usr/sbin/nginx', config: nginx, args: (file, dir) => ['-p', dir, '-c', file] },
  haproxy: { program: '/usr/sbin/haproxy', config: haproxy, args: (file) => ['-db', '-f', file] },
};

/** A proxy of this kind before the server at `server`; gives its address and what ends it. */
export async function proxy(kind, server) {
  const { program, config, args } = KINDS[kind];
  const { dir, remove } = await temporaryDirectory();
  const port = await freePort();
  const file = path.join(dir, `${kind}.conf`);
  await writeFile(file, config(dir, port, server));
  const child = spawn(program, args(file, dir), { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const output of [child.stdout, child.stderr])
    output.setEncoding('utf8').on('data', (text) => (said += text));
  let over = false;
  const ended = new Promise((resolve) => {
    child.on('error', (error) => (said += error)).on('close', resolve);
  }).then(() => (over = true));
  const stop = async () => {
    child.kill('SIGTERM');
    await within(`${kind} ends`, ended);
    await remove();
  };
  const url = `http://127.0.0.1:${port}`;
  try {
    await until(`${kind} serves`, async () => {
      if (over) throw new Never(`${kind} ended: ${said}`);
      return (await request(`${url}/readyz`)).status === 200;
    });
  } catch (error) {
    await stop();
    throw error;
  }
  return { url, stop };
}

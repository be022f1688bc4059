import { existsSync, readFileSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const PROTOTYPE = '/usr/share/javascript/prototype/prototype.js';

/** The two kinds of scripts: which library each is written with, and where it waits. */
export const KINDS = {
  prototype: {
    library: () => (existsSync(PROTOTYPE) ? PROTOTYPE : missing()),
    script: 'by-timestamp.js',
    waits: 'GET',
  },
  jquery: {
    library: () => createRequire(import.meta.url).resolve('jquery/dist/jquery.js'),
    script: 'by-cookie.js',
    waits: 'POST',
  },
};

function missing() {
  throw new Error(`there is no ${PROTOTYPE}: install Debian's libjs-prototype`);
}

const page = (kind, me) => `<!doctype html><meta charset="utf-8"><title>${kind} ${me}</title>
<style>
  body { font: 16px system-ui; margin: 1rem }
  iframe { width: 100%; height: 12rem; border: 1px solid #999 }
</style>
<script src="/library/${kind}.js"></script><script src="/script/${kind}.js"></script>
<h1>${kind}: user <span id="me"></span>, <span id="state"></span></h1>
<form id="form"><input id="to" size="3"> <input id="address" size="40">
  <button id="send">Send</button> <button id="stop" type="button">Stop</button></form>
<iframe id="shown"></iframe><ol id="log"></ol>`;

/**
 * The web server that the old scripts came with: it has the pages, and behind `/classic/` of the same origin
 * is Encke, as there was a PHP script before. It can keep waiting requests back for a while, as a slow
 * network does.
 */
export async function startClassicSite(encke) {
  const site = { waits: [], back: [], holds: false };
  const server = http.createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url, 'http://site');
    const [, room, name = ''] = pathname.split('/');
    const send = (type, text) =>
      response.writeHead(200, { 'content-type': `${type}; charset=utf-8` }).end(text);
    if (room === 'classic') return forward(site, encke, request, response, searchParams.has('msg'));
    if (room === 'page')
      return send(
        'text/html',
        `<!doctype html><body style="background:#246;color:#fff;font:24px system-ui"><p id="word">${name}</p>`,
      );
    const kind = name.replace('.js', '');
    if (!(kind in KINDS)) return response.writeHead(404).end();
    if (room === 'library') return send('text/javascript', readFileSync(KINDS[kind].library()));
    if (room === 'script')
      return send(
        'text/javascript',
        readFileSync(fileURLToPath(new URL(`../classic/${KINDS[kind].script}`, import.meta.url))),
      );
    return send('text/html', page(kind, searchParams.get('me')));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return Object.assign(site, {
    url: `http://127.0.0.1:${server.address().port}`,
    /** Keeps requests that would wait back from now on. */
    hold: () => (site.holds = true),
    /** Lets those go on that were kept back. */
    release() {
      site.holds = false;
      for (const go of site.back.splice(0)) go();
    },
    stop: () => new Promise((resolve) => (server.closeAllConnections(), server.close(resolve))),
  });
}

function forward(site, encke, request, response, publishes) {
  const waits = request.url.startsWith('/classic/backend') && !publishes;
  if (waits) site.waits.push(request.headers.referer ?? '');
  const go = () => {
    const inner = http.request(encke.url + request.url, {
      method: request.method,
      headers: { ...request.headers, connection: 'close' },
      agent: false,
    });
    inner.on('response', (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
      // What breaks off there breaks off here.
      answer.on('error', () => response.destroy());
    });
    inner.on('error', () => (response.headersSent ? response.destroy() : response.writeHead(502).end()));
    response.on('close', () => inner.destroy());
    request.pipe(inner);
  };
  if (waits && site.holds) site.back.push(go);
  else go();
}

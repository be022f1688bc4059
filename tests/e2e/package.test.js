// The browser client as a package: what `npm pack` makes is installed, and runs as it is imported, required,
// bundled and loaded by a page; and the same as the server gives it.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import http from 'node:http';
import { createRequire } from 'node:module';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';

import { launch, startSite } from './support/browser.js';
import { temporaryDirectory } from './support/program.js';
import { Server } from './support/server.js';
import { until } from './support/until.js';

const run = promisify(execFile);
const CLIENT = fileURLToPath(new URL('../../clients/js', import.meta.url));
/**
 * The most that the client takes on the wire, in bytes after gzip. What is new is to be worth its bytes:
 * raise this only with the reason in the commit.
 */
const GZIPPED_MAX = 12_000;

let browser;
let server;
let folder;
/** Pages of another origin, without a policy. */
let pages;
before(async () => {
  [browser, server, folder, pages] = await Promise.all([
    launch(),
    Server.start(),
    temporaryDirectory(),
    startSite(),
  ]);
  const quiet = ['--silent', '--offline', '--no-audit', '--no-fund'];
  const npm = (...args) => run('npm', [...args, ...quiet], { cwd: folder.dir });
  await npm('pack', CLIENT);
  const [archive] = (await readdir(folder.dir)).filter((name) => name.endsWith('.tgz'));
  await writeFile(path.join(folder.dir, 'package.json'), '{"private": true}');
  await npm('install', `./${archive}`);
});
after(async () => {
  await browser?.close();
  await server?.stop();
  await folder?.remove();
  await pages?.stop();
});

/** What an application does: it connects, tells what comes, and closes. */
const PROGRAM = `
  const [url, token] = process.argv.slice(2);
  const client = new Encke({ url, token, channels: ['news'], transport: 'sse' });
  client.once('open', () => client.publish('news', 'hello'));
  client.once('message', async ({ channel, data }) => console.log(channel, data, await client.close()));
  client.connect();
`;

/**
 * What makes one file of an application, each as its own documentation has it: from a source into a file.
 * @type {Record<string, (source: string, out: string) => Promise<unknown>>}
 */
const BUNDLERS = {
  esbuild: (source, outfile) => {
    const { build } = createRequire(path.join(CLIENT, 'package.json'))('esbuild');
    return build({ entryPoints: [source], bundle: true, format: 'esm', platform: 'node', outfile });
  },
  vite: async (source, out) => {
    const { build } = await import('vite');
    const lib = { entry: source, formats: ['es'], fileName: () => path.basename(out) };
    const into = { outDir: path.dirname(out), emptyOutDir: false, lib };
    return build({ root: folder.dir, configFile: false, logLevel: 'error', build: into });
  },
  webpack: async (source, out) => {
    const { default: webpack } = await import('webpack');
    const output = { path: path.dirname(out), filename: path.basename(out), module: true };
    const stats = await promisify(webpack)({
      mode: 'production', context: folder.dir, entry: source, target: 'node', output,
      experiments: { outputModule: true },
    });
    assert.ok(!stats.hasErrors(), stats.toString());
  },
};

for (const [what, file, head] of [
  ['imported', 'app.mjs', "import { Encke } from 'encke';"],
  ['required', 'app.cjs', "const { Encke } = require('encke');"],
  ...Object.keys(BUNDLERS).map((name) => [name, `of-${name}.mjs`, "import { Encke } from 'encke';"]),
  ['required and webpack', 'of-required.cjs', "const { Encke } = require('encke');"],
]) {
  test(`the package runs by ${what}`, async () => {
    const source = path.join(folder.dir, file);
    await writeFile(source, head + PROGRAM);
    const bundle = BUNDLERS[what.split(' ').at(-1)];
    const program = bundle ? path.join(folder.dir, 'bundled', `${path.parse(file).name}.mjs`) : source;
    await bundle?.(source, program);
    if (bundle) assert.doesNotMatch(await readFile(program, 'utf8'), /(from|require\()\s*["']encke["']/);
    const { token } = await server.login(what);
    const { stdout } = await run(process.execPath, [program, server.url, token], { timeout: 30_000 });
    assert.equal(stdout, 'news hello true\n');
  });
}

test('the package has its types, its licences, its maps, and nothing else', async () => {
  const installed = path.join(folder.dir, 'node_modules/encke');
  assert.deepEqual((await readdir(installed)).sort(), [
    'LICENSE-APACHE', 'LICENSE-MIT', 'README.md', 'client', 'dist', 'encke.d.ts', 'encke.js', 'package.json',
  ]);
  const made = ['encke.cjs', 'encke.global.js', 'encke.js'];
  assert.deepEqual(
    (await readdir(path.join(installed, 'dist'))).sort(),
    [...made, ...made.map((name) => `${name}.map`), 'encke.d.cts'].sort(),
  );
  for (const name of made) {
    const text = await readFile(path.join(installed, 'dist', name), 'utf8');
    assert.ok(text.endsWith(`//# sourceMappingURL=${name}.map\n`));
    const map = JSON.parse(await readFile(path.join(installed, 'dist', `${name}.map`), 'utf8'));
    assert.ok(map.sources.some((source) => source.endsWith('client/session.js')));
  }
});

/** Asks without a client that would undo a compression. */
const raw = (address, headers = {}) =>
  new Promise((resolve, reject) => {
    http
      .get(server.url + address, { headers }, async (answer) => {
        const body = Buffer.concat(await answer.toArray());
        resolve({ status: answer.statusCode, headers: answer.headers, body });
      })
      .on('error', reject);
  });

test('the server gives one small file, compressed, and under a name that may be kept', async () => {
  for (const address of ['/client.js', '/client.global.js']) {
    const plain = await raw(address);
    assert.equal(plain.status, 200);
    assert.equal(plain.headers['content-encoding'], undefined);
    assert.equal(plain.headers['cache-control'], 'no-cache');
    const lasting = `/${plain.headers['content-location']}`;
    assert.match(lasting, /^\/client\/encke\.[0-9a-f]{12}\./);
    for (const [coding, undo] of [['gzip', gunzipSync], ['br', brotliDecompressSync]]) {
      const headers = { 'accept-encoding': coding };
      for (const one of [address, lasting]) {
        const answer = await raw(one, headers);
        assert.equal(answer.headers['content-encoding'], coding);
        assert.match(answer.headers.vary, /accept-encoding/i);
        assert.ok(undo(answer.body).equals(plain.body));
        assert.ok(answer.body.length <= GZIPPED_MAX, `${answer.body.length} bytes`);
        assert.notEqual(answer.headers.etag, plain.headers.etag);
        const again = await raw(one, { ...headers, 'if-none-match': answer.headers.etag });
        assert.deepEqual([again.status, again.body.length], [304, 0]);
      }
    }
    assert.match((await raw(lasting)).headers['cache-control'], /max-age=31536000, immutable/);
    const map = new URL(plain.headers.sourcemap, server.url + address);
    assert.ok(JSON.parse((await raw(map.pathname)).body.toString()).sources.length > 10);
  }
});

test('a page uses it by a classic script', async () => {
  const { token } = await server.login('classic');
  const { headers } = await raw('/client.global.js');
  for (const address of ['/client.global.js', `/${headers['content-location']}`]) {
    const page = await browser.newPage();
    await page.goto(pages.url);
    await page.addScriptTag({ url: server.url + address });
    await page.evaluate((token) => {
      window.got = [];
      window.client = new Encke({ token });
      client.on('message', ({ data }) => got.push(data));
      client.connect();
    }, token);
    await server.held('classic');
    await server.push({ to: ['classic'], data: address });
    await until('it came', async () => (await page.evaluate(() => got)).includes(address));
    assert.equal(await page.evaluate(() => Encke.safeUrl('javascript:1')), null);
    await page.evaluate(() => client.close());
    await page.close();
  }
});

test('the classic script of the package brings the forever frame from the file beside it', async () => {
  const installed = path.join(folder.dir, 'node_modules/encke');
  const files = http.createServer(async (request, response) => {
    const script = request.url.endsWith('.js') && (await readFile(path.join(installed, request.url)));
    response.setHeader('content-type', script ? 'text/javascript' : 'text/html');
    response.end(script || '<!doctype html><script src="/dist/encke.global.js"></script>');
  });
  await new Promise((resolve) => files.listen(0, '127.0.0.1', resolve));
  const { token } = await server.login('framed');
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${files.address().port}`);
  await page.evaluate((options) => {
    window.client = new Encke({ ...options, transport: 'iframe' });
    client.connect();
  }, { url: server.url, token });
  await until('it is open', async () => (await page.evaluate(() => client.state)) === 'open');
  assert.equal(await page.evaluate(() => client.close()), true);
  await page.close();
  files.closeAllConnections();
  files.close();
});

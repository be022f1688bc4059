#!/usr/bin/env node
/**
 * Makes single files of the client, by esbuild: no part of what it builds.
 *
 *   node build.js             the package's, into `dist/`, with the licences beside them
 *   node build.js served DIR  those that a server serves, into DIR, each compressed beside it
 */
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

import { build } from 'esbuild';

const HERE = path.dirname(fileURLToPath(import.meta.url));
/** Browsers of 2022 and later: all that have private methods. */
const TARGET = 'es2022';
/** Enough of the content's hash that two builds never share a name. */
const HASH_CHARS = 12;
/**
 * A classic script is a module without exports whose names are its own. That of esbuild (`iife`) has a
 * `require` in it that nothing uses.
 */
const CLASSIC = { banner: { js: '(()=>{"use strict";' }, footer: { js: '})();' } };
/** What it is to know of where it came from. */
const CAME_FROM = { 'import.meta.url': 'document.currentScript.src' };

/** Puts texts that are short where those for a person are: a minified file names the page that has them. */
const SHORT_TEXTS = {
  name: 'short-texts',
  setup: (/** @type {import('esbuild').PluginBuild} */ { onResolve }) =>
    onResolve({ filter: /^\.\/texts\.js$/ }, () => ({ path: path.join(HERE, 'short-texts.js') })),
};

/** The same as a classic script. @param {string} entry @param {object} [options] esbuild's */
export const bundleClassic = (entry, options) => bundle(entry, { ...CLASSIC, ...options });

/**
 * Bundles and minifies one entry. The forever frame stays a file of its own, which few load.
 * @param {string} entry @param {object} [options] esbuild's
 * @returns {Promise<{code: string, map: string}>}
 */
export async function bundle(entry, options = {}) {
  const { outputFiles } = await build({
    absWorkingDir: HERE,
    entryPoints: [entry],
    bundle: true,
    minify: true,
    target: TARGET,
    format: 'esm',
    sourcemap: 'external',
    outfile: 'out.js',
    external: ['./client/iframe.js'],
    plugins: [SHORT_TEXTS],
    write: false,
    legalComments: 'none',
    // Nothing is left out that a bare import names: it is there for the modules' sake.
    logOverride: { 'ignored-bare-import': 'silent' },
    ...options,
  });
  const text = (/** @type {string} */ end) =>
    /** @type {any} */ (outputFiles.find((file) => file.path.endsWith(end))).text;
  return { code: text('.js'), map: text('.map') };
}

/** @param {string} folder @param {string} name @param {{code: string, map: string}} built */
function write(folder, name, { code, map }) {
  writeFileSync(path.join(folder, name), `${code}//# sourceMappingURL=${name}.map\n`);
  writeFileSync(path.join(folder, `${name}.map`), map);
}

/** The package's own files. */
async function buildPackage() {
  const folder = path.join(HERE, 'dist');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  const outfile = 'dist/out.js';
  write(folder, 'encke.js', await bundle('encke.js', { outfile }));
  write(folder, 'encke.cjs', await bundle('encke.js', { outfile, format: 'cjs' }));
  write(folder, 'encke.global.js', await bundleClassic('global.js', { outfile }));
  // A package of ES modules has its types for `require` under a name of their own.
  cpSync(path.join(HERE, 'encke.d.ts'), path.join(folder, 'encke.d.cts'));
  for (const licence of ['LICENSE-MIT', 'LICENSE-APACHE'])
    cpSync(path.join(HERE, '../..', licence), path.join(HERE, licence));
}

/**
 * What a server serves, each under a name that changes with the content.
 * @param {string} folder
 */
async function buildServed(folder) {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const [kind, built] of /** @type {const} */ ([
    ['js', await bundle('served.js')],
    ['global.js', await bundleClassic('served-global.js', { define: CAME_FROM })],
  ])) {
    const hash = createHash('sha256').update(built.code).digest('hex').slice(0, HASH_CHARS);
    const name = `encke.${hash}.${kind}`;
    write(folder, name, built);
    for (const file of [name, `${name}.map`]) compress(folder, file);
  }
}

/** @param {string} folder @param {string} file */
function compress(folder, file) {
  const content = readFileSync(path.join(folder, file));
  writeFileSync(path.join(folder, `${file}.gz`), gzipSync(content, { level: 9 }));
  const quality = { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY };
  writeFileSync(path.join(folder, `${file}.br`), brotliCompressSync(content, { params: quality }));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [what, folder] = process.argv.slice(2);
  if (what === 'served' && folder) await buildServed(path.resolve(folder));
  else if (what === undefined) await buildPackage();
  else {
    console.error('usage: build.js [served DIR]');
    process.exit(2);
  }
}

#!/usr/bin/env node
/** Writes the table of sizes in README.md, from `build.js`. `--check` only looks whether it is true. */
import { readFileSync, writeFileSync } from 'node:fs';
import { brotliCompressSync, gzipSync } from 'node:zlib';

import { bundle, bundleClassic } from './build.js';

const README = new URL('README.md', import.meta.url);
const TABLE = /(?<=What `node sizes.js` says, in bytes:\n\n)[^]*?(?=\n\n## )/;

const rows = [];
for (const [name, { code }] of /** @type {const} */ ([
  ['module', await bundle('encke.js')],
  ['classic script', await bundleClassic('global.js')],
])) {
  const sizes = [Buffer.from(code), gzipSync(code, { level: 9 }), brotliCompressSync(code)];
  rows.push(`| ${name} | ${sizes.map((bytes) => bytes.length).join(' | ')} |`);
}
const table = ['| file | minified | gzip | brotli |', '|---|---|---|---|', ...rows].join('\n');
const text = readFileSync(README, 'utf8');
if (!process.argv.includes('--check')) writeFileSync(README, text.replace(TABLE, table));
else if (TABLE.exec(text)?.[0] !== table) {
  console.error('the sizes in README.md are others: run sizes.js');
  process.exit(1);
}

// What README.md says to write, as it stands there.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const EXAMPLES = readFileSync(path.join(ROOT, 'README.md'), 'utf8').match(/(?<=```js\n)[^]*?(?=```)/g);

test('examples run', () => {
  assert.ok(EXAMPLES.length > 3);
  // Within the package, where its own name leads to it.
  const dir = mkdtempSync(path.join(ROOT, 'node_modules', 'readme-'));
  try {
    for (const [n, example] of EXAMPLES.entries()) {
      const file = path.join(dir, `${n}.mjs`);
      writeFileSync(file, example.replaceAll("'encke-backend'", `'${ROOT}index.js'`));
      const { status, stderr } = spawnSync(process.execPath, [file], { encoding: 'utf8', timeout: 20_000 });
      assert.equal(status, 0, `${example}\n${stderr}`);
    }
  } finally {
    rmSync(dir, { recursive: true });
  }
});

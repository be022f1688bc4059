// Tokens as the libraries of applications make them, of every algorithm, by every kind of key; and what is
// made to pass for one.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHmac, generateKeyPairSync, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';

import * as jose from 'jose';
import jsonwebtoken from 'jsonwebtoken';

import { run, TARGET, temporaryDirectory } from './support/program.js';
import { Server } from './support/server.js';
import { inSeconds } from './support/token.js';
import { until } from './support/until.js';

const PYTHON = path.join(TARGET, 'pyjwt', 'bin', 'python');
const ISSUER = 'https://id.example.com';
/** Header, claims, algorithm and key come as JSON on the standard input, many at once. */
const PYJWT = `
import json, sys, jwt
print(json.dumps([
    jwt.encode(one["claims"], one["key"], algorithm=one["algorithm"], headers=one["headers"])
    for one in json.load(sys.stdin)
]))
`;

const rsa = () => generateKeyPairSync('rsa', { modulusLength: 2048 });
const ec = (namedCurve) => generateKeyPairSync('ec', { namedCurve });
const pem = (key) => key.export({ type: key.type === 'private' ? 'pkcs8' : 'spki', format: 'pem' });

/** A key of every algorithm: `how` it stands in the configuration. */
function keys() {
  const made = [];
  for (const algorithm of ['HS256', 'HS384', 'HS512'])
    made.push({ algorithm, kid: algorithm, secret: randomBytes(48).toString('base64url'), how: 'secret' });
  for (const algorithm of ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'])
    made.push({ algorithm, kid: algorithm, pair: rsa(), how: algorithm === 'RS512' ? 'jwk' : 'pem' });
  made.push({ algorithm: 'ES256', kid: 'ES256', pair: ec('P-256'), how: 'pem' });
  made.push({ algorithm: 'ES384', kid: 'ES384', pair: ec('P-384'), how: 'jwk file' });
  made.push({ algorithm: 'EdDSA', kid: 'EdDSA', pair: generateKeyPairSync('ed25519'), how: 'pem' });
  // Of one algorithm several, and one that no token has to name.
  made.push({ algorithm: 'RS256', kid: 'RS256-next', pair: rsa(), how: 'pkcs1' });
  made.push({ algorithm: 'ES256', pair: ec('P-256'), how: 'jwk' });
  return made;
}

async function configured(key, dir) {
  const lines = ['[[auth.keys]]', `algorithm = "${key.algorithm}"`];
  if (key.kid) lines.push(`kid = "${key.kid}"`);
  const file = path.join(dir, `${key.kid ?? 'any'}.key`);
  const jwk = () => JSON.stringify({ ...key.pair.publicKey.export({ format: 'jwk' }), use: 'sig' });
  if (key.how === 'secret') lines.push(`secret = "${key.secret}"`);
  else if (key.how === 'jwk') lines.push(`jwk = '${jwk()}'`);
  else {
    const publicPem =
      key.how === 'pkcs1' ? key.pair.publicKey.export({ type: 'pkcs1', format: 'pem' }) : '';
    await writeFile(file, key.how === 'jwk file' ? jwk() : publicPem || pem(key.pair.publicKey));
    lines.push(`file = "${file}"`);
  }
  return lines.join('\n');
}

const claims = () => ({
  sub: 'alice', iss: ISSUER, aud: ['other', 'push'], exp: inSeconds(600), nbf: inSeconds(-1), channels: ['*'],
});

/** The token's parts, signed by hand. */
function byHand(header, payload, sign = () => '') {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const message = `${part(header)}.${part(payload)}`;
  return `${message}.${sign(message)}`;
}

describe('tokens of other libraries', () => {
  const all = keys();
  let server;
  let directory;
  before(async () => {
    directory = await temporaryDirectory();
    const auth = `[auth]\nissuer = "${ISSUER}"\naudience = ["push", "chat"]\n`;
    const tables = await Promise.all(all.map((key) => configured(key, directory.dir)));
    await writeFile(path.join(directory.dir, 'encke.toml'), auth + tables.join('\n'));
    const env = { ENCKE_CONFIG: path.join(directory.dir, 'encke.toml') };
    server = await Server.start({ dev: false, env });
  });
  after(async () => {
    await server?.stop();
    await directory.remove();
  });

  // No token here may publish, so who is known is told that, and who is not is told why.
  const asked = (token) =>
    server.ask('POST', '/v1/publish', {
      headers: { authorization: `Bearer ${token}` },
      body: { channel: 'news', data: 1 },
    });
  const good = async (token, what) => {
    // Twice: the second time it is remembered.
    for (const time of [1, 2])
      assert.equal((await asked(token)).status, 403, `${what}, time ${time}`);
  };
  const refused = async (token, words, what) => {
    const answer = await asked(token);
    assert.equal(answer.status, 401, `${what ?? words}: ${answer.text}`);
    assert.match(answer.json.error.message, words);
  };
  const privateKey = (key) => (key.secret ? Buffer.from(key.secret) : key.pair.privateKey);

  test('jose (npm) signs by every algorithm', async () => {
    for (const key of all) {
      const sign = new jose.SignJWT(claims()).setProtectedHeader({
        alg: key.algorithm, typ: 'JWT', ...(key.kid && { kid: key.kid }),
      });
      await good(await sign.sign(privateKey(key)), `${key.algorithm} ${key.kid}`);
    }
  });

  test('jsonwebtoken (npm) signs by every algorithm that it has', async () => {
    for (const key of all.filter(({ algorithm }) => algorithm !== 'EdDSA')) {
      const options = { algorithm: key.algorithm, ...(key.kid && { keyid: key.kid }) };
      const material = key.secret ?? pem(key.pair.privateKey);
      await good(jsonwebtoken.sign(claims(), material, options), `${key.algorithm} ${key.kid}`);
    }
  });

  test('PyJWT signs by every algorithm', { skip: !existsSync(PYTHON) && 'no PyJWT' }, async () => {
    const wanted = all.map((key) => ({
      algorithm: key.algorithm,
      key: key.secret ?? pem(key.pair.privateKey),
      headers: key.kid ? { kid: key.kid } : {},
      claims: claims(),
    }));
    const tokens = JSON.parse(execFileSync(PYTHON, ['-c', PYJWT], { input: JSON.stringify(wanted) }));
    for (const [index, token] of tokens.entries()) await good(token, wanted[index].algorithm);
  });

  test('a key is good for its algorithm and for no other', async () => {
    const others = { RS256: 'RS384', RS384: 'PS384', PS256: 'RS256', HS256: 'HS512' };
    for (const [kid, other] of Object.entries(others)) {
      const key = all.find((one) => one.kid === kid);
      const token = await new jose.SignJWT(claims())
        .setProtectedHeader({ alg: other, kid })
        .sign(privateKey(key));
      await refused(token, /not signed with the algorithm/, `${kid} as ${other}`);
    }
  });

  test('a public key is no secret (HS with the text of a key that everyone has)', async () => {
    for (const key of all.filter(({ pair }) => pair)) {
      for (const [alg, hash] of [['HS256', 'sha256'], ['HS384', 'sha384'], ['HS512', 'sha512']]) {
        for (const text of [pem(key.pair.publicKey), pem(key.pair.publicKey).trim()]) {
          const sign = (message) => createHmac(hash, text).update(message).digest('base64url');
          await refused(byHand({ alg, kid: key.kid }, claims(), sign), /algorithm|signature|not known/, alg);
        }
      }
    }
  });

  test('what is unsigned, of an unknown key, or asks for what is not understood is refused', async () => {
    for (const alg of ['none', 'None', 'NONE', '']) await refused(byHand({ alg }, claims()), /algorithm/);
    const key = all.find(({ kid }) => kid === 'RS256');
    const signed = (header, payload = claims()) =>
      new jose.SignJWT(payload)
        .setProtectedHeader({ alg: 'RS256', kid: 'RS256', ...header })
        .sign(privateKey(key));
    await refused(await signed({ kid: 'unknown' }), /key that is not known \(kid\)/);
    await refused(await signed({ kid: 'RS256-next' }), /signature does not verify/);
    // A key that the token brings along, or says where to get, is none.
    const mine = rsa();
    const forged = new jose.SignJWT(claims()).setProtectedHeader({
      alg: 'RS256', jwk: mine.publicKey.export({ format: 'jwk' }), jku: 'http://127.0.0.1:1/keys',
    });
    await refused(await forged.sign(mine.privateKey), /signature does not verify/);
    const crit = { alg: 'HS256', kid: 'HS256', crit: ['b64'], b64: true };
    const secret = all[0].secret;
    const sign = (message) => createHmac('sha256', secret).update(message).digest('base64url');
    await refused(byHand(crit, claims(), sign), /crit/);
    await good(byHand({ alg: 'HS256', kid: 'HS256' }, claims(), sign), 'made by hand');
  });

  test('a claim that is wrong is named', async () => {
    const sign = (message) => createHmac('sha256', all[0].secret).update(message).digest('base64url');
    for (const [claim, value] of [
      ['exp', undefined], ['exp', 'soon'], ['exp', 1e300], ['exp', Date.now()], ['sub', 7], ['sub', ''],
      ['nbf', 'x'], ['nbf', inSeconds(3600)], ['iat', []], ['iat', inSeconds(3600)], ['channels', '*'],
      ['iss', 'https://evil.example'], ['iss', 1], ['aud', 'other'], ['aud', undefined], ['aud', 1],
    ]) {
      const token = byHand({ alg: 'HS256', kid: 'HS256' }, { ...claims(), [claim]: value }, sign);
      await refused(token, new RegExp(`claim ${claim}: `), `${claim} ${value}`);
    }
  });

  test('a file with another key is taken without a restart, and tokens of the former one end', async () => {
    const key = all.find(({ kid }) => kid === 'RS256-next');
    const header = { alg: 'RS256', kid: 'RS256-next' };
    const of = (pair) => new jose.SignJWT(claims()).setProtectedHeader(header).sign(pair.privateKey);
    const [former, pair] = [await of(key.pair), rsa()];
    const file = path.join(directory.dir, 'RS256-next.key');
    await good(former, 'the former key');
    // A file that is no key changes nothing.
    await writeFile(file, 'half a fi');
    await writeFile(`${file}.new`, pem(pair.publicKey));
    await rename(`${file}.new`, file);
    const next = await of(pair);
    await until('the new key is taken', async () => (await asked(next)).status === 403, 30_000);
    await refused(former, /signature does not verify/);
  });
});

test('a key that cannot be used is refused before the server starts, by its name', async () => {
  const { dir, remove } = await temporaryDirectory();
  const file = path.join(dir, 'encke.toml');
  const small = generateKeyPairSync('rsa', { modulusLength: 1024 });
  const other = rsa();
  try {
    await writeFile(path.join(dir, 'small.pem'), pem(small.publicKey));
    await writeFile(path.join(dir, 'private.pem'), pem(other.privateKey));
    await writeFile(path.join(dir, 'public.pem'), pem(other.publicKey));
    for (const [lines, words] of [
      ['algorithm = "HS256"\nsecret = "9b1d4e7f20c35a6881e0d2f4b6a79c1"', /at least 32 bytes/],
      [`algorithm = "RS256"\nfile = "${dir}/small.pem"`, /2048 to 4096 bits/],
      [`algorithm = "RS256"\nfile = "${dir}/private.pem"`, /private key/],
      [`algorithm = "HS256"\nfile = "${dir}/public.pem"`, /no key for this algorithm/],
      [`algorithm = "ES256"\nfile = "${dir}/public.pem"`, /no key for this algorithm/],
      [`algorithm = "RS256"\nfile = "${dir}/absent.pem"`, /cannot be read/],
      [`file = "${dir}/public.pem"`, /needs an algorithm/],
      ['algorithm = "none"\nsecret = "9b1d4e7f20c35a6881e0d2f4b6a79c13"', /auth\.keys/],
      ['algorithm = "RS256"', /one of file, secret and jwk/],
      [`algorithm = "EdDSA"\njwk = '{"kty":"OKP","crv":"Ed25519","x":"AAAA"}'`, /no key for this algorithm/],
      [`algorithm = "ES256"\njwk = '{"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA"}'`, /auth\.keys/],
    ]) {
      await writeFile(file, `[[auth.keys]]\nkid = "mine"\n${lines}\n`);
      const checked = await run(['check-config', file]);
      assert.equal(checked.status, 64, `${lines}: ${checked.stdout}${checked.stderr}`);
      assert.match(checked.stdout, words);
      assert.match(checked.stdout, /: auth\.keys/);
    }
    await writeFile(file, `[[auth.keys]]\nkid = "mine"\nalgorithm = "RS256"\nfile = "${dir}/public.pem"\n`);
    assert.equal((await run(['check-config', file])).status, 0);
  } finally {
    await remove();
  }
});

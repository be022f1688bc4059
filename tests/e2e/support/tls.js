import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

/** Whether the stories are told over TLS: `TESTS_TLS=1`. */
export const TLS = (process.env.TESTS_TLS ?? '') !== '';

let made;

/** A certificate that signs itself, for this machine, made once in a run. */
export function certificate() {
  if (made) return made;
  const dir = mkdtempSync(path.join(tmpdir(), 'encke-tls-'));
  process.on('exit', () => rmSync(dir, { recursive: true, force: true }));
  const [cert, key] = [path.join(dir, 'cert.pem'), path.join(dir, 'key.pem')];
  const names = 'subjectAltName=DNS:localhost,IP:127.0.0.1';
  execFileSync(
    'openssl',
    ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2']
      .concat(['-subj', '/CN=localhost', '-addext', 'basicConstraints=critical,CA:FALSE'], ['-addext', names])
      .concat(['-keyout', key, '-out', cert]),
    { stdio: 'ignore' },
  );
  made = { cert, key, ca: readFileSync(cert) };
  return made;
}

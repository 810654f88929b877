import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { atEnd } from './test.js';

/** A certificate for 127.0.0.1, its key, and itself as the authority that vouches for it. */
export interface Certificates {
  cert: string;
  key: string;
  ca: string;
}

export function certificates(): Certificates {
  const folder = mkdtempSync(join(tmpdir(), 'wsm-ts-tls-'));
  atEnd(() => rmSync(folder, { recursive: true, force: true }));
  const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
  const what = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  const who = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'];
  execFileSync('openssl', ['req', ...what, ...who, '-keyout', key, '-out', cert], { stdio: 'ignore', timeout: 30_000 });
  return { cert, key, ca: readFileSync(cert, 'utf8') };
}

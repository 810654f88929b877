// The test command: checks types, builds, and runs the tests against the service that WSM_BIN names.
//
//   npm test                     everything
//   npm test -- send follow      test files whose path holds one of these words
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const repository = resolve(root, '../..');
const begun = Date.now();
const words = process.argv.slice(2);
const binary = process.env.WSM_BIN ?? join(repository, 'target/debug/websocket-manager');
if (!existsSync(binary)) {
  console.error(`no service at ${binary}: set WSM_BIN to its binary, or build it with cargo`);
  process.exit(64);
}

function run(command, parameters, env = {}) {
  const done = spawnSync(command, parameters, { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } });
  return done.status ?? 1;
}

const tsc = join(root, 'node_modules/.bin/tsc');
for (const folder of ['dist', 'build']) rmSync(join(root, folder), { recursive: true, force: true });
for (const project of ['tsconfig.json', 'tsconfig.test.json']) {
  if (run(tsc, ['-p', project]) !== 0) process.exit(1);
}

const results = join(root, 'build/contract');
mkdirSync(results, { recursive: true });
const files = readdirSync(join(root, 'build/test'), { recursive: true })
  .filter((file) => file.endsWith('.test.js'))
  .filter((file) => words.length === 0 || words.some((word) => file.includes(word)))
  .map((file) => relative(root, join(root, 'build/test', file)))
  .sort();
const report = join(root, 'build/report.tap');
const reporters = ['--test-reporter=spec', '--test-reporter-destination=stdout'];
reporters.push('--test-reporter=tap', `--test-reporter-destination=${report}`);
const status = run(process.execPath, ['--test', '--test-concurrency=2', ...reporters, ...files], {
  WSM_BIN: resolve(binary),
  WSM_CONTRACT_RESULTS: results,
});
if (words.length === 0) writeContract();
const count = (what) => Number(readFileSync(report, 'utf8').match(new RegExp(`^# ${what} (\\d+)`, 'm'))?.[1] ?? 0);
const seconds = ((Date.now() - begun) / 1000).toFixed(1);
console.log(`${count('pass')} passed, ${count('fail')} failed, ${count('skipped')} skipped in ${seconds}s`);
process.exit(status);

// A case that several tests share has failed when one of them has.
function writeContract() {
  const cases = new Map();
  for (const file of readdirSync(results)) {
    for (const line of readFileSync(join(results, file), 'utf8').split('\n').filter(Boolean)) {
      const [name, result] = line.split(' ');
      cases.set(name, cases.get(name) === 'failed' ? 'failed' : result);
    }
  }
  const lines = [...cases].sort(([a], [b]) => Number(a.slice(1)) - Number(b.slice(1)));
  const folder = join(repository, '.cache/test-output');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'contract-typescript.txt'), lines.map((line) => `${line.join(' ')}\n`).join(''));
}

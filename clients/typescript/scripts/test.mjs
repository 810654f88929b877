// The test command: checks types, builds, and runs the tests against the service that WSM_BIN names.
//
//   npm test                     everything
//   npm test -- send follow      test files whose path holds one of these words
//
// It always ends: a test, a file and the whole have their time, and nothing that they started is left behind.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { endAll, run } from './group.mjs';

// Of the whole, of one file, and of a compiler.
const ALL_MS = seconds('WSM_TEST_SECONDS', 600);
const FILE_MS = Math.min(ALL_MS, 300_000);
const BUILD_MS = Math.min(ALL_MS, 180_000);
const FILES_AT_ONCE = 2;

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const repository = resolve(root, '../..');
const begun = Date.now();
const words = process.argv.slice(2);
const binary = process.env.WSM_BIN ?? join(repository, 'target/debug/websocket-manager');
if (!existsSync(binary)) {
  console.error(`no service at ${binary}: set WSM_BIN to its binary, or build it with cargo`);
  process.exit(64);
}

// Why it was ended before its time, if it was.
let broken;
function breakOff(why) {
  broken ??= why;
  endAll();
}
const limit = setTimeout(() => breakOff(`over the limit of ${ALL_MS / 1000} s for all tests`), ALL_MS);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => breakOff(`ended by ${signal}`));

const tsc = join(root, 'node_modules/.bin/tsc');
const print = (text) => process.stdout.write(text);
for (const folder of ['dist', 'build']) rmSync(join(root, folder), { recursive: true, force: true });
for (const project of ['tsconfig.json', 'tsconfig.test.json']) {
  const { code, late } = await run(tsc, ['-p', project], { cwd: root, limitMs: BUILD_MS, onOutput: print });
  if (code === 0) continue;
  console.log(`0 passed, 1 failed in ${elapsed()}: tsc -p ${project}${late ? ', which did not end' : ''}`);
  process.exit(1);
}

const contract = join(root, 'build/contract');
const reports = join(root, 'build/reports');
for (const folder of [contract, reports]) mkdirSync(folder, { recursive: true });
const files = readdirSync(join(root, 'build/test'), { recursive: true })
  .filter((file) => file.endsWith('.test.js'))
  .filter((file) => words.length === 0 || words.some((word) => file.includes(word)))
  .sort();

const counts = { passed: 0, failed: 0, skipped: 0 };
// Tests, and files that ended otherwise than they should.
const failures = [];
const waiting = [...files];
async function work() {
  for (let file = waiting.shift(); file !== undefined && broken === undefined; file = waiting.shift()) await runFile(file);
}
await Promise.all(Array.from({ length: FILES_AT_ONCE }, work));
clearTimeout(limit);

if (words.length === 0) writeContract();
if (broken) failures.push(`all: ${broken}; not begun: ${waiting.join(' ') || 'none'}`);
if (files.length === 0) failures.push(`all: no test file's path holds ${words.join(' or ')}`);
for (const failure of failures) console.log(`FAILED ${failure}`);
console.log(`${counts.passed} passed, ${failures.length} failed, ${counts.skipped} skipped in ${elapsed()}`);
process.exit(failures.length === 0 ? 0 : 1);

// In a process of its own; what it says is printed when it is over, so that two at once do not mix.
async function runFile(file) {
  const report = join(reports, file.replaceAll('/', '-'));
  const [results, journal] = [`${report}.results`, `${report}.journal`];
  writeFileSync(results, '');
  writeFileSync(journal, '');
  let said = '';
  const reporter = new URL('reporter.mjs', import.meta.url).href;
  const parameters = [`--test-reporter=${reporter}`, '--test-reporter-destination=stdout', join('build/test', file)];
  const env = {
    WSM_BIN: resolve(binary),
    WSM_CONTRACT_RESULTS: contract,
    WSM_TEST_RESULTS: results,
    WSM_TEST_JOURNAL: journal,
  };
  const options = { cwd: root, env, limitMs: FILE_MS, onOutput: (text) => (said += text) };
  const { code, signal, late } = await run(process.execPath, parameters, options);
  const lines = (path) => readFileSync(path, 'utf8').split('\n').filter(Boolean);
  const tests = lines(results).map((line) => JSON.parse(line));
  for (const { result } of tests) counts[result] += 1;
  const failed = tests.filter(({ result }) => result === 'failed').map(({ name }) => `${file}: ${name}`);
  failures.push(...failed);
  print(`\n${file}\n${said}`);
  if (late) failures.push(`${file} did not end and was killed; at the last: ${lines(journal).at(-1) ?? 'no test began'}`);
  else if (code !== 0 && failed.length === 0) failures.push(`${file} ended by ${signal ?? `exit code ${code}`}`);
  else if (tests.length === 0) failures.push(`${file} ran no test`);
  else return;
  print(`${failures.at(-1)}\n`);
}

function seconds(name, otherwise) {
  const given = Number(process.env[name] ?? otherwise);
  if (given > 0) return given * 1000;
  console.error(`${name}: must be a number of seconds over 0, not ${process.env[name]}`);
  process.exit(64);
}

function elapsed() {
  return `${((Date.now() - begun) / 1000).toFixed(1)}s`;
}

// A case that several tests share has failed when one of them has.
function writeContract() {
  const cases = new Map();
  for (const file of readdirSync(contract)) {
    for (const line of readFileSync(join(contract, file), 'utf8').split('\n').filter(Boolean)) {
      const [name, result] = line.split(' ');
      cases.set(name, cases.get(name) === 'failed' ? 'failed' : result);
    }
  }
  const lines = [...cases].sort(([a], [b]) => Number(a.slice(1)) - Number(b.slice(1)));
  const folder = join(repository, '.cache/test-output');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'contract-typescript.txt'), lines.map((line) => `${line.join(' ')}\n`).join(''));
}

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from './support/test.js';
import { until } from './support/wait.js';

const ROOT = new URL('../../', import.meta.url).pathname;

test('every test has its time, and an end for what it opens', () => {
  const files = (readdirSync(join(ROOT, 'test'), { recursive: true }) as string[]).filter((file) => file.endsWith('.test.ts'));
  assert.ok(files.length > 5, files.join());
  for (const file of files) {
    const imported = /^import (.*) from 'node:test'/m.exec(readFileSync(join(ROOT, 'test', file), 'utf8'))?.[1];
    assert.ok(imported === undefined || imported.startsWith('type '), `${file}: test and its hooks come from support/test`);
  }
});

const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

/** Starts a process that holds its output and outlives it, says its number, and then goes on as given. */
const leaving = (rest: string) => `
  const { spawn } = require('node:child_process');
  const { pid } = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'inherit' });
  require('node:fs').writeSync(1, pid + '\\n');
  ${rest}`;

for (const [what, rest, expected] of [
  ['stands still', 'for (;;);', { code: 1, late: true }],
  ['stands still, and will not be told', "process.on('SIGTERM', () => {}); for (;;);", { code: 1, late: true }],
  ['ends, and leaves a process', 'process.exit(3);', { code: 3, late: false }],
] as const) {
  test(`a file's process that ${what} keeps nobody waiting`, async () => {
    const { run } = await import(new URL('../../scripts/group.mjs', import.meta.url).href);
    let said = '';
    const options = { cwd: ROOT, limitMs: expected.late ? 3000 : 60_000, onOutput: (text: string) => (said += text) };
    const { code, late } = await run(process.execPath, ['-e', leaving(rest)], options);
    assert.deepEqual({ code, late }, expected);
    assert.ok(Number(said) > 0, said);
    await until('what it left is gone', () => !alive(Number(said)));
  });
}

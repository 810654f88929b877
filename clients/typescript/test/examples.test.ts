import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Page } from 'playwright-core';
import { bundle, launch, NO_BROWSER, open, site } from './support/browser.js';
import { Service } from './support/service.js';
import { atEnd, before, test } from './support/test.js';

const ROOT = new URL('../../', import.meta.url).pathname;
const EXAMPLE_MS = 60_000;

let demo: Service;
let folder: string;
before(async () => {
  demo = await Service.demo('--ws-origin', '*', '--cors-origin', '*');
  folder = mkdtempSync(join(tmpdir(), 'wsm-ts-examples-'));
  atEnd(() => rmSync(folder, { recursive: true, force: true }));
});

/** The lines that an example prints; it must end by itself and well. */
async function lines(example: string, ...parameters: string[]): Promise<string[]> {
  const script = join(ROOT, 'build/examples', `${example}.js`);
  const { stdout } = await promisify(execFile)(process.execPath, [script, demo.grpc, ...parameters], { timeout: EXAMPLE_MS });
  return stdout.trim().split('\n');
}

test('quick start', async () => {
  assert.deepEqual(await lines('quickstart'), ['connected: CONNECTED', 'reply: hello', 'listed: true']);
});

test('market feed to a topic', async () => {
  const [first, ...ticks] = await lines('market-feed');
  assert.equal(first, 'the feed begins');
  assert.deepEqual(ticks.map((line) => line.split(':')[0]), [1, 2, 3, 4, 5].map((seq) => `tick ${seq}`));
});

test('request and reply', async () => {
  const said = await lines('request-reply');
  assert.deepEqual(said, [
    'reply to ping, told by string',
    'bytes: 1,2,3',
    'replies on a stream: 100',
    'NotFound, not_found: not_sent',
  ]);
});

test('following with resume', async () => {
  const cursor = join(folder, 'cursor.txt');
  const [first, ...before] = await lines('follow', 'demo.ticks', cursor, '3');
  const [again, ...after] = await lines('follow', 'demo.ticks', cursor, '3');
  assert.deepEqual([first, again], ['from the start', 'going on']);
  const seqs = [...before, ...after].map((line) => /^demo-ticker (\d+): /.exec(line)?.[1]);
  assert.deepEqual(seqs, ['1', '2', '3', '4', '5', '6']);
});

test('room chat', { skip: NO_BROWSER }, async () => {
  const chat = (file: string) => readFileSync(join(ROOT, 'examples/chat', file), 'utf8');
  const place = await site(await bundle(chat('chat.ts')), chat('index.html').replace(/<script.*/s, ''));
  const browser = await launch();
  const pages: Page[] = [];
  for (const name of ['ada', 'grace']) {
    const { page, uncaught } = await open(browser, `${place}/?service=${encodeURIComponent(demo.http)}&room=tea`);
    await page.waitForFunction("document.getElementById('state').textContent == 'open'");
    await page.fill('#name', name);
    assert.deepEqual(uncaught, []);
    pages.push(page);
  }
  for (const [nth, page] of pages.entries()) {
    await page.fill('#text', `hello <${nth}>`);
    await page.click('button');
  }
  for (const page of pages) {
    await page.waitForFunction("document.querySelectorAll('li').length == 2");
    const said = await page.locator('li').allTextContents();
    assert.deepEqual(said.sort(), ['ada: hello <0>', 'grace: hello <1>']);
  }
});

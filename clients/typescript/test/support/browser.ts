import { existsSync } from 'node:fs';
import { build } from 'esbuild';
import { chromium, type Browser, type Page } from 'playwright-core';
import { webServer } from './fake.js';
import { atEnd } from './test.js';
import { within } from './wait.js';

const HERE = new URL('../../../', import.meta.url).pathname;

const CHROMIUM = process.env.WSM_CHROMIUM ?? '/usr/bin/chromium';
const START_MS = 60_000;
/** For tests that need a browser: why they are skipped. They are not where one must be there. */
export const NO_BROWSER =
  existsSync(CHROMIUM) || process.env.WSM_REQUIRE_BROWSER ? false : `no browser at ${CHROMIUM}: set WSM_CHROMIUM`;

/** Chromium, without a window, and all on this machine. */
export async function launch(): Promise<Browser> {
  const browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: ['--no-proxy-server', '--disable-dev-shm-usage', '--no-sandbox'],
    timeout: START_MS,
    // A signal ends the process as any other does; the library's handlers would wait for the browser.
    handleSIGINT: false,
    handleSIGTERM: false,
    handleSIGHUP: false,
  });
  atEnd(() => browser.close());
  return browser;
}

/** A module for pages, as a bundler makes it of what a page imports. */
export async function bundle(entry: string, minify = false): Promise<string> {
  const made = await build({
    stdin: { contents: entry, resolveDir: HERE, loader: 'ts' },
    bundle: true,
    minify,
    format: 'esm',
    target: 'es2022',
    platform: 'browser',
    write: false,
    logLevel: 'silent',
  });
  return made.outputFiles[0]!.text;
}

/** A page of a site of its own, with this script and body. */
export async function site(script: string, body = ''): Promise<string> {
  const { url } = await webServer((request, response) => {
    const asked = request.url === '/script.js';
    response.setHeader('content-type', asked ? 'text/javascript' : 'text/html; charset=utf-8');
    response.end(asked ? script : `<!DOCTYPE html><body>${body}<script type="module" src="/script.js"></script>`);
  });
  return url;
}

/** Opens a page; what it throws and nobody catches is collected. */
export async function open(browser: Browser, url: string): Promise<{ page: Page; uncaught: string[] }> {
  const page = await within(browser.newPage(), 'a page');
  atEnd(() => page.close());
  const uncaught: string[] = [];
  page.on('pageerror', (error) => uncaught.push(error.message));
  await page.goto(url);
  return { page, uncaught };
}

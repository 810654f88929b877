import { existsSync } from 'node:fs';
import { build } from 'esbuild';
import { chromium, type Browser, type Page } from 'playwright-core';
import { webServer } from './fake.js';

const HERE = new URL('../../../', import.meta.url).pathname;

const CHROMIUM = process.env.WSM_CHROMIUM ?? '/usr/bin/chromium';
/** For tests that need a browser: why they are skipped. They are not where one must be there. */
export const NO_BROWSER =
  existsSync(CHROMIUM) || process.env.WSM_REQUIRE_BROWSER ? false : `no browser at ${CHROMIUM}: set WSM_CHROMIUM`;

/** Chromium, without a window, and all on this machine. */
export function launch(): Promise<Browser> {
  return chromium.launch({
    executablePath: CHROMIUM,
    args: ['--no-proxy-server', '--disable-dev-shm-usage', '--no-sandbox'],
  });
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
export async function site(script: string, body = ''): Promise<{ url: string; stop: () => Promise<void> }> {
  return webServer((request, response) => {
    const asked = request.url === '/script.js';
    response.setHeader('content-type', asked ? 'text/javascript' : 'text/html; charset=utf-8');
    response.end(asked ? script : `<!DOCTYPE html><body>${body}<script type="module" src="/script.js"></script>`);
  });
}

/** Opens a page; what it throws and nobody catches is collected. */
export async function open(browser: Browser, url: string): Promise<{ page: Page; uncaught: string[] }> {
  const page = await browser.newPage();
  const uncaught: string[] = [];
  page.on('pageerror', (error) => uncaught.push(error.message));
  await page.goto(url);
  return { page, uncaught };
}

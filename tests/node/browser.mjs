// A browser's page: node browser.mjs CHROMIUM URL
//
// Opens the page and says {ready}. Each line of JSON on standard input, {evaluate, argument}, is the
// text of a function that is called in the page; what it returns is said as {value}, what it throws
// as {error}.
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

const [executablePath, url] = process.argv.slice(2);
const tell = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);
const browser = await chromium.launch({
  executablePath,
  // Not the address of a proxy that the environment names: all is on this machine.
  args: ['--no-proxy-server', '--disable-dev-shm-usage'],
});
const page = await browser.newPage();
await page.goto(url);
tell({ ready: await page.evaluate(() => window.origin) });

for await (const line of createInterface({ input: process.stdin })) {
  const { evaluate, argument } = JSON.parse(line);
  try {
    const value = await page.evaluate(`(${evaluate})(${JSON.stringify(argument ?? null)})`);
    tell({ value: value ?? null });
  } catch (error) {
    tell({ error: error.message });
  }
}
await browser.close();

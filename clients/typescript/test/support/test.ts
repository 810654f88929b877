/**
 * `test` and its hooks as all files use them: with a time limit, and with an end for whatever they open. A test that
 * fails leaves nothing behind that would keep its file's process, and with it the test command, from ending.
 */
import { appendFileSync } from 'node:fs';
import { after, afterEach, before as nodeBefore, beforeEach, test as nodeTest, type TestContext } from 'node:test';
import { within } from './wait.js';

/** Of one test: far more than any takes on a machine that does other things as well. */
const TEST_MS = 120_000;
const END_MS = 45_000;
/** What still runs when all has ended was left open by somebody: it is told, and the process ends all the same. */
const GRACE_MS = 5000;

type End = () => unknown;

/** Opened before the tests, for all of them. */
const ofFile: End[] = [];
/** Opened by the test that runs. */
let ofTest: End[] | undefined;

/** After this test, or after the last if none runs yet: passed or not. What was ended already is ended again. */
export function atEnd(end: End): void {
  (ofTest ?? ofFile).push(end);
}

/** The last that was opened ends first. One that does not end keeps none of the others. */
async function endAll(ends: End[]): Promise<void> {
  const failures: unknown[] = [];
  for (const end of ends.splice(0).reverse()) {
    try {
      await within((async () => end())(), `what a test opened ends: ${end}`, END_MS);
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
}

interface Options {
  skip?: string | false;
}

type Run = (t: TestContext) => unknown;

export function test(name: string, run: Run): void;
export function test(name: string, options: Options, run: Run): void;
export function test(name: string, ...[first, second]: [Run] | [Options, Run]): void {
  const [options, run] = second === undefined ? [{}, first as Run] : [first as Options, second];
  void nodeTest(name, { timeout: TEST_MS, ...options }, async (t) => {
    await run(t);
  });
}

export function before(run: () => unknown): void {
  nodeBefore(async () => void (await run()), { timeout: TEST_MS });
}

// Who ends this process by force wants to know at what.
const journal = process.env.WSM_TEST_JOURNAL;
const note = (what: string, t: unknown) => journal && appendFileSync(journal, `${what} ${(t as TestContext).name}\n`);

beforeEach((t) => {
  note('began', t);
  ofTest = [];
});
afterEach(async (t) => {
  const ends = ofTest ?? [];
  ofTest = undefined;
  await endAll(ends);
  note('ended', t);
});
after(async () => {
  setTimeout(leave, GRACE_MS).unref();
  await endAll(ofFile);
});

function leave(): void {
  const left = process.getActiveResourcesInfo().filter((kind) => kind !== 'Immediate');
  process.stdout.write(`left open by a test: ${left.join(', ') || 'nothing that has a name'}\n`);
  process.exit(1);
}

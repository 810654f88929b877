// What the runner of one file's tests says, for people, and as lines of JSON for the test command: `WSM_TEST_RESULTS`
// names their file. They are written at once, so that they are there however the process ends.
import { appendFileSync } from 'node:fs';
import { spec } from 'node:test/reporters';
import { Readable } from 'node:stream';

const results = process.env.WSM_TEST_RESULTS;

export default async function* (events) {
  yield* Readable.from(noted(events)).pipe(new spec());
}

async function* noted(events) {
  for await (const event of events) {
    const { type, data } = event;
    if (type === 'test:pass' || type === 'test:fail') {
      const result = type === 'test:fail' ? 'failed' : data.skip === undefined ? 'passed' : 'skipped';
      appendFileSync(results, `${JSON.stringify({ name: data.name, result })}\n`);
    }
    yield event;
  }
}

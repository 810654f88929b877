import { setTimeout as after } from 'node:timers/promises';

/** For what the machine does in no time when it has nothing else to do. */
const PATIENCE_MS = 30_000;

/** What a promise comes to; one that comes to nothing says what was waited for. */
export async function within<T>(promise: Promise<T>, what: string, ms = PATIENCE_MS): Promise<T> {
  const patience = new AbortController();
  const late = after(ms, undefined, { signal: patience.signal, ref: true }).then(
    () => Promise.reject(new Error(`waited in vain: ${what}`)),
    () => new Promise<never>(() => {}),
  );
  try {
    return await Promise.race([promise, late]);
  } finally {
    patience.abort();
  }
}

/** Polls until something is so, and gives it. */
export async function until<T>(what: string, look: () => T | Promise<T>): Promise<NonNullable<T>> {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await within((async () => look())(), what, Math.max(1, end - Date.now()));
    if (found) return found;
    if (Date.now() > end) throw new Error(`waited in vain: ${what}`);
    await after(10);
  }
}

/** The next items of something that is followed. */
export async function take<T>(from: AsyncIterator<T>, count: number): Promise<T[]> {
  const taken: T[] = [];
  while (taken.length < count) {
    const next = await within(from.next(), `item ${taken.length + 1} of ${count}`);
    if (next.done) throw new Error(`it ended after ${taken.length} of ${count}`);
    taken.push(next.value);
  }
  return taken;
}

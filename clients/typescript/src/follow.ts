import { Code, ConnectError, type CallOptions } from '@connectrpc/connect';
import { backoff, cancelled, pause, type Calls, type CallSettings } from './calls.js';
import type { WebSocketManagerError } from './errors.js';

/** The time limit of calls is for answers; what is followed has no end. */
export interface FollowSettings extends Omit<CallSettings, 'timeoutMs'> {
  /** Opaque, of an item that was read before: what came after it. Empty: from now. */
  cursor?: string;
  /** Whether to go on by itself after the last item when the call breaks off. Default: true. */
  resume?: boolean;
  /** The service follows from now on: nothing that happens later is missed. Called each time it comes back. */
  onOpen?: () => void;
}

interface Item {
  cursor: string;
}

/** What a followed call is made of. */
export interface Followed<T extends Item> {
  open: (cursor: string, options: CallOptions) => AsyncIterable<T>;
  /** False: it only tells where the follower is. */
  counts: (item: T) => boolean;
  /** Nothing follows this item, unless what is followed begins again. */
  ends?: (item: T) => boolean;
  /** The service has no more to say: whether that is for good. It may only hand over to its next start. */
  over?: (options: CallOptions) => Promise<boolean>;
}

/** At most this between two tries, unless the client's settings say otherwise. */
const WAIT_MAX_MS = 5000;

/**
 * Follows, and comes back after the last cursor when the service restarts or the connection breaks. A
 * call that was never answered fails like any other; one that was is taken up again for as long as it takes.
 */
export async function* follow<T extends Item>(
  calls: Calls,
  settings: FollowSettings,
  source: Followed<T>,
): AsyncGenerator<T, void, undefined> {
  const { signal, abort, release } = calls.hold(settings.signal);
  const way: CallOptions = { signal, headers: settings.headers };
  let cursor = settings.cursor ?? '';
  let answered = false;
  /** By an item: some servers answer before they refuse. */
  let heard = false;
  /** It was told its end already: should there be nothing more, that is no surprise. */
  let ended = false;
  let attempt = 0;
  let thrown: { error: unknown } | undefined;
  const onHeader = () => {
    answered = true;
    calls.answered();
    try {
      settings.onOpen?.();
    } catch (error) {
      thrown = { error };
      abort(new ConnectError('onOpen threw an error', Code.Canceled));
    }
  };
  // A service that cannot be asked has not said that it is over.
  const over = async (): Promise<boolean> => {
    try {
      return (await source.over?.(way)) ?? false;
    } catch (failure) {
      const error = calls.explain(signal.aborted ? cancelled(signal) : failure);
      if (signal.aborted || !passes(error)) throw error;
      return false;
    }
  };
  /** What is to be done about a failure: throws it, says that it is the end, or how long to wait. */
  const judge = async (failure: unknown): Promise<{ done: boolean; waitMs?: number }> => {
    if (thrown) throw thrown.error;
    if (signal.aborted) throw calls.explain(cancelled(signal));
    const error = calls.explain(failure);
    if (settings.resume === false) throw error;
    if (answered && error.code === Code.NotFound && source.over !== undefined) {
      // It was there: the service may be leaving, or not be all there yet.
      if (!(await over())) return { done: false };
      if (ended) return { done: true };
      throw error;
    }
    // One that comes back to a service which has enough to do for now comes again.
    const busy = heard && error.code === Code.ResourceExhausted;
    const more = answered || attempt + 1 < (calls.retry.attempts ?? 4);
    if (!more || !(busy || passes(error))) throw error;
    return { done: false, waitMs: error.retryAfterMs };
  };
  try {
    for (;;) {
      let waitMs: number | undefined;
      try {
        for await (const item of source.open(cursor, { ...way, timeoutMs: 0, onHeader })) {
          cursor = item.cursor || cursor;
          heard = true;
          attempt = 0;
          ended = source.ends?.(item) ?? false;
          if (source.counts(item)) yield item;
        }
        if (settings.resume === false) return;
        ended = true;
        if (await over()) return;
      } catch (failure) {
        const verdict = await judge(failure);
        if (verdict.done) return;
        waitMs = verdict.waitMs;
      }
      const random = backoff({ maxMs: WAIT_MAX_MS, ...calls.retry }, attempt++);
      await pause(Math.max(random, waitMs ?? 0), signal).catch(() => {
        throw calls.explain(cancelled(signal));
      });
    }
  } finally {
    // Whoever leaves in the midst of it has the call ended too.
    abort(new ConnectError('no longer followed', Code.Canceled));
    release();
  }
}

/** Whether it may be over by itself: the service or the way to it is gone, and nothing was wrong. */
function passes(error: WebSocketManagerError): boolean {
  if (error.reason !== undefined) return error.code === Code.Unavailable || error.code === Code.Aborted;
  return [Code.Unavailable, Code.Aborted, Code.Internal, Code.Unknown, Code.Canceled].includes(error.code);
}

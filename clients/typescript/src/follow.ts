import { Code, ConnectError, type CallOptions } from '@connectrpc/connect';
import { backoff, cancelled, pause, type Calls, type CallSettings } from './calls.js';
import type { WebSocketManagerError } from './errors.js';

export interface FollowSettings extends CallSettings {
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
  /** The service has no more to say: whether that is for good. It may only hand over to its next start. */
  over?: (options: CallOptions) => Promise<boolean>;
}

/**
 * Follows, and comes back after the last cursor when the service restarts or the connection breaks. A
 * call that was never answered fails like any other; one that was is taken up again for as long as it takes.
 */
export async function* follow<T extends Item>(
  calls: Calls,
  settings: FollowSettings,
  followed: Followed<T>,
): AsyncGenerator<T, void, undefined> {
  const { signal, abort, release } = calls.hold(settings.signal);
  let cursor = settings.cursor ?? '';
  let answered = false;
  let attempt = 0;
  let thrown: { error: unknown } | undefined;
  const opened = () => {
    answered = true;
    calls.answered();
    try {
      settings.onOpen?.();
    } catch (error) {
      thrown = { error };
      abort(new ConnectError('onOpen threw an error', Code.Canceled));
    }
  };
  try {
    for (;;) {
      try {
        const options: CallOptions = {
          signal,
          headers: settings.headers,
          // The time limit is for answers; this one has no end.
          timeoutMs: 0,
          onHeader: opened,
        };
        for await (const item of followed.open(cursor, options)) {
          cursor = item.cursor || cursor;
          attempt = 0;
          if (followed.counts(item)) yield item;
        }
        if (settings.resume === false || (await followed.over?.({ signal, headers: settings.headers }))) return;
      } catch (failure) {
        if (thrown) throw thrown.error;
        if (signal.aborted) throw calls.explain(cancelled(signal));
        const error = calls.explain(failure);
        const more = answered || attempt + 1 < (calls.retry.attempts ?? 4);
        if (settings.resume === false || !more || !passes(error)) throw error;
      }
      await pause(backoff({ ...calls.retry, maxMs: 5000 }, attempt++), signal).catch(() => {
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

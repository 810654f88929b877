import { Code, ConnectError, type CallOptions } from '@connectrpc/connect';
import { causes, explain, refusal, type WebSocketManagerError } from './errors.js';

/** Of one call. */
export interface CallSettings {
  signal?: AbortSignal;
  /** In place of the client's. */
  timeoutMs?: number;
  headers?: HeadersInit;
}

export interface RetryOptions {
  /** Calls in all, the first included; 1: no repetition. Default: 4. */
  attempts?: number;
  /** A random wait up to this, doubled each time. Default: 100. */
  baseMs?: number;
  /** At most this. Default: 2000. */
  maxMs?: number;
}

/** What timers take; more is no limit. */
const TIMER_MAX_MS = 2 ** 31 - 1;

/** Milliseconds as given, 0 for none. */
export function checkedMs(name: string, ms: number): number {
  if (!(ms >= 0)) throw new TypeError(`${name}: must be milliseconds, 0 for none, not ${ms}`);
  return ms > TIMER_MAX_MS ? 0 : ms;
}

/** Settings of repeating, which `false` turns off. */
export function checkedRetry(retry: RetryOptions | false): RetryOptions {
  if (retry === false) return { attempts: 1 };
  const { attempts = 1, baseMs = 0, maxMs = 0 } = retry;
  if (!(attempts >= 1)) throw new TypeError(`retry.attempts: must be at least 1, not ${attempts}; retry: false for none`);
  checkedMs('retry.baseMs', baseMs);
  checkedMs('retry.maxMs', maxMs);
  return retry;
}

/** What repeating a call does: nothing new, or the same thing twice. */
export type Repeatable = 'always' | 'if_not_sent';

/** A random wait: many clients that lost the same service do not come back at once. */
export function backoff(retry: RetryOptions, attempt: number): number {
  const { baseMs = 100, maxMs = 2000 } = retry;
  return Math.random() * Math.min(maxMs, baseMs * 2 ** Math.min(attempt, 30));
}

/** Waits, or throws the signal's reason. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(end, ms);
    signal.addEventListener('abort', end, { once: true });
    if (signal.aborted) end();
    function end() {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      if (signal.aborted) reject(signal.reason as Error);
      else resolve();
    }
  });
}

/** The calls of one client: they end with it, say what is wrong, and are repeated where that is safe. */
export class Calls {
  #active = new Set<AbortController>();
  #closed = false;
  #answered = false;

  constructor(
    readonly url: string,
    readonly protocol: string,
    readonly timeoutMs: number,
    readonly retry: RetryOptions,
  ) {}

  get closed(): boolean {
    return this.#closed;
  }

  /** Ends what is under way; what comes later is refused. */
  close(): void {
    this.#closed = true;
    for (const controller of this.#active) {
      controller.abort(new ConnectError('this client was closed', Code.Canceled));
    }
  }

  check(): void {
    if (this.#closed) throw refusal('this client is closed: make a new one', Code.FailedPrecondition);
  }

  explain(failure: unknown): WebSocketManagerError {
    const { url, protocol } = this;
    const error = explain(failure, { url, protocol, answered: this.#answered });
    // An error that the service gives a reason for is an answer too.
    this.#answered ||= error.reason !== undefined;
    return error;
  }

  /** The service answered. */
  answered(): void {
    this.#answered = true;
  }

  /** A signal that ends with the caller's and with the client. Whoever has it must let it go. */
  hold(signal?: AbortSignal): { signal: AbortSignal; abort: (reason: Error) => void; release: () => void } {
    this.check();
    const controller = new AbortController();
    const abort = () => controller.abort(signal?.reason);
    this.#active.add(controller);
    signal?.addEventListener('abort', abort, { once: true });
    if (signal?.aborted) abort();
    const release = () => {
      signal?.removeEventListener('abort', abort);
      this.#active.delete(controller);
    };
    return { signal: controller.signal, abort: (reason) => controller.abort(reason), release };
  }

  /** A call with one answer. The time limit is that of all its attempts together. */
  async once<T>(repeatable: Repeatable, settings: CallSettings, call: (options: CallOptions) => Promise<T>): Promise<T> {
    const timeoutMs = checkedMs('timeoutMs', settings.timeoutMs ?? this.timeoutMs);
    const { signal, release } = this.hold(settings.signal);
    const until = Date.now() + timeoutMs;
    try {
      for (let attempt = 1; ; attempt += 1) {
        try {
          const left = timeoutMs > 0 ? Math.max(1, until - Date.now()) : 0;
          const answer = await call({ signal, timeoutMs: left, headers: settings.headers });
          this.#answered = true;
          return answer;
        } catch (failure) {
          const error = this.explain(signal.aborted ? cancelled(signal) : failure);
          const wait = error.retryAfterMs ?? backoff(this.retry, attempt - 1);
          const late = timeoutMs > 0 && Date.now() + wait >= until;
          if (signal.aborted || late || attempt >= (this.retry.attempts ?? 4) || !again(error, repeatable)) throw error;
          await pause(wait, signal).catch(() => Promise.reject(this.explain(cancelled(signal))));
        }
      }
    } finally {
      release();
    }
  }
}

/** Why a call of ours ended: the caller's abort, or that the client was closed. */
export function cancelled(signal: AbortSignal): ConnectError {
  const { reason } = signal as { reason: unknown };
  if (reason instanceof ConnectError) return reason;
  const text = reason instanceof Error ? reason.message : String(reason);
  return new ConnectError(text, Code.Canceled, undefined, undefined, reason);
}

function again(error: WebSocketManagerError, repeatable: Repeatable): boolean {
  // Not even a connection came about.
  if (causes(error).codes.includes('ECONNREFUSED')) return true;
  // The upstream did not take the dial: that is an answer, and the caller's to judge.
  if (error.reason === 'dial_failed') return false;
  if (repeatable === 'if_not_sent') return error.code === Code.Unavailable && error.reason === 'not_sent';
  // What the service says will pass, or a connection that it left while nothing was asked.
  const passing = error.reason !== undefined || error.certainty === 'maybe_sent';
  return passing && (error.code === Code.Unavailable || error.code === Code.Aborted);
}

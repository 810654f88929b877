import { create, toBinary } from '@bufbuild/protobuf';
import { Code, ConnectError, type CallOptions } from '@connectrpc/connect';
import { sendOf, type SendInit, type SendSettings } from './client.js';
import { cancelled, type Calls } from './calls.js';
import { errorOfResult, refusal, type WebSocketManagerError } from './errors.js';
import { SendRequestSchema, type SendResponse, type SendResult } from './gen/websocketmanager_pb.js';
import type { Payload } from './payload.js';

type Request = ReturnType<typeof sendOf>['fields'];

interface Waiting {
  resolve: (response: SendResponse) => void;
  reject: (error: Error) => void;
}

export interface SendStreamSettings {
  signal?: AbortSignal;
  headers?: HeadersInit;
  /** Sends that wait at the same time; further ones wait for their turn. Default: 1024. */
  maxInFlight?: number;
}

/**
 * Many Sends on one call: each has its own reply or error, in any order, and costs the service and this
 * process a fraction of a call of its own.
 */
export class SendStream {
  readonly #calls: Calls;
  readonly #most: number;
  readonly #held: ReturnType<Calls['hold']>;
  readonly #waiting = new Map<bigint, Waiting>();
  /** Handed to the call as soon as it takes more. */
  #outgoing: Request[] = [];
  #wake: () => void = () => {};
  /** Who waits for a place among those in flight. */
  #turns: (() => void)[] = [];
  #tag = 0n;
  #closing = false;
  #ended: Promise<void>;
  #failure?: WebSocketManagerError;

  constructor(
    calls: Calls,
    settings: SendStreamSettings,
    open: (requests: AsyncIterable<Request>, options: CallOptions) => AsyncIterable<SendResult>,
  ) {
    this.#calls = calls;
    this.#most = settings.maxInFlight ?? 1024;
    if (!(this.#most >= 1)) throw new TypeError(`maxInFlight: must be at least 1, not ${this.#most}`);
    this.#held = calls.hold(settings.signal);
    const options = { signal: this.#held.signal, headers: settings.headers, timeoutMs: 0 };
    this.#ended = this.#run(open(this.#requests(), options));
  }

  /** Sends, and waits for this one's reply; a signal ends the waiting, not what was sent. */
  async send(request: string | SendInit, message?: Payload, more?: string | SendSettings): Promise<SendResponse> {
    const { fields, settings } = sendOf(request, message, more);
    const { signal } = settings;
    if (signal?.aborted) throw this.#calls.explain(cancelled(signal));
    this.#checkFields(fields);
    while (this.#waiting.size >= this.#most && this.#open()) await this.#turn(signal);
    if (!this.#open()) throw this.#refused();
    const tag = (this.#tag += 1n);
    const abort = () => this.#waiting.get(tag)?.reject(this.#calls.explain(cancelled(signal!)));
    signal?.addEventListener('abort', abort, { once: true });
    return new Promise<SendResponse>((resolve, reject) => {
      this.#waiting.set(tag, { resolve, reject });
      this.#outgoing.push({ ...fields, tag });
      this.#wake();
    }).finally(() => signal?.removeEventListener('abort', abort));
  }

  /** Takes no more, and comes back when all that wait have their replies. */
  async close(): Promise<void> {
    this.#closing = true;
    this.#wake();
    await this.#ended;
  }

  /** What cannot be written would end the call for all. */
  #checkFields(fields: Request): void {
    try {
      toBinary(SendRequestSchema, create(SendRequestSchema, { ...fields, message: undefined, data: undefined }));
    } catch (error) {
      throw this.#calls.explain(error);
    }
  }

  /** Of a Send that comes too late: nothing of it went out, whatever became of those before. */
  #refused(): WebSocketManagerError {
    if (this.#failure === undefined || this.#failure.code === Code.FailedPrecondition) return closed();
    const { rawMessage, code } = this.#failure;
    return refusal(`this stream has ended: open a new one (${rawMessage})`, code, this.#failure);
  }

  /** A place among those in flight may be free now. */
  #turn(signal?: AbortSignal): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      const turn = () => {
        signal?.removeEventListener('abort', abort);
        resolve();
      };
      const abort = () => {
        this.#turns.splice(this.#turns.indexOf(turn), 1);
        reject(this.#calls.explain(cancelled(signal!)));
      };
      signal?.addEventListener('abort', abort, { once: true });
      this.#turns.push(turn);
    });
  }

  #open(): boolean {
    return !this.#closing && this.#failure === undefined;
  }

  async *#requests(): AsyncGenerator<Request> {
    for (;;) {
      const batch = this.#outgoing;
      this.#outgoing = [];
      yield* batch;
      if (this.#outgoing.length > 0) continue;
      if (this.#closing || this.#failure !== undefined) return;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  async #run(results: AsyncIterable<SendResult>): Promise<void> {
    let failure: Error = new ConnectError('the service ended the stream', Code.Aborted);
    try {
      for await (const result of results) this.#answer(result);
    } catch (error) {
      failure = this.#held.signal.aborted ? cancelled(this.#held.signal) : (error as Error);
    }
    const whole = this.#closing && this.#waiting.size === 0;
    this.#failure = whole ? closed() : this.#calls.explain(failure);
    this.#held.release();
    this.#wake();
    for (const { reject } of this.#waiting.values()) reject(this.#failure);
    this.#waiting.clear();
    this.#turns.splice(0).forEach((turn) => turn());
  }

  #answer(result: SendResult): void {
    const waiting = this.#waiting.get(result.tag);
    this.#waiting.delete(result.tag);
    this.#turns.shift()?.();
    if (result.code === 0 && result.response !== undefined) waiting?.resolve(result.response);
    else waiting?.reject(errorOfResult(result));
  }
}

function closed(): WebSocketManagerError {
  return refusal('this stream is closed: open a new one', Code.FailedPrecondition);
}

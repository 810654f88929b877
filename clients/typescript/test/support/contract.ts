import assert from 'node:assert/strict';
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { WebSocketManagerClient as WebClient } from '@virtufin/websocketmanager/browser';
import { WebSocketManagerClient, Code, WebSocketManagerError, type ClientOptions } from '@virtufin/websocketmanager/node';
import { Service } from './service.js';
import { atEnd, before, test } from './test.js';
import { Upstream } from './upstream.js';

/** What a case has: both clients know the same calls, so that cases need not care which it is. */
export interface Scene {
  service: Service;
  upstream: Upstream;
  client: WebSocketManagerClient;
}

export const WAYS = ['grpc', 'grpc-web', 'connect'] as const;
export type Way = (typeof WAYS)[number];

/** One result a case and way; the test command makes one line a case of them. */
async function recorded(number: number, run: () => Promise<void>): Promise<void> {
  const folder = process.env.WSM_CONTRACT_RESULTS;
  const record = (result: string) => {
    if (folder) appendFileSync(join(folder, `${process.pid}.txt`), `C${number} ${result}\n`);
  };
  try {
    await run();
  } catch (error) {
    record('failed');
    throw error;
  }
  record('passed');
}

/** A case of the contract list. */
export function contract(number: number, name: string, run: () => Promise<void>): void {
  test(`C${number} ${name}`, () => recorded(number, run));
}

/** The service, an upstream and the clients of a test file, and its cases, each by every way. */
export function scene(...flags: string[]) {
  const parts = {} as { service: Service; upstream: Upstream };
  const clients = new Map<Way, WebSocketManagerClient>();
  before(async () => {
    parts.service = await Service.start(...flags);
    parts.upstream = await Upstream.start();
    for (const way of WAYS) clients.set(way, clientOf(parts.service, way));
  });
  const by = (ways: readonly Way[]) => (number: number, name: string, run: (scene: Scene) => Promise<void>) => {
    for (const way of ways) {
      contract(number, `${name}, by ${way}`, () => run({ ...parts, client: clients.get(way)! }));
    }
  };
  return { parts, each: by(WAYS), node: by(['grpc']) };
}

/** gRPC as in Node; the others by the entry for browsers. */
export function clientOf(service: Service, way: Way): WebSocketManagerClient {
  return clientAt(way === 'grpc' ? service.grpc : service.http, way);
}

/** The same, of any server. It is closed when the test is over. */
export function clientAt(url: string, way: Way = 'grpc', more: Partial<ClientOptions> = {}): WebSocketManagerClient {
  if (way === 'grpc') return closing(new WebSocketManagerClient({ url, ...more }));
  // It has all but sendStream, which no case calls by these ways.
  return closing(new WebClient({ url, protocol: way, ...more }) as WebSocketManagerClient);
}

/** Closes it when the test is over. */
export function closing<C extends { close: () => void }>(client: C): C {
  atEnd(() => client.close());
  return client;
}

export interface Expected {
  code: Code;
  reason?: string;
  field?: string;
  says?: RegExp;
  certainty?: string;
}

/** Fails with an error of ours that is so. */
export async function fails(call: Promise<unknown>, expected: Expected): Promise<WebSocketManagerError> {
  let error: unknown;
  try {
    await call;
  } catch (thrown) {
    error = thrown;
  }
  assert.ok(error instanceof WebSocketManagerError, `no error of the client's: ${String(error)}`);
  const { code, reason, field } = error;
  const seen = { code: Code[code], reason, field, certainty: error.certainty };
  const wanted = { ...expected, code: Code[expected.code] } as Record<string, unknown>;
  delete wanted.says;
  const relevant = Object.fromEntries(Object.keys(wanted).map((key) => [key, seen[key as keyof typeof seen]]));
  assert.deepEqual(relevant, wanted, error.message);
  if (expected.says) assert.match(error.message, expected.says);
  return error;
}

let names = 0;
/** A name that nothing else has. */
export function fresh(prefix: string): string {
  names += 1;
  return `${prefix}-${process.pid}-${names}`;
}

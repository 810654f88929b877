import assert from 'node:assert/strict';
import { Code, ConnectError, type ConnectRouter, type ServiceImpl } from '@connectrpc/connect';
import { ConnectionStatus, WebSocketManager } from '@virtufin/websocketmanager/node';
import { ErrorInfoSchema } from '@virtufin/websocketmanager/gen/google/rpc/error_details_pb';
import { Health, HealthCheckResponse_ServingStatus as Serving } from '@virtufin/websocketmanager/gen/grpc/health/v1/health_pb';
import { clientAt, fails, WAYS } from './support/contract.js';
import { fakeServer } from './support/fake.js';
import { test } from './support/test.js';
import { take, within } from './support/wait.js';

const text = (value: string) => ({ cursor: value, body: { case: 'text' as const, value } });
const END = { cursor: 'end', body: { case: 'end' as const, value: {} } };
const refused = (code: Code, reason: string) =>
  new ConnectError(reason, code, undefined, [{ desc: ErrorInfoSchema, value: { reason, domain: 'websocketmanager' } }]);
const nobody = () => refused(Code.NotFound, 'not_found');

type Step = 'serving' | 'leaving' | 'coming';

/** A service of which each follow is the next of these; it leaves after some of them, and comes back. */
class Leaving {
  state: Step = 'serving';
  followed: string[] = [];
  asked: Step[] = [];
  /** Whether the one that comes knows the connection again. */
  returns = true;

  constructor(readonly ends: 'well' | 'unavailable') {}

  readonly routes = (router: ConnectRouter): void => {
    const calls: Partial<ServiceImpl<typeof WebSocketManager>> = {
      receive: (request) => this.#receive(request.cursor),
      get: () => this.#get(),
    };
    router.service(WebSocketManager, calls);
    const health = (): Serving => {
      this.asked.push(this.state);
      const now = this.state === 'leaving' ? Serving.NOT_SERVING : Serving.SERVING;
      // It is gone by the third time, and another stands there.
      if (this.asked.length === 3) this.state = 'coming';
      return now;
    };
    router.service(Health, {
      check: () => ({ status: health() }),
      async *watch(_, { signal }) {
        yield { status: health() };
        await new Promise((resolve) => signal.addEventListener('abort', resolve));
      },
    });
  };

  async *#receive(cursor: string) {
    this.followed.push(cursor);
    if (this.state === 'leaving' || (this.state === 'coming' && !this.returns)) throw nobody();
    if (this.state === 'coming') {
      yield text('after');
      await new Promise(() => {});
    }
    yield text('before');
    yield END;
    this.state = 'leaving';
    if (this.ends === 'unavailable') throw refused(Code.Unavailable, 'unavailable');
  }

  #get() {
    if (this.state === 'leaving' || !this.returns) throw nobody();
    return { connection: { id: 'a', status: ConnectionStatus.CONNECTED, autoReconnect: true } };
  }
}

for (const ends of ['well', 'unavailable'] as const) {
  for (const way of WAYS) {
    const retry = { baseMs: 5, maxMs: 20 };

    test(`a service that leaves ends its streams ${ends}: a connection is followed into its next start, by ${way}`, async () => {
      const service = new Leaving(ends);
      const { url } = await fakeServer(service.routes, way === 'grpc');
      const client = clientAt(url, way, { retry });
      const items = await take(client.receive('a'), 3);
      assert.deepEqual(items.map(({ body }) => (body.case === 'text' ? body.value : body.case)), ['before', 'end', 'after']);
      assert.deepEqual(new Set(service.followed), new Set(['', 'end']));
      assert.ok(service.asked.length >= 3, 'one that is leaving is not believed');
    });

    test(`a service that leaves ends its streams ${ends}: a connection that is gone ends, by ${way}`, async () => {
      const service = new Leaving(ends);
      service.returns = false;
      const { url } = await fakeServer(service.routes, way === 'grpc');
      const items = clientAt(url, way, { retry }).receive('a');
      await take(items, 2);
      assert.equal((await within(items.next(), 'the end')).done, true);
      assert.ok(service.asked.includes('coming'), 'only one that serves is believed');
    });
  }
}

test('a connection that is gone without an end is an error', async () => {
  let followed = 0;
  const { url } = await fakeServer((router) => {
    const receive = async function* () {
      followed += 1;
      if (followed > 1) throw nobody();
      yield text('one');
      throw refused(Code.Unavailable, 'unavailable');
    };
    router.service(WebSocketManager, { receive, get: () => Promise.reject(nobody()) });
  });
  // It has no health service either.
  const items = clientAt(url, 'grpc', { retry: { baseMs: 1 } }).receive('a');
  await take(items, 1);
  await fails(items.next(), { code: Code.NotFound, reason: 'not_found' });
});

test('a service with enough to do is asked again by who followed it, and not by who comes first', async () => {
  let followed = 0;
  const { url } = await fakeServer((router) => {
    const receive = async function* (id: unknown) {
      followed += 1;
      if (id === 'busy' || followed === 2) throw refused(Code.ResourceExhausted, 'full');
      yield text(`${followed}`);
      throw refused(Code.Unavailable, 'unavailable');
    };
    router.service(WebSocketManager, { receive: ({ source }) => receive(source.value) });
  });
  const client = clientAt(url, 'grpc', { retry: { baseMs: 1 } });
  const items = await take(client.receive('a'), 2);
  assert.deepEqual(items.map(({ body }) => body.value), ['1', '3']);
  await fails(client.receive('busy').next(), { code: Code.ResourceExhausted });
});

test('a token that cannot be had for a while interrupts what is followed, and ends no more', async () => {
  let asked = 0;
  const { url } = await fakeServer((router) => {
    const receive = async function* () {
      yield text(`${asked}`);
      throw refused(Code.Unavailable, 'unavailable');
    };
    router.service(WebSocketManager, { receive, list: () => ({}) });
  });
  const token = () => {
    asked += 1;
    if (asked % 2 === 0) throw new Error('no token now');
    return 'one';
  };
  const client = clientAt(url, 'grpc', { token, retry: { baseMs: 1 } });
  const items = await take(client.receive('a'), 2);
  assert.deepEqual(items.map(({ body }) => body.value), ['1', '3']);
  asked = 1;
  await fails(client.list(), { code: Code.Unavailable, certainty: 'not_sent', says: /token: could not be had: no token now/ });
});

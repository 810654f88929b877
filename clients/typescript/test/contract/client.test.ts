import assert from 'node:assert/strict';
import { create } from '@bufbuild/protobuf';
import { createClient, ConnectError, type HandlerContext, type ServiceImpl } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import {
  Code,
  ConnectionStatus,
  ListResponseSchema,
  WebSocketManager,
  WebSocketManagerClient,
  WebSocketManagerError,
  type ReceivedMessage,
} from '@virtufin/websocketmanager/node';
import { ErrorInfoSchema } from '@virtufin/websocketmanager/gen/google/rpc/error_details_pb';
import { WebSocketManager as Base } from '../gen/base_pb.js';
import { certificates } from '../support/certificates.js';
import { clientAt, clientOf, closing, contract, fails, fresh, scene, WAYS } from '../support/contract.js';
import { fakeServer, webServer } from '../support/fake.js';
import { deadPort } from '../support/ports.js';
import { Service } from '../support/service.js';
import { take, until, within } from '../support/wait.js';

const { parts, each, node } = scene();
const SILENT = '{"burst": 0, "id": 1}';

contract(81, 'nobody there', async () => {
  const port = await deadPort();
  for (const way of WAYS) {
    const client = clientAt(`http://127.0.0.1:${port}`, way);
    const says = new RegExp(`nobody answers at http://127\\.0\\.0\\.1:${port}`);
    await fails(client.list(), { code: Code.Unavailable, certainty: 'not_sent', says });
  }
});

contract(82, 'wrong port', async () => {
  // The HTTP port takes native gRPC too, so that Node's client works at either.
  const either = clientAt(parts.service.http);
  assert.ok((await either.list()).total >= 0n);
  for (const way of ['grpc-web', 'connect'] as const) {
    const wrong = clientAt(parts.service.grpc, way);
    await fails(wrong.list(), { code: Code.Unavailable, says: /HTTP port \(5001 by default\)/ });
  }
  const web = await webServer((_, response) => response.end('a web server'));
  const wrong = clientAt(web.url);
  await fails(wrong.list(), { code: Code.Unavailable, says: /gRPC port \(5002 by default\)/ });
});

contract(84, 'TLS to plain', async () => {
  for (const [way, url] of [['grpc', parts.service.grpc], ['grpc-web', parts.service.http]] as const) {
    const client = clientAt(url.replace('http:', 'https:'), way);
    await fails(client.list(), { code: Code.Unavailable, certainty: 'not_sent', says: /speaks no TLS/ });
  }
});

async function withTls(run: (service: Service, ca: string) => Promise<void>): Promise<void> {
  const { cert, key, ca } = certificates();
  await run(await Service.start('--tls-cert', cert, '--tls-key', key), ca);
}

contract(83, 'plain to TLS', () =>
  withTls(async ({ grpc, http }) => {
    for (const [way, url] of [['grpc', grpc], ['grpc-web', http]] as const) {
      const client = clientAt(url.replace('https:', 'http:'), way);
      await fails(client.list(), { code: Code.Unavailable, says: /https: URL/ });
    }
  }),
);

contract(85, 'unknown authority', () =>
  withTls(async ({ grpc, http }) => {
    for (const [way, url] of [['grpc', grpc], ['grpc-web', http]] as const) {
      const client = clientAt(url, way);
      await fails(client.list(), { code: Code.Unavailable, certainty: 'not_sent', says: /certificate/ });
    }
  }),
);

contract(86, 'TLS', () =>
  withTls(async ({ grpc, http }, ca) => {
    for (const [protocol, url] of [['grpc', grpc], ['grpc', http], ['grpc-web', http], ['connect', http]] as const) {
      const client = closing(new WebSocketManagerClient({ url, protocol, tls: { ca } }));
      assert.equal((await client.list()).total, 0n);
    }
  }),
);

/** A fake's routes: each of these calls as given, the others unimplemented. */
type Calls = Partial<ServiceImpl<typeof WebSocketManager>>;
const playing = (calls: Calls, http2 = true) => fakeServer((router) => router.service(WebSocketManager, calls), http2);

contract(87, 'token', async () => {
  for (const way of WAYS) {
    const seen: (string | null)[] = [];
    const note = ({ requestHeader }: HandlerContext) => seen.push(requestHeader.get('authorization'));
    const fake = await playing({
      list: (_, context) => (note(context), {}),
      async *receive(_, context) {
        note(context);
        yield { body: { case: 'text', value: 'x' } };
      },
    }, way === 'grpc');
    let nth = 0;
    const client = closing(new WebSocketManagerClient({ url: fake.url, protocol: way, token: async () => `t${(nth += 1)}` }));
    await client.list();
    await take(client.receive('any'), 1);
    assert.deepEqual(seen, ['Bearer t1', 'Bearer t2'], way);
  }
});

contract(88, 'restart', async () => {
  const service = await Service.start();
  const clients = WAYS.map((way) => clientOf(service, way));
  for (const client of clients) assert.equal((await client.list()).total, 0n);
  await service.halt();
  await service.again();
  for (const client of clients) assert.equal((await client.list()).total, 0n);
});

contract(89, 'follow over a restart', async () => {
  const service = await Service.start();
  const topic = fresh('restart');
  const client = clientOf(service, 'grpc');
  const autoReconnect = { autoReconnect: true, reconnect: { baseMs: 10, maxMs: 50 } };
  const { id } = await client.connect(parts.upstream.url, { ...autoReconnect, publish: { topic } });
  const followers = WAYS.map((way) => clientOf(service, way)).map((one) => ({ one, items: one.receive({ topic }, { fromStart: true }) }));
  await client.sendRaw(id, '{"burst": 3}');
  const before = await Promise.all(followers.map(({ items }) => messages(items, 3)));
  await service.halt();
  await service.again();
  await until('the connection is back', async () => (await client.get(id)).status === ConnectionStatus.CONNECTED);
  await client.sendRaw(id, '{"burst": 3}');
  const after = await Promise.all(followers.map(({ items }) => messages(items, 3)));
  for (const seen of [...before, ...after]) assert.deepEqual(seen, [0, 1, 2]);
  for (const { items } of followers) await items.return();
});

/** The numbers of the next messages, whatever gaps and ends stand between them. */
async function messages(items: AsyncIterator<ReceivedMessage>, count: number): Promise<number[]> {
  const numbers: number[] = [];
  while (numbers.length < count) {
    const [{ body }] = (await take(items, 1)) as [ReceivedMessage];
    if (body.case === 'text') numbers.push(JSON.parse(body.value).number);
  }
  return numbers;
}

contract(90, 'closed', async () => {
  for (const way of WAYS) {
    const client = clientOf(parts.service, way);
    await client.list();
    client.close();
    client.close();
    const closed = { code: Code.FailedPrecondition, certainty: 'not_sent', says: /closed/ };
    await fails(client.list(), closed);
    await fails(client.send('x', 'y'), closed);
    await fails(client.rooms.send('x', 'y'), closed);
    await fails(client.receive('x').next(), closed);
    await fails(client.watch().next(), closed);
    if (way === 'grpc') assert.throws(() => client.sendStream(), { code: Code.FailedPrecondition });
  }
});

contract(91, 'close while it waits', async () => {
  for (const way of WAYS) {
    const client = clientOf(parts.service, way);
    const { id } = await client.connect(parts.upstream.url);
    const send = fails(client.send(id, SILENT), { code: Code.Canceled, certainty: 'maybe_sent', says: /closed/ });
    const followed = fails(client.receive(id).next(), { code: Code.Canceled, says: /closed/ });
    const streamed = way === 'grpc' ? fails(client.sendStream().send(id, '{"burst": 0, "id": 2}'), { code: Code.Canceled }) : undefined;
    const waiting = way === 'grpc' ? 2 : 1;
    await until('they wait', async () => (await client.get(id)).sendsInFlight === waiting);
    client.close();
    await within(Promise.all([send, followed, streamed]), 'both end');
    const other = clientOf(parts.service, 'grpc');
    await until('nothing stays', async () => (await other.get(id)).sendsInFlight === 0);
  }
});

contract(92, 'a newer server', async () => {
  const newer = () => {
    const answer = create(ListResponseSchema, { connections: [{ id: 'a', status: 77 as ConnectionStatus }], total: 1n });
    // Field 999, a number.
    answer.$unknown = [{ no: 999, wireType: 0, data: Uint8Array.of(42) }];
    answer.connections[0]!.$unknown = [{ no: 998, wireType: 0, data: Uint8Array.of(1) }];
    return answer;
  };
  for (const way of WAYS) {
    const fake = await playing({ list: newer }, way === 'grpc');
    const client = closing(new WebSocketManagerClient({ url: fake.url, protocol: way }));
    const { connections, total } = await client.list();
    assert.deepEqual([connections[0]!.id, connections[0]!.status, total], ['a', 77, 1n]);
  }
});

contract(93, 'an older server', async () => {
  const fake = await fakeServer(({ service }) => {
    service(Base, {
      connect: () => ({ id: 'old', status: 2 }),
      list: () => ({ connections: [{ id: 'old', status: 2 }] }),
      disconnect: () => ({}),
      startPublish: () => ({}),
      stopPublish: () => ({}),
      send: ({ message }) => ({ response: message }),
      sendRaw: () => ({}),
      setTag: () => ({}),
      getTag: () => ({ value: 'v' }),
      setTags: () => ({}),
      getTags: () => ({ tags: { k: 'v' } }),
    });
  });
  const client = clientAt(fake.url);
  assert.equal((await client.connect('ws://x/')).status, ConnectionStatus.CONNECTED);
  assert.equal((await client.list()).connections[0]!.id, 'old');
  assert.equal((await client.send('old', 'hello')).response, 'hello');
  await client.sendRaw('old', 'x');
  await client.startPublish('old', 'topic');
  await client.stopPublish('old');
  await client.setTag('old', 'k', 'v');
  await client.setTags('old', { k: 'v' });
  assert.equal(await client.getTag('old', 'k'), 'v');
  assert.deepEqual(await client.getTags('old'), { k: 'v' });
  await client.disconnect('old');
  const older = { code: Code.Unimplemented, says: /older than this client/ };
  await fails(client.get('old'), older);
  await fails(client.receive('old').next(), older);
  await fails(client.rooms.send('room', 'x'), older);
});

contract(94, 'an older client', async () => {
  const transport = createGrpcTransport({ baseUrl: parts.service.grpc });
  const old = createClient(Base, transport);
  const { id, status } = await old.connect({ url: parts.upstream.url, tags: { a: 'b' } });
  assert.equal(status, 2);
  const { connections } = await old.list({ filters: [{ key: 'a', value: 'b' }] });
  assert.ok(connections.some((one) => one.id === id && one.url === parts.upstream.url));
  assert.equal((await old.send({ id, message: 'hello', timeoutMs: 5000 })).response, 'hello');
  await old.sendRaw({ id, message: 'x' });
  await old.startPublish({ id, topic: fresh('old') });
  await old.stopPublish({ id });
  await old.setTag({ id, key: 'k', value: 'v' });
  assert.equal((await old.getTag({ id, key: 'k' })).value, 'v');
  await old.setTags({ id, tags: { l: 'w' } });
  assert.deepEqual((await old.getTags({ id })).tags, { a: 'b', k: 'v', l: 'w' });
  await old.disconnect({ id });
});

/** An error of the service's, with its reason. */
function refused(code: Code, reason?: string): ConnectError {
  const details = reason ? [{ desc: ErrorInfoSchema, value: { reason, domain: 'websocketmanager' } }] : [];
  return new ConnectError('refused', code, undefined, details);
}

contract(95, 'retried', async () => {
  for (const way of WAYS) {
    let calls = 0;
    const send = () => {
      calls += 1;
      if (calls < 3) throw refused(Code.Unavailable, 'not_sent');
      return { response: 'at last' };
    };
    const fake = await playing({ send }, way === 'grpc');
    const client = closing(new WebSocketManagerClient({ url: fake.url, protocol: way }));
    assert.equal((await client.send('any', 'x')).response, 'at last');
    assert.equal(calls, 3);
  }
});

contract(96, 'not retried', async () => {
  for (const [code, reason] of [[Code.Aborted, 'maybe_sent'], [Code.Unavailable, undefined]] as const) {
    let calls = 0;
    const send = () => {
      calls += 1;
      throw refused(code, reason);
    };
    const fake = await playing({ send });
    const client = clientAt(fake.url);
    await fails(client.send('any', 'x'), { code, reason, certainty: 'maybe_sent' });
    assert.equal(calls, 1);
  }
});

contract(97, 'no answer', async () => {
  for (const way of WAYS) {
    const fake = await playing({ list: () => new Promise(() => {}) }, way === 'grpc');
    const client = closing(new WebSocketManagerClient({ url: fake.url, protocol: way, timeout: 100 }));
    await fails(within(client.list(), 'the time limit'), { code: Code.DeadlineExceeded });
  }
});

each(98, "the caller's code throws", async ({ client, upstream }) => {
  const { id } = await client.connect(upstream.url);
  await client.sendRaw(id, '{"burst": 3}');
  const items = client.receive(id, { fromStart: true });
  const body = (async () => {
    for await (const _ of items) throw new RangeError('my own');
  })();
  await assert.rejects(body, new RangeError('my own'));
  assert.equal((await items.next()).done, true);
  const onOpen = () => {
    throw new RangeError('my callback');
  };
  await assert.rejects(client.receive(id, { onOpen }).next(), new RangeError('my callback'));
});

node(99, 'details', async ({ client, upstream }) => {
  await fails(client.connect('http://example.com/'), { code: Code.InvalidArgument, reason: 'invalid', field: 'url' });
  const { id } = await client.connect(upstream.url, { limits: { maxInFlight: 1 } });
  const first = fails(client.send(id, SILENT), { code: Code.Aborted, reason: 'maybe_sent', certainty: 'maybe_sent' });
  await until('it waits', async () => (await client.get(id)).sendsInFlight === 1);
  const full = await fails(client.send(id, '{"id": 2}'), { code: Code.ResourceExhausted, reason: 'full' });
  assert.ok(full.retryAfterMs! > 0, String(full.retryAfterMs));
  // As code that was written for the errors of Connect sees it.
  assert.ok(full instanceof ConnectError && full instanceof WebSocketManagerError);
  assert.ok(!(refused(Code.Unknown) instanceof WebSocketManagerError));
  assert.equal(full.findDetails(ErrorInfoSchema)[0]!.domain, 'websocketmanager');
  await client.disconnect(id);
  await first;
});

contract(100, 'nothing is left', async () => {
  const handles = () => process.getActiveResourcesInfo().filter((kind) => /TCP|TLS|Timeout/.test(kind)).length;
  const first = clientOf(parts.service, 'grpc');
  const { id } = await first.connect(parts.upstream.url);
  const before = handles();
  for (let nth = 0; nth < 20; nth += 1) {
    const client = clientOf(parts.service, WAYS[nth % WAYS.length]!);
    await client.send(id, `{"id": ${nth}}`);
    await client.sendRaw(id, 'followed');
    const followed = client.receive(id, { fromStart: true });
    await take(followed, 1);
    client.close();
    // What has come already is still given; then it says that it was closed.
    await assert.rejects(exhaust(followed), /closed/);
  }
  await until('nothing of them is left', () => handles() <= before);
});

async function exhaust(items: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of items);
}

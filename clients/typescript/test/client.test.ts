import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { create, equals, type MessageShape } from '@bufbuild/protobuf';
import { WebSocketManagerClient as WebClient } from '@virtufin/websocketmanager/browser';
import { RoomClient } from '@virtufin/websocketmanager/rooms';
import { Code, ConnectError, ConnectionStatus, ConnectRequestSchema, WebSocketManager, WebSocketManagerClient } from '@virtufin/websocketmanager/node';
import { bundle, launch, NO_BROWSER, open, site } from './support/browser.js';
import { clientAt, closing, fails, WAYS } from './support/contract.js';
import { fakeServer, webServer } from './support/fake.js';
import { Service } from './support/service.js';
import { before, test } from './support/test.js';
import { Upstream } from './support/upstream.js';
import { until, within } from './support/wait.js';

let service: Service;
let upstream: Upstream;
before(async () => {
  service = await Service.start('--cors-origin', '*', '--ws-origin', '*');
  upstream = await Upstream.start();
});

test('in a page: calls by gRPC-Web and Connect, and what is followed', { skip: NO_BROWSER }, async () => {
  const browser = await launch();
  const place = await site(await bundle(`
    import { WebSocketManagerClient, Code } from '@virtufin/websocketmanager';
    window.run = async (url, upstream, protocol, json) => {
      const client = new WebSocketManagerClient({ url, protocol, json });
      const { id } = await client.connect(upstream);
      const { response } = await client.send(id, 'from a page');
      const items = client.receive(id, { fromStart: true });
      const { value } = await items.next();
      await items.return();
      const missing = await client.get('nobody').catch(({ code, reason }) => [Code[code], reason]);
      await client.disconnect(id);
      client.close();
      const closed = await client.list().catch(({ message }) => message);
      return [response, value.body.value, missing, closed];
    };
    window.wrong = (url) => new WebSocketManagerClient({ url, retry: false }).list().catch(({ message }) => message);
  `));
  const { page, uncaught } = await open(browser, place);
  for (const [protocol, json] of [['grpc-web', false], ['connect', false], ['connect', true]]) {
    const parameters = [service.http, upstream.url, protocol, json].map((one) => JSON.stringify(one)).join();
    const [response, followed, missing, closed] = (await page.evaluate(`run(${parameters})`)) as string[];
    assert.deepEqual([response, followed, missing], ['from a page', 'from a page', ['NotFound', 'not_found']]);
    assert.match(closed!, /closed/);
  }
  const wrong = (await page.evaluate(`wrong(${JSON.stringify(service.grpc)})`)) as string;
  assert.match(wrong, /cannot be reached.*not gRPC's 5002.*--cors-origin/);
  assert.deepEqual(uncaught, []);
});

test('wrong arguments say what is wrong', async () => {
  const url = service.grpc;
  assert.throws(() => new WebSocketManagerClient({ url: 'localhost:5002' }), /url: must begin with http/);
  assert.throws(() => new WebSocketManagerClient({ url: '' }), /url: "" is no URL/);
  assert.throws(() => new WebSocketManagerClient({ url, timeout: -1 }), /timeout: must be milliseconds/);
  assert.throws(() => new WebSocketManagerClient({ url, retry: { attempts: 0 } }), /retry\.attempts: must be at least 1/);
  assert.throws(() => new WebSocketManagerClient({ url, retry: { baseMs: -1 } }), /retry\.baseMs: must be milliseconds/);
  assert.throws(() => new WebSocketManagerClient({ url, protocol: 'http' as 'grpc' }), /protocol: must be grpc/);
  assert.throws(() => new WebClient({ url, protocol: 'grpc' as 'connect' }), /grpc is for Node/);
  const web = closing(new WebSocketManagerClient({ url: service.http, protocol: 'grpc-web' }));
  assert.throws(() => web.sendStream(), /sendStream: needs gRPC over HTTP\/2/);
  const client = closing(new WebSocketManagerClient({ url }));
  assert.throws(() => client.sendStream({ maxInFlight: 0 }), /maxInFlight: must be at least 1/);
  await fails(client.send('any', 'é'.repeat(3 << 20)), {
    code: Code.ResourceExhausted,
    certainty: 'not_sent',
    says: /6291456 bytes are over the limit of 4194304/,
  });
  await fails(client.rooms.send('any', new Uint8Array(5 << 20)), { code: Code.ResourceExhausted });
  assert.throws(() => new RoomClient('ftp://x/'), /url: ftp/);
  assert.throws(() => new RoomClient('not a url'), TypeError);
  const rooms = closing(new RoomClient(service.http));
  rooms.close();
  assert.throws(() => rooms.join('a'), /closed/);
});

test('what does not fit its field is refused before it goes out', async () => {
  for (const way of WAYS) {
    const client = clientAt(way === 'grpc' ? service.grpc : service.http, way);
    const unfit = { code: Code.InvalidArgument, certainty: 'not_sent' };
    await fails(client.send('any', 'x', { timeoutMs: 1.5 }), { ...unfit, field: 'timeout_ms', says: /timeout_ms: .*1\.5/ });
    for (const message of [5, { text: 'x' }, new ArrayBuffer(1)]) {
      const says = /message: must be a string or a Uint8Array, not (Number|Object|ArrayBuffer)/;
      await fails(client.sendRaw('any', message as unknown as string), { ...unfit, field: 'message', says });
    }
    await assert.rejects(client.list({}, { timeoutMs: -1 }), /timeoutMs: must be milliseconds/);
    // More than a timer takes is no limit, and not none at all.
    assert.ok((await client.list({}, { timeoutMs: Infinity })).total >= 0n);
  }
  assert.throws(() => clientAt(service.grpc, 'grpc', { headers: { 'no name': 'x' } }), TypeError);
});

test('paths of an update are named as fields are, or as in the proto', async () => {
  const client = clientAt(service.grpc);
  const { id } = await client.connect(upstream.url);
  const { appliedNow, appliedAtReconnect } = await client.update(id, {}, { paths: ['connectTimeoutMs', 'open_messages', 'limits'] });
  assert.deepEqual([...appliedNow, ...appliedAtReconnect].sort(), ['connect_timeout_ms', 'limits', 'open_messages']);
});

test('every field of a Connect arrives, by every way', async () => {
  const rule = { path: '/op', equals: 'ack' };
  const fields: Parameters<WebSocketManagerClient['connect']>[0] = {
    url: 'wss://venue.example/{{uuid}}',
    autoReconnect: true,
    tags: { venue: 'demo' },
    connectionId: 'feed-1',
    headers: { 'X-Api-Key': '{{secret:KEY}}' },
    subprotocols: ['v1', 'v2'],
    tls: { ca: 'ca', clientCert: 'cert', clientKey: 'key', serverName: 'name' },
    proxy: { url: 'http://proxy.example:3128' },
    sourceIp: '10.0.0.1',
    fallbackUrls: ['wss://other.example/'],
    connectTimeoutMs: 5000,
    openMessages: [{ text: 'hello', ack: rule, ackTimeoutMs: 100, paceMs: 10 }, { data: Uint8Array.of(0, 255) }],
    heartbeat: { json: '{"op":"ping"}', intervalMs: 1000, answers: [{ when: rule, send: 'pong' }] },
    ignore: [rule],
    idle: { dataMs: 1, pongMs: 2, heartbeatMs: 3 },
    reconnect: { maxAttempts: 4, baseMs: 5, maxMs: 6 },
    rotate: { maxAgeMs: 7, triggers: [rule], noOverlap: true },
    limits: { perSecond: 0.5, burst: 8, maxMessageBytes: 9, budget: 'venue', maxInFlight: 10 },
    correlation: { rule: { case: 'json', value: { requestPath: '/a', responsePath: '/b', inject: true, injectInteger: true } } },
    publish: { topic: 't', format: 1, ordering: 2, overflow: 5, gaps: 2, overflowKey: '/k' },
    rooms: ['ticks'],
    sequence: { path: '/s', previousPath: '/p', keyPath: '/k' },
    maxMessageBytes: 11,
    profile: 'demo',
    variables: { region: 'eu' },
  };
  assert.deepEqual(Object.keys(fields).sort(), ConnectRequestSchema.fields.map(({ localName }) => localName).sort());
  for (const [way, json] of [['grpc'], ['grpc-web'], ['connect', false], ['connect', true]] as const) {
    let seen: MessageShape<typeof ConnectRequestSchema> | undefined;
    const { url } = await fakeServer((router) => {
      router.service(WebSocketManager, { connect: (request) => ((seen = request), { id: 'a' }) });
    }, way === 'grpc');
    const client = way === 'grpc' ? clientAt(url) : closing(new WebClient({ url, protocol: way, json }));
    await client.connect(fields);
    assert.ok(seen && equals(ConnectRequestSchema, seen, create(ConnectRequestSchema, fields)), `${way} ${JSON.stringify(seen)}`);
  }
});

test('a Connect may take as long as its dials may', async () => {
  let limit: number | undefined;
  const { url } = await fakeServer((router) => {
    router.service(WebSocketManager, { connect: (_, context) => ((limit = context.timeoutMs()), { id: 'a' }) });
  });
  const client = clientAt(url);
  await client.connect('ws://x/');
  assert.ok(limit! <= 30_000, `${limit}`);
  await client.connect('ws://x/', { connectTimeoutMs: 50_000, fallbackUrls: ['ws://y/'] });
  assert.ok(limit! > 100_000 && limit! <= 102_000, `${limit}`);
  await client.connect('ws://x/', { connectTimeoutMs: 50_000 }, { timeoutMs: 1000 });
  assert.ok(limit! <= 1000, `${limit}`);
});

test('an answer that is cut off by who answered before leaves in doubt what was done', async () => {
  const trailer = 'grpc-status: 0\r\n';
  let asked = 0;
  const { url } = await webServer((request, response) => {
    asked += 1;
    response.setHeader('content-type', 'application/grpc-web+proto');
    // An empty message, and how it ended: that of the second call is lost.
    const end = asked === 2 ? [] : [0x80, 0, 0, 0, trailer.length, ...Buffer.from(trailer)];
    request.resume().on('end', () => response.end(Buffer.from([0, 0, 0, 0, 0, ...end])));
  });
  const client = clientAt(url, 'grpc-web');
  await client.list();
  await fails(client.send('any', 'x'), { code: Code.Aborted, certainty: 'maybe_sent' });
  assert.equal(asked, 2, 'it is not sent again');
});

test('a Send that is aborted before it began never begins', async () => {
  const client = closing(new WebSocketManagerClient({ url: service.grpc }));
  const { id } = await client.connect(upstream.url);
  const before = (await client.get(id)).counters!.messagesOut;
  await fails(client.send(id, 'x', { signal: AbortSignal.abort(new Error('changed my mind')) }), {
    code: Code.Canceled,
    says: /changed my mind/,
  });
  assert.equal((await client.get(id)).counters!.messagesOut, before);
});

test('a stream that breaks off fails what waits, and takes no more', async () => {
  const other = await Service.start();
  const client = closing(new WebSocketManagerClient({ url: other.grpc }));
  const { id } = await client.connect(upstream.url);
  const stream = client.sendStream({ maxInFlight: 1 });
  assert.equal((await stream.send(id, '{"id": 0}')).response, '{"id": 0}');
  const first = stream.send({ id, message: '{"burst": 0, "id": 1}', timeoutMs: 60_000 });
  const second = stream.send(id, '{"id": 2}');
  const ends = Promise.allSettled([first, second]);
  // The stream and the calls beside it are not in order.
  await until('the first waits', async () => (await client.get(id)).sendsInFlight === 1);
  await client.disconnect(id);
  const [lost, next] = await within(ends, 'both end');
  assert.deepEqual([lost.status, next.status], ['rejected', 'rejected']);
  assert.equal((lost as PromiseRejectedResult).reason.certainty, 'maybe_sent');
  await other.stop();
  const late = { certainty: 'not_sent', says: /this stream has ended: open a new one/ };
  const ended = await within(stream.send(id, 'x').catch((error: unknown) => error), 'the stream has ended');
  await fails(Promise.reject(ended), { code: (ended as ConnectError).code, ...late });
});

test('a Send on a stream can be aborted by itself', async () => {
  const client = closing(new WebSocketManagerClient({ url: service.grpc }));
  const { id } = await client.connect(upstream.url);
  const stream = client.sendStream();
  const caller = new AbortController();
  const { signal } = caller;
  const aborted = fails(stream.send(id, '{"burst": 0, "id": 1}', { signal, timeoutMs: 300 }), {
    code: Code.Canceled,
    certainty: 'maybe_sent',
    says: /enough/,
  });
  const other = stream.send(id, '{"id": 2}');
  caller.abort(new Error('enough'));
  await aborted;
  assert.equal((await other).response, '{"id": 2}');
  await fails(stream.send(id, 'x', { signal }), { code: Code.Canceled });
  // While it waits for its turn as well.
  const narrow = client.sendStream({ maxInFlight: 1 });
  const first = fails(narrow.send(id, '{"burst": 0, "id": 3}', { timeoutMs: 500 }), { code: Code.DeadlineExceeded });
  const turn = new AbortController();
  const waits = fails(narrow.send(id, '{"id": 4}', { signal: turn.signal }), { code: Code.Canceled, says: /no more/ });
  const next = narrow.send(id, '{"id": 5}');
  turn.abort(new Error('no more'));
  await waits;
  await first;
  assert.equal((await next).response, '{"id": 5}');
  // What cannot be written fails alone.
  const unfit = { code: Code.InvalidArgument, certainty: 'not_sent' };
  await fails(narrow.send(id, 'x', { timeoutMs: 1 / 3 }), { ...unfit, field: 'timeout_ms' });
  const data = Uint8Array.of(1);
  await fails(narrow.send({ id, data: 'x' as unknown as typeof data }), { ...unfit, says: /data: must be a Uint8Array, not String/ });
  await fails(narrow.send({ id, data, message: 'x' }), { ...unfit, says: /data: give it or message, not both/ });
  assert.equal((await narrow.send(id, '{"id": 6}')).response, '{"id": 6}');
  await narrow.close();
  await stream.close();
});

test('one connection is followed over a restart of the service, and no longer than it lives', async () => {
  const other = await Service.start();
  const client = closing(new WebSocketManagerClient({ url: other.grpc }));
  const { id } = await client.connect(upstream.url, { autoReconnect: true, reconnect: { baseMs: 10, maxMs: 50 } });
  const seen: string[] = [];
  const cursors: string[] = [];
  const done = (async () => {
    for await (const { body, cursor } of client.receive(id, { fromStart: true })) {
      seen.push(body.case === 'text' ? body.value : body.case!);
      cursors.push(cursor);
    }
  })();
  await client.sendRaw(id, 'before');
  await until('it came', () => seen.length === 1);
  await other.halt();
  await other.again();
  await until('it is back', async () => (await client.get(id)).status === ConnectionStatus.CONNECTED);
  await client.sendRaw(id, 'after');
  await until('it came', () => seen.includes('after'));
  await client.disconnect(id);
  await within(done, 'the end');
  assert.deepEqual(seen.filter((what) => what !== 'gap'), ['before', 'end', 'after', 'end']);
  // From beyond the end there is nothing to wait for.
  assert.equal((await within(client.receive(id, { cursor: cursors.at(-1) }).next(), 'its end')).done, true);
});

test('the service that is killed in the midst of a Send leaves it in doubt', async () => {
  const other = await Service.start();
  const client = closing(new WebSocketManagerClient({ url: other.grpc }));
  const { id } = await client.connect(upstream.url);
  const waits = client.send(id, '{"burst": 0, "id": 1}', { timeoutMs: 60_000 });
  const failed = fails(waits, { code: Code.Aborted, certainty: 'maybe_sent', says: /broke the connection off/ });
  await until('it waits', async () => (await client.get(id)).sendsInFlight === 1);
  other.kill();
  await within(failed, 'it fails');
});

test('many Sends at once by a stream take less of this process than one after the other', async (t) => {
  const client = closing(new WebSocketManagerClient({ url: service.grpc }));
  const { id } = await client.connect(upstream.url);
  const count = 400;
  const cpu = async (run: () => Promise<unknown>) => {
    const begun = process.cpuUsage();
    await run();
    const { user, system } = process.cpuUsage(begun);
    return user + system;
  };
  const texts = Array.from({ length: count }, (_, nth) => `{"id": ${nth}}`);
  const single = await cpu(async () => {
    for (const text of texts) await client.send(id, text);
  });
  const stream = client.sendStream();
  const streamed = await cpu(() => Promise.all(texts.map((text) => stream.send(id, text))));
  await stream.close();
  t.diagnostic(`CPU of ${count} Sends: ${single} us one by one, ${streamed} us on a stream`);
  assert.ok(streamed < single);
});

test('a process that forgets to close ends by itself', async () => {
  const program = `
    import { WebSocketManagerClient } from '@virtufin/websocketmanager/node';
    for (const [url, protocol] of [[process.argv[1], 'grpc'], [process.argv[2], 'grpc-web'], [process.argv[2], 'connect']]) {
      const client = new WebSocketManagerClient({ url, protocol });
      const { id } = await client.connect(process.argv[3]);
      await client.send(id, 'x');
      for await (const _ of client.receive(id, { fromStart: true })) break;
    }
    console.log('done');
  `;
  const parameters = ['--input-type=module', '-e', program, service.grpc, service.http, upstream.url];
  const cwd = new URL('../../', import.meta.url).pathname;
  const { stdout } = await promisify(execFile)(process.execPath, parameters, { cwd, timeout: 60_000 });
  assert.equal(stdout, 'done\n');
});

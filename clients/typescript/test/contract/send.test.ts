import assert from 'node:assert/strict';
import {
  Code,
  payloadOf,
  replyOf,
  SendCertainty,
  SendOutcome,
  type SendInit,
  type WebSocketManagerClient,
} from '@virtufin/websocketmanager/node';
import { fails, scene, type Scene } from '../support/contract.js';
import { take, until, within } from '../support/wait.js';

const { each, node } = scene();

async function connected({ client, upstream }: Scene, more: Parameters<Scene['client']['connect']>[1] = {}): Promise<string> {
  return (await client.connect(upstream.url, more)).id;
}

/** As soon as one Send waits there. */
async function waiting(client: WebSocketManagerClient, id: string): Promise<void> {
  await until('a Send waits', async () => (await client.get(id)).sendsInFlight === 1);
}

const SILENT = '{"burst": 0, "id": 1}';

each(29, 'text', async (scene) => {
  const id = await connected(scene);
  assert.equal((await scene.client.send(id, 'hello')).response, 'hello');
  // As clients of the service that came before call it.
  const bytes = new TextEncoder().encode('{"id": 5}');
  const { response } = await scene.client.send(id, bytes, 'application/json', 5000);
  assert.equal(response, '{"id": 5}');
});

each(30, 'unicode', async (scene) => {
  const id = await connected(scene);
  const text = 'Grüße, мир, 世界, שלום 🦊 \u202E"quoted"';
  assert.equal((await scene.client.send(id, text)).response, text);
});

each(31, 'binary', async (scene) => {
  const id = await connected(scene);
  const bytes = Uint8Array.from({ length: 256 }, (_, nth) => nth);
  const reply = await scene.client.send(id, bytes);
  assert.deepEqual([new Uint8Array(reply.data), reply.response], [bytes, '']);
  assert.deepEqual(new Uint8Array(payloadOf(reply) as Uint8Array), bytes);
});

each(32, 'many at once', async (scene) => {
  const id = await connected(scene);
  const texts = Array.from({ length: 100 }, (_, nth) => JSON.stringify({ id: nth, text: `number ${nth}` }));
  const replies = await Promise.all(texts.map((text) => scene.client.send(id, text)));
  assert.deepEqual(replies.map(({ response }) => response), texts);
});

each(33, 'large', async (scene) => {
  const id = await connected(scene);
  const text = 'x'.repeat(1_048_576);
  const { response } = await scene.client.send(id, text);
  assert.ok(response === text, `${response.length} characters came back`);
});

each(34, 'too large for the connection', async (scene) => {
  const id = await connected(scene);
  const call = scene.client.send(id, 'x'.repeat(2 << 20));
  await fails(call, { code: Code.InvalidArgument, field: 'message', certainty: 'not_sent' });
  assert.equal((await scene.client.send(id, 'small')).response, 'small');
});

each(35, 'too large for a call', async (scene) => {
  const id = await connected(scene);
  const error = await scene.client.send(id, 'x'.repeat(20 << 20)).catch((thrown: unknown) => thrown);
  const { code, message } = error as { code: Code; message: string };
  assert.ok([Code.InvalidArgument, Code.ResourceExhausted].includes(code), message);
  assert.match(message, /20971520 bytes/);
  assert.equal((await scene.client.send(id, 'small')).response, 'small');
});

each(36, 'no reply in time', async (scene) => {
  const id = await connected(scene);
  const call = scene.client.send(id, SILENT, { timeoutMs: 100 });
  await fails(call, { code: Code.DeadlineExceeded, reason: 'timed_out', certainty: 'maybe_sent' });
});

each(37, "the caller's deadline", async (scene) => {
  const id = await connected(scene);
  const call = scene.client.send(id, SILENT, { timeoutMs: 60_000, callTimeoutMs: 200 });
  await fails(within(call, 'the deadline'), { code: Code.DeadlineExceeded, certainty: 'maybe_sent' });
});

each(38, 'cancelled', async (scene) => {
  const id = await connected(scene);
  const caller = new AbortController();
  const call = scene.client.send(id, SILENT, { timeoutMs: 60_000, signal: caller.signal });
  const failed = fails(call, { code: Code.Canceled, certainty: 'maybe_sent', says: /not needed any more/ });
  await waiting(scene.client, id);
  caller.abort(new Error('not needed any more'));
  await failed;
  await until('nothing waits', async () => (await scene.client.get(id)).sendsInFlight === 0);
  assert.equal((await scene.client.send(id, '{"id": 2}')).response, '{"id": 2}');
});

each(39, 'send to nobody', async ({ client }) => {
  await fails(client.send('nobody', 'x'), { code: Code.NotFound, certainty: 'not_sent' });
});

each(40, 'nothing to send', async (scene) => {
  const id = await connected(scene);
  await fails(scene.client.send(id, ''), { code: Code.InvalidArgument });
});

each(41, 'socket not open', async (scene) => {
  const id = await connected(scene);
  await scene.client.sendRaw(id, '{"close": 4001}');
  await until('it is closed', async () => (await scene.client.get(id)).status !== 2);
  await fails(scene.client.send(id, 'x'), { code: Code.FailedPrecondition, reason: 'not_open', certainty: 'not_sent' });
});

each(42, 'maybe sent', async (scene) => {
  const id = await connected(scene);
  const call = scene.client.send(id, '{"drop": true, "id": 1}');
  await fails(call, { code: Code.Aborted, reason: 'maybe_sent', certainty: 'maybe_sent' });
  assert.equal((await scene.client.get(id)).counters!.messagesOut, 1n);
});

each(43, 'disconnected while it waits', async (scene) => {
  const id = await connected(scene);
  const failed = fails(scene.client.send(id, SILENT), { code: Code.Aborted, reason: 'maybe_sent' });
  await waiting(scene.client, id);
  await scene.client.disconnect(id);
  await failed;
});

each(44, 'broken protocol', async (scene) => {
  const id = await connected(scene);
  const error = await scene.client.send(id, '{"garbage": true, "id": 1}').catch((thrown: unknown) => thrown);
  const { code, reason } = error as { code: Code; reason: string };
  const known = [[Code.Internal, 'peer_protocol'], [Code.Aborted, 'maybe_sent']];
  assert.ok(known.some(([c, r]) => c === code && r === reason), String(error));
});

each(45, 'correlation rules', async (scene) => {
  const id = await connected(scene);
  const ask = async (rule: NonNullable<SendInit['correlation']>['rule'], message: string | Uint8Array) =>
    payloadOf(await scene.client.send({ id, message, correlation: { rule } }));
  assert.equal(await ask({ case: 'auto', value: {} }, '{"id": "a"}'), '{"id": "a"}');
  const injected = await ask({ case: 'json', value: { requestPath: '/req_id', inject: true } }, '{"op": "x"}');
  assert.equal(typeof JSON.parse(injected as string).req_id, 'string');
  // The upstream sends back what it gets: what is sent without waiting comes as the reply of what waits.
  const answered = async (rule: Parameters<typeof ask>[0], call: string, reply: string) => {
    const asked = ask(rule, call);
    await waiting(scene.client, id);
    await scene.client.sendRaw(id, reply);
    assert.equal(await asked, reply);
  };
  const result = '{"jsonrpc": "2.0", "id": 3, "result": 1}';
  await answered({ case: 'jsonRpc', value: {} }, '{"jsonrpc": "2.0", "id": 3, "method": "m"}', result);
  await answered({ case: 'array', value: { position: 1 } }, '[2, "a1", "Heartbeat", {}]', '[3, "a1", {}]');
  const bytes = await ask({ case: 'prefix', value: {} }, Uint8Array.of(0, 1, 2));
  assert.deepEqual([...(bytes as Uint8Array)], [0, 1, 2]);
  assert.equal(await ask({ case: 'fifo', value: { resyncMs: 500 } }, 'status?'), 'status?');
  const ready = '{"type": "ready"}';
  assert.equal(await ask({ case: 'match', value: { path: '/type', equals: 'ready' } }, ready), ready);
});

each(46, 'same id twice', async (scene) => {
  const id = await connected(scene);
  const first = fails(scene.client.send(id, SILENT), { code: Code.Aborted });
  await waiting(scene.client, id);
  await fails(scene.client.send(id, SILENT), { code: Code.AlreadyExists, reason: 'correlation_in_use' });
  await scene.client.disconnect(id);
  await first;
});

each(47, 'full', async (scene) => {
  const id = await connected(scene, { limits: { maxInFlight: 1 } });
  const first = fails(scene.client.send(id, SILENT), { code: Code.Aborted });
  await waiting(scene.client, id);
  await fails(scene.client.send(id, '{"id": 2}'), { code: Code.ResourceExhausted, reason: 'full', certainty: 'not_sent' });
  await scene.client.disconnect(id);
  await first;
});

each(48, 'doubt of fifo', async (scene) => {
  const id = await connected(scene);
  const correlation = { rule: { case: 'fifo' as const, value: {} } };
  const silent = scene.client.send({ id, message: '{"burst": 0}', timeoutMs: 50, correlation });
  await fails(silent, { code: Code.DeadlineExceeded });
  const next = scene.client.send({ id, message: 'x', correlation });
  await fails(next, { code: Code.FailedPrecondition, reason: 'fifo_resync' });
});

each(49, 'send raw', async (scene) => {
  const id = await connected(scene);
  const followed = scene.client.receive(id, { fromStart: true });
  await scene.client.sendRaw(id, 'text');
  await scene.client.sendRaw(id, Uint8Array.of(0, 255));
  const [text, bytes] = await take(followed, 2);
  await followed.return();
  assert.deepEqual(text!.body, { case: 'text', value: 'text' });
  assert.equal(bytes!.body.case, 'data');
  assert.deepEqual([...(bytes!.body.value as Uint8Array)], [0, 255]);
});

each(50, 'send raw to nobody', async ({ client }) => {
  await fails(client.sendRaw('nobody', 'x'), { code: Code.NotFound });
});

node(51, 'stream', async (scene) => {
  const id = await connected(scene);
  const stream = scene.client.sendStream({ maxInFlight: 200 });
  const texts = Array.from({ length: 500 }, (_, nth) => JSON.stringify({ id: nth }));
  const replies = await Promise.all(texts.map((text) => stream.send(id, text)));
  assert.deepEqual(replies.map(({ response }) => response), texts);
  await stream.close();
  await fails(stream.send(id, 'x'), { code: Code.FailedPrecondition, says: /closed/ });
});

node(52, "a stream's failures", async (scene) => {
  const id = await connected(scene);
  const stream = scene.client.sendStream();
  const good = stream.send(id, '{"id": 1}');
  const unknown = fails(stream.send('nobody', 'x'), { code: Code.NotFound, certainty: 'not_sent' });
  const late = fails(stream.send({ id, message: '{"burst": 0, "id": 2}', timeoutMs: 50 }), {
    code: Code.DeadlineExceeded,
    certainty: 'maybe_sent',
  });
  assert.equal((await good).response, '{"id": 1}');
  await Promise.all([unknown, late]);
  assert.equal((await stream.send(id, '{"id": 3}')).response, '{"id": 3}');
  await stream.close();
});

each(53, 'batch', async (scene) => {
  const id = await connected(scene);
  const results = await scene.client.sendBatch([
    { id, message: '{"id": 1}', tag: 7n },
    { id: 'nobody', message: 'x' },
    { id, message: Uint8Array.of(1, 2) },
  ]);
  assert.deepEqual(results.map(({ code }) => code), [0, Code.NotFound, 0]);
  assert.equal(results[1]!.certainty, SendCertainty.NOT_SENT);
  assert.deepEqual([results[0]!.outcome, results[0]!.tag], [SendOutcome.REPLIED, 7n]);
  assert.equal(replyOf(results[0]!).response, '{"id": 1}');
  assert.throws(() => replyOf(results[1]!), { code: Code.NotFound, certainty: 'not_sent' });
  assert.deepEqual([...replyOf(results[2]!).data], [1, 2]);
});

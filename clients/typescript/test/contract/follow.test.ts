import assert from 'node:assert/strict';
import {
  Code,
  WebSocketManager,
  WebSocketManagerClient,
  type LifecycleEvent,
  type ReceivedMessage,
} from '@virtufin/websocketmanager/node';
import { closing, contract, fails, fresh, scene, WAYS, type Scene } from '../support/contract.js';
import { fakeServer } from '../support/fake.js';
import { take, until, within } from '../support/wait.js';

const { each } = scene();

async function connected({ client, upstream }: Scene, more: Parameters<Scene['client']['connect']>[1] = {}): Promise<string> {
  return (await client.connect(upstream.url, more)).id;
}

function text({ body }: ReceivedMessage): string {
  assert.equal(body.case, 'text');
  return body.value as string;
}

const numbers = (messages: ReceivedMessage[]) => messages.map((message) => JSON.parse(text(message)).number as number);

each(54, 'start publish', async (scene) => {
  const id = await connected(scene);
  const topic = fresh('topic');
  const { epoch, nextSeq } = await scene.client.startPublish(id, topic);
  assert.ok(epoch > 0n);
  assert.equal(nextSeq, 1n);
  await scene.client.sendRaw(id, 'published');
  const [message] = await take(scene.client.receive({ topic }, { fromStart: true }), 1);
  assert.deepEqual([text(message!), message!.id, message!.topic], ['published', id, topic]);
});

each(55, 'stop publish', async (scene) => {
  const id = await connected(scene);
  await scene.client.startPublish({ id, topic: fresh('topic') });
  await scene.client.stopPublish(id);
  assert.equal((await scene.client.get(id)).topic, '');
});

each(56, 'no topic', async (scene) => {
  const id = await connected(scene);
  await fails(scene.client.startPublish(id, ''), { code: Code.InvalidArgument, field: 'topic' });
});

each(57, 'publish of nobody', async ({ client }) => {
  await fails(client.startPublish('nobody', 'topic'), { code: Code.NotFound });
  await fails(client.stopPublish('nobody'), { code: Code.NotFound });
});

each(58, 'receive', async (scene) => {
  const id = await connected(scene);
  const followed = scene.client.receive(id, { fromStart: true });
  const first = take(followed, 5);
  await scene.client.sendRaw(id, '{"burst": 5}');
  const messages = await first;
  await followed.return();
  assert.deepEqual(numbers(messages), [0, 1, 2, 3, 4]);
  assert.deepEqual(messages.map(({ seq }) => seq), [1n, 2n, 3n, 4n, 5n]);
  assert.equal(new Set(messages.map(({ epoch }) => epoch)).size, 1);
});

each(59, 'resume', async (scene) => {
  const id = await connected(scene);
  await scene.client.sendRaw(id, '{"burst": 10}');
  const before = await take(scene.client.receive(id, { fromStart: true }), 3);
  const after = scene.client.receive(id, { cursor: before[2]!.cursor });
  assert.deepEqual(numbers(await take(after, 7)), [3, 4, 5, 6, 7, 8, 9]);
  await after.return();
});

each(60, 'from the start', async (scene) => {
  const id = await connected(scene);
  await scene.client.sendRaw(id, '{"burst": 3}');
  await until('all are here', async () => (await scene.client.get(id)).seq === 3n);
  const followed = scene.client.receive({ id }, { fromStart: true });
  assert.deepEqual(numbers(await take(followed, 3)), [0, 1, 2]);
  await followed.return();
});

each(61, 'by tag', async (scene) => {
  const tags = { batch: fresh('tag') };
  const ids = [await connected(scene, { tags }), await connected(scene, { tags })];
  const followed = scene.client.receive({ tags }, { fromStart: true });
  for (const id of ids) await scene.client.sendRaw(id, id);
  const messages = await take(followed, 2);
  await followed.return();
  assert.deepEqual(messages.map(text).sort(), ids.sort());
});

each(62, 'a gap', async (scene) => {
  const id = await connected(scene, { autoReconnect: true, reconnect: { baseMs: 10, maxMs: 20 } });
  const followed = scene.client.receive(id, { fromStart: true });
  await scene.client.sendRaw(id, 'before');
  const [before] = await take(followed, 1);
  await scene.client.sendRaw(id, '{"close": 4001}');
  const [gap] = await take(followed, 1);
  await until('it is back', async () => (await scene.client.get(id)).status === 2);
  await scene.client.sendRaw(id, 'after');
  const [after] = await take(followed, 1);
  await followed.return();
  assert.deepEqual([text(before!), text(after!)], ['before', 'after']);
  assert.ok(gap!.body.case === 'gap', JSON.stringify(gap!.body.case));
  assert.equal(gap!.body.value.cause, 'reconnect');
});

each(63, 'an end', async (scene) => {
  const id = await connected(scene);
  await scene.client.sendRaw(id, '{"burst": 2}');
  const followed = scene.client.receive(id, { fromStart: true });
  await take(followed, 2);
  await scene.client.disconnect(id);
  const [end] = await take(followed, 1);
  assert.ok(end!.body.case === 'end');
  assert.equal(end!.body.value.lastSeq, 2n);
  assert.equal((await followed.next()).done, true);
});

each(64, 'bad cursor', async (scene) => {
  const id = await connected(scene);
  const call = scene.client.receive(id, { cursor: 'xx' }).next();
  await fails(call, { code: Code.InvalidArgument, field: 'cursor' });
});

contract(65, 'leaving', async () => {
  for (const way of WAYS) {
    let ended = 0;
    const fake = await fakeServer(({ service }) => {
      service(WebSocketManager, {
        async *receive(_, { signal }) {
          signal.addEventListener('abort', () => (ended += 1));
          for (let seq = 1n; !signal.aborted; seq += 1n) yield { seq, body: { case: 'text', value: 'x' } };
        },
      });
    }, way === 'grpc');
    const client = closing(new WebSocketManagerClient({ url: fake.url, protocol: way }));
    let seen = 0;
    for await (const _ of client.receive('any')) {
      seen += 1;
      if (seen === 3) break;
    }
    await until(`the call is gone, by ${way}`, () => ended === 1);
  }
});

each(66, 'source', async ({ client }) => {
  assert.throws(() => client.receive({} as { id: string }), /exactly one of id, tags, topic and room, not none/);
  const two = { id: 'a', topic: 'b' } as { id: string };
  assert.throws(() => client.receive(two), /exactly one of id, tags, topic and room, not id, topic/);
  assert.throws(() => client.receive('a', { cursor: 'x', fromStart: true }), /fromStart: give it or cursor/);
});

/** Follows, and has begun to. */
async function watching({ client }: Scene, id: string): Promise<AsyncGenerator<LifecycleEvent, void>> {
  let onOpen = () => {};
  const open = new Promise<void>((resolve) => (onOpen = resolve));
  const watched = client.watch({ id }, { onOpen });
  const first = watched.next();
  await within(open, 'the service watches');
  return (async function* () {
    yield (await first).value as LifecycleEvent;
    yield* watched;
  })();
}

const kinds = (events: LifecycleEvent[]) => events.map(({ type }) => type.split('.').at(-1));

each(67, 'watch', async (scene) => {
  const id = fresh('watched');
  const watched = await watching(scene, id);
  await connected(scene, { connectionId: id });
  await scene.client.disconnect(id);
  const events = await take(watched, 3);
  await watched.return();
  assert.deepEqual(kinds(events), ['connecting', 'connected', 'disconnected']);
  assert.ok(events.every(({ cursor, connectionId }) => cursor !== '' && connectionId === id));
});

each(68, 'watch resumes', async (scene) => {
  const id = fresh('watched');
  const watched = await watching(scene, id);
  await connected(scene, { connectionId: id });
  const [connecting] = await take(watched, 1);
  await watched.return();
  await scene.client.disconnect(id);
  const again = scene.client.watch({ id }, { cursor: connecting!.cursor });
  assert.deepEqual(kinds(await take(again, 2)), ['connected', 'disconnected']);
  await again.return();
});

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Code } from '@virtufin/websocketmanager/node';
import { WebSocket } from 'ws';
import { fails, fresh, scene, type Scene } from '../support/contract.js';
import { atEnd } from '../support/test.js';
import { take, within } from '../support/wait.js';

const { each } = scene();

/** A client in rooms, and what it gets. */
class Member {
  #got: { data: Buffer; isBinary: boolean }[] = [];
  #wake = () => {};

  private constructor(readonly socket: WebSocket) {
    socket.on('message', (data, isBinary) => {
      this.#got.push({ data: data as Buffer, isBinary });
      this.#wake();
    });
  }

  static async of({ service }: Scene, ...rooms: string[]): Promise<Member> {
    const query = rooms.map((room) => `room=${encodeURIComponent(room)}`).join('&');
    const member = new Member(new WebSocket(`${service.ws}/ws?${query}`));
    atEnd(() => member.socket.terminate());
    await within(once(member.socket, 'open'), 'the member is in');
    return member;
  }

  async next(): Promise<string | number[]> {
    while (this.#got.length === 0) {
      await within(new Promise<void>((resolve) => (this.#wake = resolve)), 'a message comes to the member');
    }
    const { data, isBinary } = this.#got.shift()!;
    return isBinary ? [...data] : data.toString();
  }

  async leave(): Promise<void> {
    const closed = once(this.socket, 'close');
    this.socket.close();
    await within(closed, 'the member has left');
  }
}

each(69, 'send to a room', async (scene) => {
  const room = fresh('room');
  const member = await Member.of(scene, room);
  const { positions } = await scene.client.rooms.send(room, 'hello, all of you');
  assert.equal(await member.next(), 'hello, all of you');
  assert.deepEqual([positions.length, positions[0]!.room, positions[0]!.offset], [1, room, 1n]);
  assert.ok(positions[0]!.epoch > 0n);
  await member.leave();
});

each(70, 'send to two', async (scene) => {
  const rooms = [fresh('two'), fresh('two')];
  const member = await Member.of(scene, ...rooms);
  const { positions } = await scene.client.rooms.send(rooms, 'once');
  await scene.client.rooms.send(rooms[0]!, 'the next');
  assert.deepEqual([await member.next(), await member.next()], ['once', 'the next']);
  assert.deepEqual(positions.map(({ room }) => room).sort(), [...rooms].sort());
  await member.leave();
});

each(71, 'broadcast', async (scene) => {
  const member = await Member.of(scene, fresh('any'));
  const { positions } = await scene.client.rooms.broadcast('to everybody');
  assert.equal(await member.next(), 'to everybody');
  assert.deepEqual(positions.map(({ room }) => room), ['']);
  await member.leave();
});

each(72, 'typed', async (scene) => {
  const room = fresh('typed');
  const member = await Member.of(scene, room);
  await scene.client.rooms.send(room, { text: 'hi' }, { messageId: 'chat.message' });
  const typed = JSON.parse((await member.next()) as string);
  assert.deepEqual(typed, { MESSAGE_ID: 'chat.message', message: { text: 'hi' } });
  await member.leave();
});

each(73, 'binary', async (scene) => {
  const room = fresh('binary');
  const member = await Member.of(scene, room);
  await scene.client.rooms.send(room, Uint8Array.of(0, 1, 255));
  assert.deepEqual(await member.next(), [0, 1, 255]);
  await member.leave();
});

each(74, 'bad name', async ({ client }) => {
  await fails(client.rooms.send('a,b', 'x'), { code: Code.InvalidArgument, says: /rooms/ });
});

each(75, 'join and leave', async (scene) => {
  const [first, second] = [fresh('first'), fresh('second')];
  const member = await Member.of(scene, first);
  const { rooms } = scene.client;
  const { members } = await rooms.members(first);
  assert.equal(members.length, 1);
  const { id } = members[0]!;
  await rooms.join(second, id);
  await rooms.send(second, 'in the second');
  assert.equal(await member.next(), 'in the second');
  assert.deepEqual((await rooms.members(second)).members.map((one) => one.id), [id]);
  await rooms.leave(second, id);
  assert.deepEqual((await rooms.members(second)).members, []);
  await member.leave();
});

each(76, 'join of nobody', async ({ client }) => {
  await fails(client.rooms.join('any', 'nobody'), { code: Code.NotFound });
});

each(77, 'rooms', async (scene) => {
  const prefix = fresh('prefix');
  const names = [`${prefix}-a`, `${prefix}-b`, `${prefix}-c`];
  const everywhere = await Member.of(scene, ...names);
  const another = await Member.of(scene, names[1]!);
  const found: [string, bigint][] = [];
  let pageToken = '';
  do {
    const page = await scene.client.rooms.list({ prefix, pageSize: 1, pageToken });
    assert.ok(page.rooms.length <= 1);
    found.push(...page.rooms.map(({ name, members }): [string, bigint] => [name, members]));
    pageToken = page.nextPageToken;
  } while (pageToken !== '');
  assert.deepEqual(found, [[names[0], 1n], [names[1], 2n], [names[2], 1n]]);
  await Promise.all([everywhere.leave(), another.leave()]);
});

each(78, 'history', async ({ client }) => {
  const room = fresh('history');
  const sent = [];
  for (const text of ['one', 'two', 'three']) sent.push(await client.rooms.send(room, text));
  const { epoch, offset } = sent[0]!.positions[0]!;
  const { messages, recovered } = await client.rooms.history(room, { after: { epoch, offset } });
  assert.deepEqual([messages.map(({ text }) => text), recovered], [['two', 'three'], true]);
});

each(79, 'follow a room', async ({ client }) => {
  const room = fresh('followed');
  for (const text of ['one', 'two', 'three']) await client.rooms.send(room, text);
  const followed = client.receive({ room }, { fromStart: true });
  const messages = await take(followed, 3);
  await followed.return();
  assert.deepEqual(messages.map(({ body }) => body.value), ['one', 'two', 'three']);
  assert.deepEqual(messages.map(({ offset }) => offset), [1n, 2n, 3n]);
});

each(80, 'users', async ({ client }) => {
  const user = fresh('user');
  assert.equal((await client.rooms.sendToUser(user, 'hello')).connections, 0n);
  assert.equal((await client.rooms.kickUser(user)).disconnected, 0n);
});

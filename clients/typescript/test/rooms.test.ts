import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { WebSocketManagerClient } from '@virtufin/websocketmanager/node';
import { RoomClient, type RoomClientOptions, type RoomError, type RoomGap } from '@virtufin/websocketmanager/rooms';
import { WebSocket, WebSocketServer } from 'ws';
import { Proxy } from './support/proxy.js';
import { closing } from './support/contract.js';
import { Service } from './support/service.js';
import { atEnd, test } from './support/test.js';
import { ended } from './support/upstream.js';
import { until, within } from './support/wait.js';

type Frame = Record<string, any>;

/** A service of which a test decides each word. */
class Scripted {
  readonly asked: Frame[] = [];
  readonly protocols: string[][] = [];
  readonly paths: string[] = [];
  /** Of each connection. */
  readonly pings = new Map<WebSocket, number>();
  answering = true;

  private constructor(readonly server: WebSocketServer) {
    server.on('connection', (socket, request) => {
      this.paths.push(request.url!);
      this.protocols.push(String(request.headers['sec-websocket-protocol']).split(/, ?/));
      socket.on('message', (data) => this.#request(JSON.parse(String(data)), socket));
    });
  }

  static async start(): Promise<Scripted> {
    const handleProtocols = () => 'wsm.rooms.v1';
    const server = new WebSocketServer({ host: '127.0.0.1', port: 0, handleProtocols });
    await within(once(server, 'listening'), 'it listens');
    atEnd(() => ended(server));
    return new Scripted(server);
  }

  get url(): string {
    return `ws://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  #request(frame: Frame, socket: WebSocket): void {
    this.asked.push(frame);
    if (frame.ping) this.pings.set(socket, (this.pings.get(socket) ?? 0) + 1);
    if (!this.answering) return;
    const { join, resume, id, ping } = frame;
    if (join) socket.send(JSON.stringify({ joined: join, epoch: 7, offset: 10, id }));
    if (resume) socket.send(JSON.stringify({ recovered: true, ...resume, id }));
    if (ping) socket.send(JSON.stringify({ pong: ping }));
  }

  say(...frames: Frame[]): void {
    for (const client of this.server.clients) frames.forEach((frame) => client.send(JSON.stringify(frame)));
  }
}

const NODE = { WebSocket: WebSocket as unknown as RoomClientOptions['WebSocket'], baseMs: 5, maxMs: 20 };

/** A client in room `a` of a scripted service, and what it was told. */
async function entered(options: RoomClientOptions = {}) {
  const service = await Scripted.start();
  const client = closing(new RoomClient(service.url, { ...NODE, ...options }));
  const [messages, gaps, joined, errors] = [[] as unknown[], [] as RoomGap[], [] as unknown[], [] as RoomError[]];
  const room = client.join('a');
  room.onMessage(({ data }) => messages.push(data));
  room.onGap((gap) => gaps.push(gap));
  room.onJoined((recovered) => joined.push(recovered));
  client.onError((error) => errors.push(error));
  await until('it is in', () => joined.length === 1);
  return { service, client, room, messages, gaps, joined, errors };
}

const message = (offset: number, more: Frame = {}) => ({ room: 'a', epoch: 7, offset, data: `${offset}`, ...more });

test('each message once, in order; lower epochs are over', async () => {
  const { service, room, messages, gaps } = await entered();
  service.say(message(11), message(12), message(12), message(11));
  service.say({ gap: { room: 'a', from: { epoch: 7, offset: 12 }, to: { epoch: 7, offset: 20 }, cause: 'slow_reader' } });
  service.say(message(15), message(20), message(1, { epoch: 8 }), message(21), message(2, { epoch: 8, data: 'last' }));
  await until('all came', () => messages.at(-1) === 'last');
  assert.deepEqual(messages, ['11', '12', '20', '1', 'last']);
  assert.deepEqual(gaps.map(({ cause }) => cause), ['slow_reader']);
  assert.deepEqual(room.at, { epoch: 8, offset: 2 });
});

test('a message of several rooms counts in each of them', async () => {
  const { service, client, room, messages } = await entered();
  const other = client.join('b');
  const others: unknown[] = [];
  other.onMessage(({ data }) => others.push(data));
  await until('it is in both', () => other.at);
  // By a, before what stands before it in b has come.
  service.say(message(11, { also: [{ room: 'b', epoch: 7, offset: 12 }], data: 'both' }));
  service.say({ room: 'b', epoch: 7, offset: 11, data: 'before' });
  await until('all came', () => others.length === 1);
  assert.deepEqual([room.at, other.at], [{ epoch: 7, offset: 11 }, { epoch: 7, offset: 12 }]);
  // Again, as the history of b has it.
  service.say({ room: 'b', epoch: 7, offset: 12, data: 'both' }, { room: 'b', epoch: 7, offset: 13, data: 'after' });
  await until('all came', () => others.length === 2);
  assert.deepEqual([messages, others], [['both'], ['before', 'after']]);
});

test('what comes before the answer to a resume is left for after it', async () => {
  const { service, messages, joined } = await entered();
  service.say(message(11));
  await until('it came', () => messages.length === 1);
  service.answering = false;
  for (const socket of service.server.clients) socket.terminate();
  const ask = await until('it asks again', () => service.asked.find((frame) => 'resume' in frame));
  assert.deepEqual(ask.resume, { room: 'a', epoch: 7, offset: 11 });
  // One that the connection was handed before it was put back, then the answer and all since.
  service.say(message(14), { recovered: true, room: 'a', epoch: 7, offset: 14, id: ask.id });
  service.say(message(12), message(13), message(14));
  await until('all came', () => messages.length === 4);
  assert.deepEqual(messages, ['11', '12', '13', '14']);
  assert.deepEqual(joined, [undefined, true]);
});

test('a connection that says nothing is asked, then left', async () => {
  const { service, joined } = await entered({ pingMs: 60 });
  // Who answers is asked again, by the same connection; a machine that stood still may have cost another.
  await until('it was asked', () => [...service.pings.values()].some((asked) => asked >= 2));
  service.answering = false;
  const [before, entries] = [service.paths.length, joined.length];
  await until('another connection', () => service.paths.length > before);
  service.answering = true;
  for (const socket of service.server.clients) socket.terminate();
  await until('it is in again', () => joined.length > entries);
});

test('a token is asked for each connection, and one that cannot be had is told', async () => {
  let nth = 0;
  const token = async () => {
    nth += 1;
    if (nth === 2) throw new Error('no token now');
    return `t${nth}`;
  };
  const { service, joined, errors } = await entered({ token, path: '/chat/ws/{room}' });
  for (const socket of service.server.clients) socket.terminate();
  await until('it is in again', () => joined.length === 2);
  assert.deepEqual(service.protocols, [['wsm.rooms.v1', 'bearer.t1'], ['wsm.rooms.v1', 'bearer.t3']]);
  assert.deepEqual(service.paths, ['/chat/ws/a', '/chat/ws/a']);
  assert.deepEqual(errors.map(({ message }) => message), ['Error: no token now']);
});

test('which ends are final', async () => {
  for (const [code, final] of [[1000, true], [4001, true], [1012, false], [1008, false], [1013, false]] as const) {
    const { service, client, joined } = await entered();
    const states: string[] = [];
    client.onState((state) => states.push(state));
    for (const socket of service.server.clients) socket.close(code);
    if (final) {
      await until(`closed by ${code}`, () => client.state === 'closed');
      assert.deepEqual(states, ['closed']);
    } else {
      await until(`back after ${code}`, () => joined.length === 2);
      assert.deepEqual(states, ['waiting', 'connecting', 'open']);
    }
  }
});

test('closing while a token is on its way opens nothing', async () => {
  const service = await Scripted.start();
  let give = (_: string) => {};
  const client = closing(new RoomClient(service.url, { ...NODE, token: () => new Promise((resolve) => (give = resolve)) }));
  client.join('a');
  await until('it asks for a token', () => client.state === 'connecting');
  client.close();
  give('late');
  assert.equal(client.send('x'), false);
  const other = closing(new RoomClient(service.url, NODE));
  const room = other.join('b');
  await within(new Promise<void>((resolve) => room.onJoined(() => resolve())), 'another client is in');
  assert.deepEqual(service.paths, ['/ws/b']);
});

test('sixty rooms on one socket, over a broken connection', async () => {
  const service = await Service.start();
  const api = closing(new WebSocketManagerClient({ url: service.grpc }));
  const proxy = await Proxy.to(service.http);
  const client = closing(new RoomClient(proxy.url, NODE));
  const names = Array.from({ length: 60 }, (_, nth) => `room ${nth}`);
  const seen = new Map<string, unknown[]>();
  let [joined, recovered] = [0, 0];
  for (const name of names) {
    const room = client.join(name);
    seen.set(name, []);
    room.onMessage(({ data }) => seen.get(name)!.push(data));
    room.onJoined((again) => (again ? (recovered += 1) : (joined += 1)));
  }
  await until('it is in all', () => joined === 60);
  proxy.cut();
  // While it comes back, to the room that is in the way in, and to all.
  const broadcasts: unknown[] = [];
  client.everyone.onMessage(({ data }) => broadcasts.push(data));
  for (let nth = 0; nth < 50; nth += 1) await api.rooms.send(names[0]!, nth % 2 === 0 ? 'even' : 'odd');
  for (const name of names) await api.rooms.send(name, `hello, ${name}`);
  await until('all came', () => [...seen].every(([name, texts]) => texts.at(-1) === `hello, ${name}`));
  assert.deepEqual([...seen.values()].map((texts) => texts.length), names.map((name) => (name === names[0] ? 51 : 1)));
  await api.rooms.broadcast('to all');
  await until('it came', () => broadcasts.length === 1);
  await until('it came back to all', () => recovered === 60);
  assert.equal((await api.list()).total, 1n);
  // As many again while it is open are asked for as fast as the service takes them.
  for (const name of names) client.join(name).leave();
  await until('it has left all', async () => (await api.rooms.list()).rooms.length === 0);
  let again = 0;
  for (const name of names) client.join(name).onJoined(() => (again += 1));
  await until('it is in all again', () => again === 60);
  // A room too many is refused, and tried again later.
  const errors: RoomError[] = [];
  client.onError((error) => errors.push(error));
  for (let nth = 60; nth < 66; nth += 1) client.join(`room ${nth}`);
  await until('it is told', () => errors.length > 0);
  assert.equal(errors[0]!.code, 'RESOURCE_EXHAUSTED');
});

test('a room without history: its messages come, and what was missed is said to be', async () => {
  const service = await Service.start('--room-rule', 'ticks history=none');
  const api = closing(new WebSocketManagerClient({ url: service.grpc }));
  const client = closing(new RoomClient(service.http, NODE));
  const room = client.join('ticks');
  const seen: unknown[] = [];
  room.onMessage(({ data }) => seen.push(data));
  await until('it is in', () => room.at);
  for (const text of ['one', 'two', 'three']) await api.rooms.send('ticks', text);
  await until('all came', () => seen.length === 3);
  assert.deepEqual(seen, ['one', 'two', 'three']);
});

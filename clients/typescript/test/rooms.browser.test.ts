import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { WebSocketManagerClient } from '@virtufin/websocketmanager/node';
import type { Browser, Page } from 'playwright-core';
import { bundle, launch, NO_BROWSER, open, site } from './support/browser.js';
import { Proxy } from './support/proxy.js';
import { closing } from './support/contract.js';
import { Service } from './support/service.js';
import { atEnd, before, test as anyTest } from './support/test.js';
import { Upstream } from './support/upstream.js';
import { until } from './support/wait.js';

/** What a page tells of its rooms, by the room's name. */
const PAGE = `
import { RoomClient } from '@virtufin/websocketmanager/rooms';
window.told = { states: [], errors: [] };
window.open_ = (url, options) => {
  window.client = new RoomClient(url, { baseMs: 20, maxMs: 200, ...options });
  client.onState((state, closed) => told.states.push([state, closed?.code]));
  client.onError((error) => told.errors.push(error));
};
window.join = (name, room = client.join(name)) => {
  const tells = (told[name] = { messages: [], typed: [], gaps: [], joined: [] });
  room.onMessage(({ data }) => tells.messages.push(data instanceof Uint8Array ? [...data] : data));
  room.on('chat.message', (message, at) => tells.typed.push([message, at.room, at.type]));
  room.onGap((gap) => tells.gaps.push(gap));
  room.onJoined((recovered) => tells.joined.push(recovered ?? null));
};
`;

const test = (name: string, run: (t: TestContext) => Promise<void>) => anyTest(name, { skip: NO_BROWSER }, run);

let browser: Browser;
let place: string;
before(async () => {
  if (NO_BROWSER) return;
  browser = await launch();
  place = await site(await bundle(PAGE));
});

/** A page on a site of its own, with a client of the service. */
async function paged(url: string, options = {}): Promise<{ page: Page; uncaught: string[] }> {
  const opened = await open(browser, place);
  await opened.page.evaluate(`open_(${JSON.stringify(url)}, ${JSON.stringify(options)})`);
  return opened;
}

/** For a page, and a debug build, that share the machine with others. */
const PAGE_MS = 60_000;

const started = (...flags: string[]) => Service.start('--ws-origin', '*', ...flags);

/** Until what the page was told is so. */
async function told(page: Page, condition: string): Promise<void> {
  try {
    await page.waitForFunction(condition, undefined, { timeout: PAGE_MS });
  } catch {
    assert.fail(`${condition} never came: ${JSON.stringify(await page.evaluate('told'))}`);
  }
}

async function joined(page: Page, name: string): Promise<void> {
  await page.evaluate(`join(${JSON.stringify(name)})`);
  await told(page, `told[${JSON.stringify(name)}].joined.length > 0`);
}

test('several rooms on one socket, typed, binary, to all and left again', async () => {
  const service = await started();
  const api = closing(new WebSocketManagerClient({ url: service.grpc }));
  const { page, uncaught } = await paged(service.http);
  await page.evaluate("join('everyone', client.everyone)");
  for (const room of ['lobby', 'news 房']) await joined(page, room);
  await api.rooms.send('lobby', { text: 'hi' }, { messageId: 'chat.message' });
  await api.rooms.send('news 房', Uint8Array.of(0, 255));
  await api.rooms.send(['lobby', 'news 房'], 'to both, once');
  await api.rooms.broadcast('to all');
  await told(page, 'told.lobby.messages.length + told["news 房"].messages.length == 3 && told.everyone.messages.length');
  const seen = (await page.evaluate('told')) as any;
  assert.deepEqual(seen.lobby.typed, [[{ text: 'hi' }, 'lobby', 'chat.message']]);
  assert.deepEqual(seen['news 房'].messages[0], [0, 255]);
  assert.deepEqual(seen.everyone.messages, ['to all']);
  assert.equal((await api.rooms.list()).rooms.length, 2);
  await page.evaluate("client.join('lobby').leave()");
  await until('it has left', async () => (await api.rooms.list()).rooms.length === 1);
  assert.equal((await api.list({ direction: 2 })).total, 1n);
  await page.evaluate('client.close()');
  await until('it is gone', async () => (await api.list({ direction: 2 })).total === 0n);
  assert.deepEqual([seen.errors, uncaught], [[], []]);
});

test('a broken connection comes back with what was missed, none twice', async () => {
  const service = await started();
  const proxy = await Proxy.to(service.http);
  const api = closing(new WebSocketManagerClient({ url: service.grpc }));
  const { page } = await paged(proxy.url);
  for (const room of ['a', 'b']) await joined(page, room);
  let nth = 0;
  const send = async () => {
    nth += 1;
    await api.rooms.send(nth % 3 === 0 ? ['a', 'b'] : [nth % 2 === 0 ? 'a' : 'b'], `number ${nth}`);
  };
  for (let round = 0; round < 5; round += 1) {
    for (let count = 0; count < 7; count += 1) await send();
    // There is something to cut, and nothing of this round may be lost with it.
    await told(page, `told.a.joined.length == ${round + 1} && told.b.joined.length == ${round + 1}`);
    assert.ok(proxy.cut() > 0);
    for (let count = 0; count < 7; count += 1) await send();
  }
  await told(page, `new Set([...told.a.messages, ...told.b.messages]).size == ${nth}`);
  const seen = (await page.evaluate('told')) as any;
  assert.equal(seen.a.messages.length + seen.b.messages.length, nth, 'none came twice');
  for (const { messages, gaps, joined } of [seen.a, seen.b]) {
    assert.deepEqual([gaps, joined.slice(1)], [[], joined.slice(1).map(() => true)]);
    // In order in each room; those of both come by one of them.
    const own = messages.map((text: string) => Number(text.split(' ')[1])).filter((number: number) => number % 3 !== 0);
    assert.deepEqual(own, [...own].sort((one, other) => one - other));
  }
});

test('a restart of the service: the page comes back and is told what is gone', async () => {
  const service = await started();
  const api = closing(new WebSocketManagerClient({ url: service.grpc }));
  const { page } = await paged(service.http);
  await joined(page, 'lobby');
  await api.rooms.send('lobby', 'before');
  await told(page, 'told.lobby.messages.length == 1');
  await service.halt();
  await told(page, "told.states.some(([state]) => state == 'waiting')");
  await service.again();
  await told(page, 'told.lobby.joined.length == 2');
  await api.rooms.send('lobby', 'after');
  await told(page, 'told.lobby.messages.length == 2');
  const seen = (await page.evaluate('told')) as any;
  assert.deepEqual(seen.lobby.messages, ['before', 'after']);
  assert.deepEqual(seen.lobby.joined, [null, false]);
  const [gap] = seen.lobby.gaps;
  assert.deepEqual([seen.lobby.gaps.length, gap.room, gap.cause], [1, 'lobby', 'not_kept']);
  assert.ok(gap.to.epoch > gap.from.epoch && gap.from.offset === 1);
  assert.ok(seen.states.some(([state, code]: [string, number]) => state === 'waiting' && code === 1012));
});

test('ten thousand messages in a burst: all there, in order', async (t) => {
  const count = 12_000;
  // On a machine that does other things as well the page may be behind for a while.
  const service = await started('--reader-bytes-max', '64MiB');
  const upstream = await Upstream.start();
  const api = closing(new WebSocketManagerClient({ url: service.grpc }));
  const { page } = await paged(service.http);
  await joined(page, 'fast');
  await page.evaluate(`told.seen = 0; told.wrong = 0; client.join('fast').onMessage(({ data }) => {
    if (data.number != told.seen++) told.wrong += 1;
    told.first ??= performance.now();
    told.last = performance.now();
  })`);
  const { id } = await api.connect(upstream.url, { rooms: ['fast'] });
  await api.sendRaw(id, JSON.stringify({ burst: count }));
  await told(page, `told.seen >= ${count}`);
  const seen = (await page.evaluate('told')) as any;
  assert.deepEqual([seen.seen, seen.wrong, seen.fast.messages.length, seen.fast.gaps], [count, 0, count, []]);
  t.diagnostic(`${Math.round(count / ((seen.last - seen.first) / 1000))} messages a second`);
});

const SECRET = '0123456789abcdef0123456789abcdef';
function token(claims: object): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${part({ alg: 'HS256' })}.${part({ iss: 'tests', aud: 'rooms', exp: Math.ceil(Date.now() / 1000) + 600, ...claims })}`;
  return `${text}.${createHmac('sha256', SECRET).update(text).digest('base64url')}`;
}

test('a token lets in, where it says, and messages come to its user', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'wsm-ts-keys-'));
  atEnd(() => rm(folder, { recursive: true, force: true }));
  const keys = join(folder, 'keys.json');
  const key = { kty: 'oct', alg: 'HS256', k: Buffer.from(SECRET).toString('base64url') };
  await writeFile(keys, JSON.stringify({ keys: [key] }));
  const flags = ['--ws-auth', 'token', '--token-keys', keys, '--token-audience', 'rooms', '--token-issuer', 'tests'];
  const asking = await started(...flags);
  const api = closing(new WebSocketManagerClient({ url: asking.grpc }));
  const { page } = await paged(asking.http, { token: token({ sub: 'ada', rooms: ['news'] }) });
  await page.evaluate("join('user', client.user)");
  await joined(page, 'news');
  await page.evaluate("join('secret')");
  await told(page, 'told.errors.length == 1');
  const [refused] = (await page.evaluate('told.errors')) as any;
  assert.deepEqual([refused.room, refused.code], ['secret', 'PERMISSION_DENIED']);
  await api.rooms.sendToUser('ada', 'just you');
  await told(page, "told.user.messages[0] == 'just you'");
  await api.rooms.kickUser('ada', { code: 4003 });
  await told(page, "client.state == 'closed'");
  assert.deepEqual(((await page.evaluate('told.states')) as any).at(-1), ['closed', 4003]);
});

test('a handler that throws is reported, and the others go on', async () => {
  const service = await started();
  const api = closing(new WebSocketManagerClient({ url: service.grpc }));
  const { page, uncaught } = await paged(service.http);
  await page.evaluate("client.join('lobby').onMessage(() => { throw new RangeError('of the page') }); join('lobby')");
  await told(page, 'told.lobby.joined.length == 1');
  for (const text of ['one', 'two']) await api.rooms.send('lobby', text);
  await told(page, 'told.lobby.messages.length == 2');
  assert.deepEqual(uncaught, ['of the page', 'of the page']);
});

import assert from 'node:assert/strict';
import { Code, ConnectionStatus, Direction } from '@virtufin/websocketmanager/node';
import { fails, fresh, scene } from '../support/contract.js';
import { deadPort } from '../support/ports.js';
import { take, within } from '../support/wait.js';

const { each } = scene();

each(1, 'connect', async ({ client, upstream }) => {
  const made = await client.connect(upstream.url);
  assert.ok(made.id);
  assert.equal(made.id, made.connectionId);
  assert.equal(made.status, ConnectionStatus.CONNECTED);
  assert.ok(made.created);
});

each(2, 'connect again', async ({ client, upstream }) => {
  const connectionId = fresh('again');
  const first = await client.connect(upstream.url, { connectionId });
  const second = await client.connect({ url: upstream.url, connectionId });
  assert.deepEqual([first.id, first.created], [connectionId, true]);
  assert.deepEqual([second.id, second.created], [connectionId, false]);
});

each(3, 'id in use', async ({ client, upstream }) => {
  const connectionId = fresh('used');
  await client.connect(upstream.url, { connectionId });
  const other = client.connect(upstream.url, { connectionId, autoReconnect: true });
  await fails(other, { code: Code.AlreadyExists, reason: 'id_in_use', certainty: 'not_sent' });
});

each(4, 'every option', async ({ client, upstream }) => {
  const made = await client.connect({
    url: upstream.url,
    autoReconnect: true,
    tags: { venue: 'demo' },
    headers: { 'X-Api-Key': 'abc' },
    subprotocols: ['echo.v1'],
    connectTimeoutMs: 5000,
    reconnect: { baseMs: 500, maxMs: 10_000 },
    limits: { perSecond: 100, burst: 200, maxInFlight: 512, maxMessageBytes: 65_536 },
    idle: { pongMs: 45_000, dataMs: 600_000 },
    heartbeat: { wsPing: true, intervalMs: 20_000 },
    correlation: { rule: { case: 'json', value: { requestPath: '/req_id' } } },
    maxMessageBytes: 262_144,
  });
  assert.equal(made.subprotocol, 'echo.v1');
  const { tags, autoReconnect } = await client.get(made.id);
  assert.deepEqual([tags, autoReconnect], [{ venue: 'demo' }, true]);
});

each(5, 'bad URL', async ({ client }) => {
  const expected = { code: Code.InvalidArgument, reason: 'invalid', field: 'url', certainty: 'not_sent' };
  await fails(client.connect('http://example.com/'), expected);
});

each(6, 'empty URL', async ({ client }) => {
  await fails(client.connect(''), { code: Code.InvalidArgument, field: 'url' });
});

each(7, 'egress', async ({ client }) => {
  const expected = { code: Code.PermissionDenied, reason: 'egress_denied' };
  await fails(client.connect('ws://169.254.169.254/'), expected);
});

each(8, 'failed dial', async ({ client }) => {
  const tags = { dial: fresh('dial') };
  const call = client.connect(`ws://127.0.0.1:${await deadPort()}/`, { tags });
  await fails(call, { code: Code.Unavailable, reason: 'dial_failed', certainty: 'not_sent' });
  const { connections } = await client.list({ filters: [{ key: 'dial', value: tags.dial }] });
  assert.deepEqual(connections, []);
});

each(9, 'bad header', async ({ client, upstream }) => {
  const call = client.connect(upstream.url, { headers: { Host: 'elsewhere' } });
  await fails(call, { code: Code.InvalidArgument, says: /headers/ });
});

each(10, 'publish from the first message', async ({ client, upstream }) => {
  const topic = fresh('first');
  const { id } = await client.connect(upstream.url, { publish: { topic } });
  await client.sendRaw(id, 'the first of all');
  const [message] = await take(client.receive({ topic }, { fromStart: true }), 1);
  assert.deepEqual(message!.body, { case: 'text', value: 'the first of all' });
  assert.equal(message!.id, id);
});

each(11, 'unknown profile', async ({ client }) => {
  const call = client.connect({ profile: 'no-such-profile' });
  const error = await call.then(() => undefined, (thrown: unknown) => thrown);
  const { code, message } = error as { code: Code; message: string };
  assert.ok([Code.InvalidArgument, Code.NotFound, Code.Unimplemented].includes(code), message);
  assert.match(message, /profile/);
});

each(12, 'list', async ({ client, upstream }) => {
  const value = fresh('list');
  const tags = { batch: value };
  const made = await Promise.all([1, 2].map(() => client.connect(upstream.url, { tags })));
  const { connections, total } = await client.list({ filters: [{ key: 'batch', value }] });
  assert.equal(total, 2n);
  assert.deepEqual(connections.map(({ id }) => id).sort(), made.map(({ id }) => id).sort());
  for (const { url, status, direction, createdAt } of connections) {
    assert.deepEqual([url, status, direction], [upstream.url, ConnectionStatus.CONNECTED, Direction.OUT]);
    assert.ok(createdAt!.seconds > 0n);
  }
});

each(13, 'filters are ANDed', async ({ client, upstream }) => {
  const batch = fresh('and');
  const [, second] = await Promise.all(['fx', 'rates'].map((desk) => client.connect(upstream.url, { tags: { batch, desk } })));
  const filters = [{ key: 'batch', value: batch }, { key: 'desk', value: 'rates' }];
  const { connections } = await client.list({ filters });
  assert.deepEqual(connections.map(({ id }) => id), [second!.id]);
});

each(14, 'pages', async ({ client, upstream }) => {
  const value = fresh('pages');
  const made = await Promise.all([1, 2, 3].map(() => client.connect(upstream.url, { tags: { batch: value } })));
  const request = { filters: [{ key: 'batch', value }], pageSize: 1 };
  assert.equal((await client.list(request)).connections.length, 1);
  const seen: string[] = [];
  for await (const { id } of client.connections(request)) seen.push(id);
  assert.deepEqual(seen.sort(), made.map(({ id }) => id).sort());
});

each(15, 'bad page token', async ({ client }) => {
  await fails(client.list({ pageToken: 'zz' }), { code: Code.InvalidArgument, field: 'page_token' });
});

each(16, 'list by status and direction', async ({ client, upstream }) => {
  const value = fresh('state');
  await Promise.all([1, 2].map(() => client.connect(upstream.url, { tags: { batch: value } })));
  const filters = [{ key: 'batch', value }];
  const connected = await client.list({ filters, status: [ConnectionStatus.CONNECTED] });
  assert.equal(connected.connections.length, 2);
  assert.deepEqual((await client.list({ filters, direction: Direction.IN })).connections, []);
});

each(17, 'get', async ({ client, upstream }) => {
  const { id } = await client.connect(upstream.url, { tags: { a: 'b' } });
  await client.send(id, 'counted');
  const { counters, ...connection } = await client.get(id);
  assert.deepEqual([connection.id, connection.url, connection.tags], [id, upstream.url, { a: 'b' }]);
  assert.equal(connection.status, ConnectionStatus.CONNECTED);
  assert.deepEqual([counters!.messagesIn, counters!.messagesOut], [1n, 1n]);
});

each(18, 'get of nobody', async ({ client }) => {
  await fails(client.get('nobody'), { code: Code.NotFound, reason: 'not_found' });
});

each(19, 'update', async ({ client, upstream }) => {
  const { id } = await client.connect(upstream.url);
  const changed = await client.update(id, { limits: { perSecond: 50 }, headers: { 'X-Api-Key': 'def' } });
  assert.deepEqual([changed.appliedNow, changed.appliedAtReconnect], [['limits'], ['headers']]);
});

each(20, 'update of what is fixed', async ({ client, upstream }) => {
  const { id } = await client.connect(upstream.url);
  const call = client.update(id, { url: 'ws://127.0.0.1:1/' }, { paths: ['url'] });
  await fails(call, { code: Code.InvalidArgument, says: /url/ });
});

each(21, 'disconnect', async ({ client, upstream }) => {
  const { id } = await client.connect(upstream.url);
  await client.disconnect(id);
  await fails(client.get(id), { code: Code.NotFound });
  await fails(client.disconnect(id), { code: Code.NotFound });
});

each(22, 'close code', async ({ client, upstream }) => {
  const { id } = await client.connect(upstream.url);
  await fails(client.disconnect(id, { code: 99 }), { code: Code.InvalidArgument, field: 'code' });
  const closed = new Promise((resolve) => {
    for (const socket of upstream.server.clients) socket.once('close', (code) => code === 3001 && resolve(code));
  });
  await client.disconnect({ id, code: 3001, reason: 'enough' });
  assert.equal(await within(closed, 'the upstream sees it'), 3001);
});

each(23, 'set and get a tag', async ({ client, upstream }) => {
  const { id } = await client.connect(upstream.url);
  await client.setTag(id, 'owner', 'Zoë 🦊');
  assert.equal(await client.getTag(id, 'owner'), 'Zoë 🦊');
});

each(24, 'missing tag', async ({ client, upstream }) => {
  const { id } = await client.connect(upstream.url);
  assert.equal(await client.getTag(id, 'none'), undefined);
});

each(25, 'set tags', async ({ client, upstream }) => {
  const { id } = await client.connect(upstream.url);
  await client.setTags(id, { region: 'eu', desk: 'fx' });
  await client.setTags(id, { owner: 'me', desk: '' });
  assert.deepEqual(await client.getTags(id), { region: 'eu', owner: 'me' });
});

each(26, 'the 51st tag', async ({ client, upstream }) => {
  const { id } = await client.connect(upstream.url);
  const tags = Object.fromEntries(Array.from({ length: 51 }, (_, nth) => [`k${nth}`, 'v']));
  await fails(client.setTags(id, tags), { code: Code.InvalidArgument, says: /tags/ });
});

each(27, 'too long a value', async ({ client, upstream }) => {
  const { id } = await client.connect(upstream.url);
  const error = await fails(client.setTag(id, 'k', 'v'.repeat(1025)), { code: Code.InvalidArgument });
  assert.ok(error.field, error.message);
});

each(28, 'tags of nobody', async ({ client }) => {
  const expected = { code: Code.NotFound };
  await fails(client.setTag('nobody', 'k', 'v'), expected);
  await fails(client.getTag('nobody', 'k'), expected);
  await fails(client.setTags('nobody', { k: 'v' }), expected);
  await fails(client.getTags('nobody'), expected);
});

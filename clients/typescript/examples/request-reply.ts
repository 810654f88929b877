// Requests and replies over a WebSocket: rules that tell replies, many at once, and what an error says.
//
//   npx tsx examples/request-reply.ts [http://127.0.0.1:5002] [ws://your.upstream/]
import { Code, payloadOf, WebSocketManagerClient, WebSocketManagerError } from '@virtufin/websocketmanager/node';

const [url = 'http://127.0.0.1:5002', upstream] = process.argv.slice(2);
const client = new WebSocketManagerClient({ url });
const server = upstream ?? (await client.get('demo-echo')).url;

// Replies are told by the value at /req_id, which is put in where a request has none.
const correlation = { rule: { case: 'json' as const, value: { requestPath: '/req_id', inject: true } } };
const { id } = await client.connect({ url: server, correlation, limits: { maxInFlight: 256 } });
const reply = JSON.parse((await client.send(id, '{"op": "ping"}')).response);
console.log(`reply to ${reply.op}, told by ${typeof reply.req_id}`);

// Bytes, with 16 more before them that the peer sends back.
const prefix = { rule: { case: 'prefix' as const, value: {} } };
const bytes = payloadOf(await client.send({ id, message: Uint8Array.of(1, 2, 3), correlation: prefix }));
console.log(`bytes: ${bytes}`);

// Many on one call: each has its own reply, or its own error.
const stream = client.sendStream();
const replies = await Promise.all(Array.from({ length: 100 }, (_, nth) => stream.send(id, JSON.stringify({ nth }))));
console.log(`replies on a stream: ${new Set(replies.map(({ response }) => response)).size}`);
await stream.close();

await client.disconnect(id);
try {
  await client.send(id, '{"op": "late"}');
} catch (error) {
  if (!(error instanceof WebSocketManagerError)) throw error;
  // Repeating what was not sent is safe; what may have been sent is for the program to judge.
  console.log(`${Code[error.code]}, ${error.reason}: ${error.certainty}`);
}
client.close();

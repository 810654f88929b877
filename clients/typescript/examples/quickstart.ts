// The first minute: a connection, a message, its reply.
//
//   websocket-manager demo          # in another terminal
//   npx tsx examples/quickstart.ts [http://127.0.0.1:5002] [ws://your.upstream/]
import { ConnectionStatus, WebSocketManagerClient } from '@virtufin/websocketmanager';

const [url = 'http://127.0.0.1:5002', upstream] = process.argv.slice(2);
const client = new WebSocketManagerClient({ url });
// Any WebSocket server; without one, the demo's, which sends back what it gets.
const server = upstream ?? (await client.get('demo-echo')).url;

const { id, status } = await client.connect(server, { tags: { example: 'quickstart' } });
console.log(`connected: ${ConnectionStatus[status]}`);
const { response } = await client.send(id, 'hello');
console.log(`reply: ${response}`);
const { connections } = await client.list({ filters: [{ key: 'example', value: 'quickstart' }] });
console.log(`listed: ${connections.some((connection) => connection.id === id)}`);
await client.disconnect(id);
client.close();

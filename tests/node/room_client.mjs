// A client of rooms by the library ws: node room_client.mjs URL [SUBPROTOCOL...]
//
// Says what happens as lines of JSON on standard output: {open}, {text}, {base64}, {ping}, {pong},
// {close}, {refused}. Does what the lines of JSON on standard input say: {text}, {base64}, {parts} (one
// text in several frames), {ping}, {close}.
import { createInterface } from 'node:readline';
import WebSocket from 'ws';

const [url, ...subprotocols] = process.argv.slice(2);
const tell = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);

let offered = '';
const socket = new WebSocket(url, subprotocols, {
  finishRequest: (request) => {
    offered = request.getHeader('sec-websocket-extensions') ?? '';
    request.end();
  },
});

socket.on('open', () => tell({ open: { protocol: socket.protocol, extensions: socket.extensions, offered } }));
socket.on('message', (data, isBinary) =>
  tell(isBinary ? { base64: data.toString('base64') } : { text: data.toString() }),
);
socket.on('ping', () => tell({ ping: true }));
socket.on('pong', (data) => tell({ pong: data.toString() }));
socket.on('unexpected-response', (_, response) => tell({ refused: response.statusCode }));
socket.on('error', (error) => tell({ error: error.message }));
socket.on('close', (code, reason) => {
  tell({ close: { code, reason: reason.toString() } });
  process.stdin.destroy();
});

createInterface({ input: process.stdin }).on('line', (line) => {
  const order = JSON.parse(line);
  if ('text' in order) socket.send(order.text);
  else if ('base64' in order) socket.send(Buffer.from(order.base64, 'base64'));
  else if ('parts' in order) sendInParts(order.parts);
  else if ('ping' in order) socket.ping(order.ping);
  else socket.close(order.close);
});

function sendInParts(parts) {
  parts.forEach((part, nth) => socket.send(part, { fin: nth + 1 === parts.length }));
}

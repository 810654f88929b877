// A broadcast as the documentation of Node's `ws` writes it. Prints its port, and serves until it is ended.
//
//   /members   gets every message       /publish   what it sends goes to all members
//   /sink      what it sends is counted and forgotten
import { createRequire } from 'node:module';

// The package of the tests: nothing is installed twice.
const require = createRequire(new URL('../../tests/node/package.json', import.meta.url));
const { WebSocket, WebSocketServer } = require('ws');

const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: false, backlog: 4096 });
const members = new Set();
let received = 0;

server.on('listening', () => console.log(`port ${server.address().port}`));
server.on('connection', (socket, request) => {
  socket.on('error', () => socket.terminate());
  if (request.url === '/publish') {
    socket.on('message', (data, isBinary) => {
      for (const member of members) {
        if (member.readyState === WebSocket.OPEN) member.send(data, { binary: isBinary });
      }
    });
  } else if (request.url === '/sink') {
    socket.on('message', () => { received += 1; });
  } else {
    members.add(socket);
    socket.on('close', () => members.delete(socket));
    socket.send('joined');
  }
});

// A WebSocket server of another make: sends back what comes, as text or as bytes.
// Prints its port once it listens. A text {"burst": N} is answered with N numbered messages.
import { createRequire } from 'node:module';

// Installed beside the other JavaScript of the tests.
const { WebSocketServer } = createRequire(new URL('../node/', import.meta.url))('ws');

const server = new WebSocketServer({
  host: '127.0.0.1',
  port: 0,
  handleProtocols: (offered) => (offered.has('echo.v1') ? 'echo.v1' : false),
});

server.on('listening', () => console.log(server.address().port));
server.on('connection', (socket) => {
  socket.on('message', (data, isBinary) => {
    const burst = isBinary ? undefined : burstOf(data.toString());
    if (burst === undefined) {
      socket.send(data, { binary: isBinary });
      return;
    }
    for (let number = 0; number < burst; number += 1) socket.send(JSON.stringify({ number }));
  });
});

function burstOf(text) {
  try {
    return JSON.parse(text)?.burst;
  } catch {
    return undefined;
  }
}

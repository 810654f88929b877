import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { WebSocketServer, type WebSocket } from 'ws';
import { atEnd } from './test.js';
import { within } from './wait.js';

/** A server on the other side: sends back each message, and does what some texts ask it to. */
export class Upstream {
  private constructor(
    readonly server: WebSocketServer,
    readonly url: string,
  ) {}

  static async start(): Promise<Upstream> {
    const handleProtocols = (offered: Set<string>) => (offered.has('echo.v1') ? 'echo.v1' : false);
    const server = new WebSocketServer({ host: '127.0.0.1', port: 0, handleProtocols, maxPayload: 64 << 20 });
    server.on('connection', (socket) => {
      socket.on('message', (data, isBinary) => answer(socket, data as Buffer, isBinary));
      socket.on('error', () => socket.terminate());
    });
    await within(once(server, 'listening'), 'the upstream listens');
    const upstream = new Upstream(server, `ws://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    atEnd(() => upstream.#stop());
    return upstream;
  }

  #stop(): Promise<void> {
    return ended(this.server);
  }
}

/** Ends a server, and who is connected to it. */
export async function ended(server: WebSocketServer): Promise<void> {
  const closed = once(server, 'close');
  server.close();
  for (const client of server.clients) client.terminate();
  await within(closed, 'the server is closed');
}

function answer(socket: WebSocket, data: Buffer, isBinary: boolean): void {
  const asked = isBinary ? {} : wish(data.toString());
  if (typeof asked.burst === 'number') {
    for (let number = 0; number < asked.burst; number += 1) socket.send(JSON.stringify({ number }));
  } else if (typeof asked.close === 'number') {
    socket.close(asked.close);
  } else if (asked.drop) {
    socket.terminate();
  } else if (asked.garbage) {
    // Reserved bits, and nobody negotiated an extension.
    (socket as unknown as { _socket: { write(bytes: Buffer): void } })._socket.write(Buffer.from([0xf1, 0x00]));
  } else {
    socket.send(data, { binary: isBinary });
  }
}

function wish(text: string): { burst?: unknown; close?: unknown; drop?: unknown; garbage?: unknown } {
  try {
    return Object(JSON.parse(text)) as object;
  } catch {
    return {};
  }
}

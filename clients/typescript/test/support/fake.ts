import { createServer as createHttp1, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createHttp2, type Http2Server, type ServerHttp2Session } from 'node:http2';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import type { ConnectRouter } from '@connectrpc/connect';
import { connectNodeAdapter } from '@connectrpc/connect-node';
import { atEnd } from './test.js';
import { within } from './wait.js';

/** A server that plays a role which the service does not. */
export interface Fake {
  url: string;
}

export async function fakeServer(routes: (router: ConnectRouter) => void, http2 = true): Promise<Fake> {
  const adapter = connectNodeAdapter({ routes, grpc: true, grpcWeb: true, connect: true });
  return listening(http2 ? createHttp2(adapter) : createHttp1(adapter));
}

/** A plain HTTP/1.1 server, which is no service at all. */
export async function webServer(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<Fake> {
  return listening(createHttp1(answer));
}

async function listening(server: Server | Http2Server): Promise<Fake> {
  const sessions = new Set<ServerHttp2Session>();
  server.on('session', (session: ServerHttp2Session) => {
    sessions.add(session);
    session.on('close', () => sessions.delete(session));
  });
  server.listen(0, '127.0.0.1');
  await within(once(server, 'listening'), 'a server listens');
  atEnd(async () => {
    const closed = once(server, 'close');
    server.close();
    for (const session of sessions) session.destroy();
    if ('closeAllConnections' in server) server.closeAllConnections();
    await within(closed, 'a server is closed');
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

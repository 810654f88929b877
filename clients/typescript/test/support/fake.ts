import { createServer as createHttp1, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createHttp2, type ServerHttp2Session } from 'node:http2';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import type { ConnectRouter } from '@connectrpc/connect';
import { connectNodeAdapter } from '@connectrpc/connect-node';

/** A server that plays a role which the service does not. */
export class Fake {
  private constructor(
    readonly url: string,
    readonly stop: () => Promise<void>,
  ) {}

  static async start(routes: (router: ConnectRouter) => void, http2 = true): Promise<Fake> {
    const adapter = connectNodeAdapter({ routes, grpc: true, grpcWeb: true, connect: true });
    const server = http2 ? createHttp2(adapter) : createHttp1(adapter);
    const sessions = new Set<ServerHttp2Session>();
    server.on('session', (session: ServerHttp2Session) => sessions.add(session));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    return new Fake(`http://127.0.0.1:${port}`, async () => {
      const closed = once(server, 'close');
      server.close();
      for (const session of sessions) session.destroy();
      if ('closeAllConnections' in server) server.closeAllConnections();
      await closed;
    });
  }
}

/** A plain HTTP/1.1 server, which is no service at all. */
export async function webServer(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<Fake> {
  const server = createHttp1(answer).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const stop = async () => {
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await closed;
  };
  return { url: `http://127.0.0.1:${port}`, stop };
}

/** A port where nobody listens: it was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = await webServer(() => {});
  await server.stop();
  return Number(new URL(server.url).port);
}

import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { atEnd } from './test.js';
import { within } from './wait.js';

/** Stands between a client and the service, and can break off what goes through it. */
export class Proxy {
  readonly #sockets = new Set<Socket>();

  private constructor(readonly url: string) {}

  static async to(target: string): Promise<Proxy> {
    const { hostname, port } = new URL(target);
    const server = createServer((client) => {
      const service = connect(Number(port), hostname);
      for (const [one, other] of [[client, service], [service, client]] as const) {
        proxy.#sockets.add(one);
        one.pipe(other);
        one.on('error', () => other.destroy());
        one.on('close', () => {
          proxy.#sockets.delete(one);
          other.destroy();
        });
      }
    }).listen(0, '127.0.0.1');
    await within(once(server, 'listening'), 'the proxy listens');
    const proxy = new Proxy(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    atEnd(async () => {
      const closed = once(server, 'close');
      server.close();
      proxy.cut();
      await within(closed, 'the proxy is closed');
    });
    return proxy;
  }

  /** As a cable that is pulled: without a word of either side. */
  cut(): number {
    const open = this.#sockets.size / 2;
    for (const socket of this.#sockets) socket.destroy();
    return open;
  }
}

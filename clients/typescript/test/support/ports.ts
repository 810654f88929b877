import { connect, createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { atEnd } from './test.js';
import { within } from './wait.js';

/**
 * A port that can be listened at, left, and listened at again: not one of those that the system hands out, of
 * which any connection of any other program may take one while nobody listens there.
 */
export function quietPort(): number {
  const [first, last] = [10_000, handedOutFrom()];
  return first + Math.floor(Math.random() * (last - first));
}

function handedOutFrom(): number {
  try {
    const from = parseInt(readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8'));
    return from > 12_000 ? from : 32_768;
  } catch {
    return 32_768;
  }
}

/** A port where nobody listens, and nobody will before the test is over: a connection has it. */
export async function deadPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await within(once(server, 'listening'), 'a server listens');
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const accepted = once(server, 'connection');
  await within(once(client, 'connect'), 'a connection');
  const [socket] = await within(accepted, 'it is accepted');
  atEnd(() => {
    client.destroy();
    socket.destroy();
    server.close();
  });
  return client.localPort!;
}

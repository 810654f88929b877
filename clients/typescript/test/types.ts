/**
 * What the compiler checks: code that was written for the earlier client, and the types of messages in rooms.
 * Nothing here is run.
 */
import type { WebSocketManagerClient } from '@virtufin/websocketmanager';
import type { WebSocketManagerClient as ForBrowsers } from '@virtufin/websocketmanager/browser';
import type { RoomClient } from '@virtufin/websocketmanager/rooms';

export async function earlier(client: WebSocketManagerClient | ForBrowsers): Promise<void> {
  const { id, status, connectionId } = await client.connect('wss://example.com/', true);
  const bytes = new Uint8Array();
  const { response } = await client.send(id, bytes, 'application/json', 5000);
  await client.sendRaw(connectionId, bytes, 'text/plain');
  await client.startPublish(id, 'topic');
  await client.stopPublish(id);
  await client.setTag(id, 'key', `${status} ${response}`);
  const tag: string | undefined = await client.getTag(id, 'key');
  await client.setTags(id, { key: tag ?? '' });
  const tags: Record<string, string> = await client.getTags(id);
  const { connections } = await client.list();
  await client.disconnect(connections[0]?.id ?? tags['id'] ?? id);
}

export async function objects(client: WebSocketManagerClient): Promise<void> {
  const { id } = await client.connect({ url: 'wss://example.com/', autoReconnect: true });
  await client.send({ id, message: 'text', timeoutMs: 100 });
  await client.sendRaw({ id, message: new Uint8Array() });
  await client.startPublish({ id, topic: 'topic' });
  await client.disconnect({ id });
}

interface Messages {
  'chat.message': { text: string };
}

export function typed(client: RoomClient<Messages>): void {
  client.join('lobby').on('chat.message', ({ text }) => text.length);
  // @ts-expect-error: there is no such type
  client.join('lobby').on('chat.massage', () => {});
  // @ts-expect-error: it has no such member
  client.join('lobby').on('chat.message', ({ test }) => test);
}

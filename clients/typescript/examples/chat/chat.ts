// Room chat in a page. What is said goes out by REST, and comes to everybody in the room by the WebSocket.
//
//   npx esbuild examples/chat/chat.ts --bundle --format=esm --outfile=examples/chat/chat.js
//   websocket-manager demo --ws-origin http://localhost:8000 --cors-origin http://localhost:8000
//   python3 -m http.server 8000 --directory examples/chat
//   http://localhost:8000/?service=http://127.0.0.1:5001&room=lobby
import { RoomClient, type RoomMessage } from '@virtufin/websocketmanager/rooms';

/** The types of messages, by their MESSAGE_ID. `websocket-manager types` writes these from JSON Schemas. */
interface Messages {
  'chat.message': { name: string; text: string };
}

const asked = new URLSearchParams(location.search);
const service = asked.get('service') ?? location.origin;
const name = asked.get('room') ?? 'lobby';
const element = <E extends HTMLElement>(id: string) => document.getElementById(id) as E;

const client = new RoomClient<Messages>(service);
client.onState((state) => (element('state').textContent = state));
client.onError(({ code, message }) => show(`${code}: ${message}`, 'gap'));

const room = client.join(name);
element('room').textContent = name;
room.on('chat.message', ({ name, text }, at: RoomMessage) => show(`${name}: ${text}`).setAttribute('data-offset', String(at.offset)));
room.onGap(({ cause }) => show(`some messages are missing (${cause})`, 'gap'));
room.onJoined((recovered) => recovered && show('back again, nothing was missed', 'gap'));

element<HTMLFormElement>('form').onsubmit = async (event) => {
  event.preventDefault();
  const text = element<HTMLInputElement>('text');
  const message = JSON.stringify({ name: element<HTMLInputElement>('name').value, text: text.value });
  const answer = await fetch(`${service}/v1/rooms/${encodeURIComponent(name)}/messages`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ messageId: 'chat.message', message }),
  });
  if (answer.ok) text.value = '';
  else show(`not sent: ${await answer.text()}`, 'gap');
};

function show(text: string, kind = 'message'): HTMLElement {
  const line = document.createElement('li');
  line.className = kind;
  line.textContent = text;
  element('messages').append(line);
  return line;
}

// A market feed to a topic: the service keeps the connection, numbers what comes and publishes it; this
// program reads the topic, as any subscriber would, and may come and go.
//
//   npx tsx examples/market-feed.ts [http://127.0.0.1:5002] [wss://venue.example/feed]
import { PublishFormat, PublishOverflow, WebSocketManagerClient } from '@virtufin/websocketmanager';

const [url = 'http://127.0.0.1:5002', venue] = process.argv.slice(2);
const TICKS = 5;
const client = new WebSocketManagerClient({ url });

// With an id of its own the Connect can be repeated: a second start of this program finds the connection.
const { id, created } = await client.connect({
  url: venue ?? (await client.get('demo-ticker')).url,
  connectionId: 'example-feed',
  autoReconnect: true,
  reconnect: { baseMs: 500, maxMs: 10_000 },
  idle: { dataMs: 60_000 },
  publish: {
    topic: 'example.ticks',
    format: PublishFormat.ENVELOPE,
    overflow: PublishOverflow.SPILL,
  },
});
console.log(created ? 'the feed begins' : 'the feed was there');

let ticks = 0;
for await (const { body, seq } of client.receive({ topic: 'example.ticks' }, { fromStart: true })) {
  if (body.case === 'text') {
    console.log(`tick ${seq}: ${body.value}`);
    ticks += 1;
  } else if (body.case === 'gap') {
    console.log(`something is missing: ${body.value.cause}`);
  }
  if (ticks === TICKS) break;
}
await client.disconnect(id);
client.close();

// Following with resume: what was read last is kept in a file, so that the next start goes on after it, over
// restarts of the service as well as of this program.
//
//   npx tsx examples/follow.ts [http://127.0.0.1:5002] [TOPIC] [FILE] [COUNT]
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { WebSocketManagerClient } from '@virtufin/websocketmanager';

const [url = 'http://127.0.0.1:5002', topic = 'demo.ticks', file = 'cursor.txt', count = '10'] = process.argv.slice(2);
const client = new WebSocketManagerClient({ url });
const cursor = existsSync(file) ? readFileSync(file, 'utf8') : '';
console.log(cursor ? 'going on' : 'from the start');

let left = Number(count);
for await (const item of client.receive({ topic }, cursor ? { cursor } : { fromStart: true })) {
  switch (item.body.case) {
    case 'text':
    case 'data':
      console.log(`${item.id} ${item.seq}: ${item.body.value}`);
      left -= 1;
      break;
    case 'gap':
      // What was between is lost: whatever was built from the messages is to be fetched anew.
      console.log(`a gap: ${item.body.value.cause}`);
      break;
    case 'end':
      console.log(`${item.id} has ended`);
      break;
  }
  // After the work is done: a crash before it shows the message again, and loses none.
  writeFileSync(file, item.cursor);
  if (left === 0) break;
}
client.close();

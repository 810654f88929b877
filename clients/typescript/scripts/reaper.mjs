// Ends what the test command left running when it was killed itself: its standard input closes then, however that
// came about. It is told of process groups that begin (`+123`) and that are over (`-123`).
import { createInterface } from 'node:readline';

const groups = new Set();
createInterface({ input: process.stdin })
  .on('line', (line) => (line[0] === '+' ? groups.add(line.slice(1)) : groups.delete(line.slice(1))))
  .on('close', () => {
    for (const group of groups) {
      try {
        process.kill(-Number(group), 'SIGKILL');
      } catch {
        // It is over.
      }
    }
  });

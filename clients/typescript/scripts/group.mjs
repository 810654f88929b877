// Commands as process groups of their own, each with a time limit, of which nothing is left when they are over:
// what a test leaves running would otherwise keep whoever waits for it waiting for ever.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** From its end by request to that by force. */
const GRACE_MS = 3000;

let reaper;
/** The groups that run, and the way to end each. */
const running = new Map();

function tell(word) {
  if (reaper === undefined) {
    const script = fileURLToPath(new URL('reaper.mjs', import.meta.url));
    // In a session of its own: what is sent to the group of this command does not reach it.
    reaper = spawn(process.execPath, [script], { detached: true, stdio: ['pipe', 'ignore', 'ignore'] });
    reaper.unref();
    reaper.stdin.unref();
    reaper.stdin.on('error', () => {});
    reaper.on('error', () => {});
  }
  reaper.stdin.write(`${word}\n`);
}

function kill(group, signal) {
  try {
    process.kill(-group, signal);
  } catch {
    // None of it is left.
  }
}

/**
 * Runs a command to its end, or to the end of its time: its exit code, what it printed, and whether it was `late`.
 * `onOutput` gets what it prints as it comes.
 */
export async function run(command, parameters, { cwd, env = {}, limitMs, onOutput = () => {} }) {
  const child = spawn(command, parameters, {
    cwd,
    env: { ...process.env, ...env },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const failed = once(child, 'error').then(([error]) => Promise.reject(error));
  await Promise.race([once(child, 'spawn'), failed]);
  failed.catch(() => {});
  const group = child.pid;
  tell(`+${group}`);
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', onOutput);
  const closed = once(child, 'close');
  let late = false;
  const end = () => {
    late = true;
    kill(group, 'SIGTERM');
    setTimeout(() => kill(group, 'SIGKILL'), GRACE_MS).unref();
  };
  running.set(group, end);
  const timer = setTimeout(end, limitMs);
  const [code, signal] = await once(child, 'exit');
  clearTimeout(timer);
  running.delete(group);
  // Whatever it started and left; nobody else holds its output then.
  kill(group, 'SIGKILL');
  const patience = setTimeout(() => child.stdout.destroy() && child.stderr.destroy(), GRACE_MS);
  await closed;
  clearTimeout(patience);
  tell(`-${group}`);
  return { code: code ?? 1, signal, late };
}

/** Ends all that runs. */
export function endAll() {
  for (const end of running.values()) end();
}

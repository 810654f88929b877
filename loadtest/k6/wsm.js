// What the scripts share: where the service is, how long and how much, and a client for its gRPC.
import exec from 'k6/execution';
import grpc from 'k6/net/grpc';

export const GRPC = __ENV.WSM_GRPC || '127.0.0.1:5002';
export const HTTP = __ENV.WSM_HTTP || 'http://127.0.0.1:5001';
// A WebSocket server that sends back what comes.
export const UPSTREAM = __ENV.WSM_UPSTREAM || '';
export const SECONDS = number('SECONDS', 30);
const TLS = __ENV.WSM_TLS === '1';
const TOKEN = __ENV.WSM_TOKEN || '';

// A setting of the environment that is a number above zero.
export function number(name, fallback) {
  const given = __ENV[name];
  if (given === undefined || given === '') return fallback;
  const value = Number(given);
  if (!(value > 0)) throw new Error(`${name} must be a number above 0, not '${given}'`);
  return value;
}

export function wholeNumber(name, fallback) {
  const value = number(name, fallback);
  if (!Number.isInteger(value)) throw new Error(`${name} must be a whole number, not '${value}'`);
  return value;
}

// Calls begin on a schedule, whether or not earlier ones were answered: what a slow answer delays is
// measured, not left out. A call that finds no free user is dropped by k6 and fails the run.
export function onSchedule(rate) {
  return {
    executor: 'constant-arrival-rate',
    rate,
    timeUnit: '1s',
    duration: `${SECONDS}s`,
    preAllocatedVUs: wholeNumber('VUS', 50),
  };
}

// What a run on a schedule must hold: all checks, nearly all of its calls begun (k6 itself falls behind
// by a few when the machine has other work), and their latency, without the calls that set it up.
export function thresholds(scenario, rate, p99) {
  return {
    checks: ['rate==1'],
    iterations: [`count>=${Math.floor(rate * SECONDS * 0.99)}`],
    dropped_iterations: [`count<=${Math.ceil(rate * SECONDS * 0.01)}`],
    [`grpc_req_duration{scenario:${scenario}}`]: [`p(99)<${number('P99_MS', p99)}`],
  };
}

const client = new grpc.Client();
// Where the service's proto files are, seen from this folder.
client.load(['../../proto'], 'websocketmanager.proto', 'rooms.proto');
let connected = false;

// One channel for each virtual user, opened at its first call.
export function service() {
  if (!connected) {
    try {
      client.connect(GRPC, { plaintext: !TLS, timeout: '10s' });
    } catch (error) {
      exec.test.abort(`no service at ${GRPC} (${error}): start it, or name its gRPC port: -e WSM_GRPC=HOST:PORT`);
    }
    connected = true;
  }
  return client;
}

export function callOptions(more) {
  return { metadata: TOKEN ? { authorization: `Bearer ${TOKEN}` } : {}, timeout: '10s', ...more };
}

export function call(method, request) {
  return service().invoke(`virtufin.${method}`, request, callOptions());
}

// For what must succeed before or after the measured calls.
export function mustCall(method, request) {
  const answer = call(method, request);
  if (answer.status !== grpc.StatusOK) {
    exec.test.abort(`${method}: ${answer.error ? answer.error.message : `status ${answer.status}`}`);
  }
  return answer.message;
}

// Ids that two runs against one service do not share.
export function ids(count) {
  const run = `k6-${Date.now().toString(36)}-${Math.floor(Math.random() * 36 ** 4).toString(36)}`;
  return Array.from({ length: count }, (_, nth) => `${run}-${nth}`);
}

// Connections of the service to the upstream, made before the measured calls.
export function connectAll(count, tags) {
  needsUpstream();
  const made = ids(count);
  for (const id of made) mustCall('WebSocketManager/Connect', { url: UPSTREAM, connectionId: id, tags });
  return made;
}

export function disconnectAll(made) {
  for (const id of made) call('WebSocketManager/Disconnect', { id });
  client.close();
  connected = false;
}

export function needsUpstream() {
  if (UPSTREAM) return;
  exec.test.abort('name a WebSocket server that echoes: -e WSM_UPSTREAM=ws://127.0.0.1:PORT/');
}

// Milliseconds since the run began, with their fractions; one clock for all virtual users.
export const now = () => exec.instance.currentTestRunDuration;

// SendStream: many Sends on one call, answered in any order. Each user holds one stream and writes to
// it on a schedule; latency counts from when a Send was due, not from when it could be written.
import { check } from 'k6';
import grpc from 'k6/net/grpc';
import { Counter, Trend } from 'k6/metrics';
import { setInterval, clearInterval, setTimeout, clearTimeout } from 'k6/timers';
import exec from 'k6/execution';
import { SECONDS, callOptions, connectAll, disconnectAll, now, number, service, wholeNumber } from './wsm.js';

const RATE = wholeNumber('RATE', 1000);
const STREAMS = wholeNumber('STREAMS', 4);
const TOTAL = Math.ceil((RATE / STREAMS) * SECONDS);
// How often the schedule is looked at; what is due is then written at once.
const TICK_MS = 5;
// What the last answers may take before the stream is given up.
const LATE_MS = 15000;

const sent = new Counter('stream_sends');
const replies = new Counter('stream_replies');
const latency = new Trend('stream_send_latency', true);

export const options = {
  scenarios: {
    streams: {
      executor: 'per-vu-iterations',
      vus: STREAMS,
      iterations: 1,
      maxDuration: `${Math.ceil(SECONDS + LATE_MS / 1000 + 15)}s`,
    },
  },
  thresholds: {
    checks: ['rate==1'],
    stream_sends: [`count==${TOTAL * STREAMS}`],
    stream_replies: [`count==${TOTAL * STREAMS}`],
    stream_send_latency: [`p(99)<${number('P99_MS', 100)}`],
  },
};

export function setup() {
  return { ids: connectAll(wholeNumber('CONNECTIONS', 20)) };
}

export default function ({ ids }) {
  const stream = new grpc.Stream(service(), 'virtufin.WebSocketManager/SendStream', callOptions({ timeout: '1h' }));
  const user = exec.vu.idInTest;
  const begun = now();
  const due = (nth) => begun + (nth * SECONDS * 1000) / TOTAL;
  const waiting = new Map();
  let written = 0;
  let limit;

  const schedule = setInterval(() => {
    for (; written < TOTAL && due(written) <= now(); written += 1) {
      const message = JSON.stringify({ id: `${user}-${written}` });
      waiting.set(written, message);
      stream.write({ id: ids[written % ids.length], message, tag: written });
      sent.add(1);
    }
    if (written === TOTAL) finish();
  }, TICK_MS);

  const finish = () => {
    clearInterval(schedule);
    stream.end();
    limit = setTimeout(() => service().close(), LATE_MS);
  };

  stream.on('data', ({ tag, code, message, response }) => {
    const nth = Number(tag ?? 0);
    latency.add(now() - due(nth));
    replies.add(1);
    check(null, {
      'the Send is OK': () => (code ?? 0) === 0,
      'the reply is the echo of that Send': () => response?.response === waiting.get(nth),
    }) || console.error(`Send ${nth}: ${message || 'another reply'}`);
    waiting.delete(nth);
  });
  stream.on('error', (error) => {
    clearInterval(schedule);
    check(error, { 'the stream goes on': () => false });
    console.error(`the stream: ${error.message}`);
  });
  stream.on('end', () => {
    clearInterval(schedule);
    clearTimeout(limit);
    check(waiting, { 'every Send was answered': ({ size }) => size === 0 && written === TOTAL });
  });
}

export function teardown({ ids }) {
  disconnectAll(ids);
}

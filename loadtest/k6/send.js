// Send: a request over a connection and its correlated reply, one unary call each.
import { check } from 'k6';
import exec from 'k6/execution';
import grpc from 'k6/net/grpc';
import { call, connectAll, disconnectAll, onSchedule, thresholds, wholeNumber } from './wsm.js';

const RATE = wholeNumber('RATE', 500);

export const options = {
  scenarios: { send: onSchedule(RATE) },
  thresholds: thresholds('send', RATE, 50),
};

export function setup() {
  return { ids: connectAll(wholeNumber('CONNECTIONS', 20)) };
}

export default function ({ ids }) {
  const nth = exec.scenario.iterationInTest;
  const message = JSON.stringify({ id: `send-${nth}` });
  const answer = call('WebSocketManager/Send', { id: ids[nth % ids.length], message });
  check(answer, {
    'Send is OK': ({ status }) => status === grpc.StatusOK,
    'the reply is the echo': (it) => it.status === grpc.StatusOK && it.message.response === message,
  });
}

export function teardown({ ids }) {
  disconnectAll(ids);
}

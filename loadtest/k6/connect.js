// Connect and Disconnect: a socket to the upstream is opened, seen as connected, and closed.
import { check } from 'k6';
import exec from 'k6/execution';
import grpc from 'k6/net/grpc';
import { UPSTREAM, call, ids, needsUpstream, onSchedule, thresholds, wholeNumber } from './wsm.js';

const RATE = wholeNumber('RATE', 50);

export const options = {
  scenarios: { connect: onSchedule(RATE) },
  thresholds: thresholds('connect', RATE, 250),
};

export function setup() {
  needsUpstream();
  return { prefix: ids(1)[0] };
}

export default function ({ prefix }) {
  const id = `${prefix}-${exec.scenario.iterationInTest}`;
  const made = call('WebSocketManager/Connect', { url: UPSTREAM, connectionId: id });
  const ended = call('WebSocketManager/Disconnect', { id });
  check(made, {
    'Connect is OK': ({ status }) => status === grpc.StatusOK,
    'the connection is new and connected': ({ status, message }) =>
      status === grpc.StatusOK && message.created && message.status === 'CONNECTED',
  });
  check(ended, { 'Disconnect is OK': ({ status }) => status === grpc.StatusOK });
}

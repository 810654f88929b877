// List: a page of the connections that carry a tag, while many are there.
import { check } from 'k6';
import grpc from 'k6/net/grpc';
import { call, connectAll, disconnectAll, ids, onSchedule, thresholds, wholeNumber } from './wsm.js';

const RATE = wholeNumber('RATE', 100);
const CONNECTIONS = wholeNumber('CONNECTIONS', 200);
const PAGE = 50;

export const options = {
  scenarios: { list: onSchedule(RATE) },
  thresholds: thresholds('list', RATE, 100),
};

export function setup() {
  const [run] = ids(1);
  return { run, ids: connectAll(CONNECTIONS, { run }) };
}

export default function ({ run }) {
  const request = { filters: [{ key: 'run', value: run }], pageSize: PAGE };
  const answer = call('WebSocketManager/List', request);
  check(answer, {
    'List is OK': ({ status }) => status === grpc.StatusOK,
    'all are counted and one page is given': ({ status, message }) =>
      status === grpc.StatusOK &&
      Number(message.total) === CONNECTIONS &&
      message.connections.length === Math.min(PAGE, CONNECTIONS),
  });
}

export function teardown(made) {
  disconnectAll(made.ids);
}

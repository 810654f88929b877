// Rooms.Send: messages to rooms over gRPC, each numbered; rooms need no creation and no members.
import { check } from 'k6';
import exec from 'k6/execution';
import grpc from 'k6/net/grpc';
import { call, ids, onSchedule, thresholds, wholeNumber } from './wsm.js';

const RATE = wholeNumber('RATE', 500);
const ROOMS = wholeNumber('ROOMS', 10);
const PAYLOAD = 'x'.repeat(wholeNumber('PAYLOAD_BYTES', 128));

export const options = {
  scenarios: { posts: onSchedule(RATE) },
  thresholds: thresholds('posts', RATE, 50),
};

export function setup() {
  return { rooms: ids(ROOMS) };
}

export default function ({ rooms }) {
  const room = rooms[exec.scenario.iterationInTest % rooms.length];
  const answer = call('Rooms/Send', { rooms: [room], message: PAYLOAD });
  check(answer, {
    'Rooms.Send is OK': ({ status }) => status === grpc.StatusOK,
    'the message has a number': ({ status, message }) =>
      status === grpc.StatusOK && message.positions.length === 1 && Number(message.positions[0].offset) > 0,
  });
}

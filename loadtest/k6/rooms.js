// Rooms: many sockets come in to one room, messages are posted to it on a schedule, and each socket
// sees to it that it got every number once and in order. Latency counts from when a message was due.
import { check, sleep } from 'k6';
import exec from 'k6/execution';
import grpc from 'k6/net/grpc';
import http from 'k6/http';
import { Counter, Trend } from 'k6/metrics';
import { setInterval, clearInterval } from 'k6/timers';
import { WebSocket } from 'k6/websockets';
import { HTTP, SECONDS, call, callOptions, ids, mustCall, now, number, service, wholeNumber } from './wsm.js';

const MEMBERS = wholeNumber('MEMBERS', 200);
// Each user holds this many sockets: a user costs k6 far more than a socket.
const SOCKETS_A_USER = 50;
const USERS = Math.ceil(MEMBERS / SOCKETS_A_USER);
const RATE = wholeNumber('RATE', 40);
const TOTAL = Math.ceil(RATE * SECONDS);
const TICK_MS = 2;
// How long everybody may take to come in, and the last message to be there.
const COME_IN = 30;
const PADDING = 'x'.repeat(wholeNumber('PAYLOAD_BYTES', 128));
const POST = __ENV.POST || 'grpc';
if (!['grpc', 'rest'].includes(POST)) throw new Error(`POST must be grpc or rest, not '${POST}'`);

const posts = new Counter('room_posts');
const deliveries = new Counter('room_deliveries');
const holes = new Counter('room_holes');
const latency = new Trend('room_latency', true);

const bounded = { gracefulStop: '5s', maxDuration: `${Math.ceil(SECONDS + 2 * COME_IN)}s`, iterations: 1 };
export const options = {
  scenarios: {
    members: { executor: 'per-vu-iterations', vus: USERS, exec: 'members', ...bounded },
    posting: { executor: 'per-vu-iterations', vus: 1, exec: 'posting', ...bounded },
  },
  thresholds: {
    checks: ['rate==1'],
    room_posts: [`count==${TOTAL}`],
    // The last one is said to be the last and is no message of the schedule.
    room_deliveries: [`count==${TOTAL * MEMBERS}`],
    room_holes: ['count==0'],
    room_latency: [`p(99)<${number('P99_MS', 100)}`],
  },
};

export function setup() {
  return { room: ids(1)[0] };
}

export function members({ room }) {
  // Users are numbered over all scenarios; this scenario has its own count.
  const first = exec.scenario.iterationInTest * SOCKETS_A_USER;
  for (let nth = first; nth < Math.min(first + SOCKETS_A_USER, MEMBERS); nth += 1) member(room);
}

// One socket, which leaves when it has heard the last message.
function member(room) {
  const address = `${HTTP.replace(/^http/, 'ws')}/ws/${room}`;
  const socket = new WebSocket(address, 'wsm.rooms.v1', { headers: callOptions().metadata });
  let last;
  let count = 0;
  let opened = false;
  let over = false;
  socket.onopen = () => {
    opened = true;
  };
  socket.onmessage = ({ data }) => {
    const heard = now();
    const frame = JSON.parse(data);
    if (frame.gap !== undefined) holes.add(1);
    if (frame.offset === undefined) return;
    if (last !== undefined && frame.offset !== last + 1) holes.add(1);
    last = frame.offset;
    const { due, end } = messageOf(frame);
    if (end !== undefined) {
      over = true;
      check(count, { 'a member got every message': (it) => it === end });
      socket.close();
      return;
    }
    count += 1;
    deliveries.add(1);
    latency.add(heard - due);
  };
  socket.onerror = ({ error }) => {
    // Nobody else would come in either.
    if (!opened) exec.test.abort(`no way in at ${address}: ${error}; see WSM_HTTP and WSM_TOKEN`);
    check(error, { 'a socket has no error': () => false });
    console.error(`a socket: ${error}`);
  };
  socket.onclose = () => check(over, { 'a socket stays until the end': (it) => it });
}

const messageOf = ({ data }) => (typeof data === 'string' ? JSON.parse(data) : data);

export function posting({ room }) {
  everybodyIn(room);
  const begun = now();
  const due = (nth) => begun + (nth * SECONDS * 1000) / TOTAL;
  let begunPosts = 0;
  let answers = 0;
  const answered = (ok) => {
    posts.add(ok ? 1 : 0);
    answers += 1;
    check(ok, { 'a post is OK': (it) => it });
    if (answers === TOTAL) post(room, { end: TOTAL }).then((it) => check(it, { 'the last post is OK': () => it }));
  };
  const schedule = setInterval(() => {
    for (; begunPosts < TOTAL && due(begunPosts) <= now(); begunPosts += 1) {
      post(room, { due: due(begunPosts), padding: PADDING }).then(answered);
    }
    if (begunPosts === TOTAL) clearInterval(schedule);
  }, TICK_MS);
}

function everybodyIn(room) {
  const limit = now() + COME_IN * 1000;
  const here = () => {
    const { rooms } = mustCall('Rooms/ListRooms', { prefix: room });
    return rooms.length === 1 ? Number(rooms[0].members) : 0;
  };
  while (here() < MEMBERS) {
    if (now() > limit) exec.test.abort(`only ${here()} of ${MEMBERS} members came in within ${COME_IN} s`);
    sleep(0.05);
  }
}

// True when the room has taken the message; nobody waits for it.
function post(room, message) {
  const text = JSON.stringify(message);
  const failed = (error) => console.error(`a post: ${error}`);
  if (POST === 'rest') {
    const body = JSON.stringify({ message: text });
    const headers = { ...callOptions().metadata, 'content-type': 'application/json' };
    const sending = http.asyncRequest('POST', `${HTTP}/v1/rooms/${room}/messages`, body, { headers });
    return sending.then(({ status }) => status === 200).catch(failed);
  }
  const sending = service().asyncInvoke('virtufin.Rooms/Send', { rooms: [room], message: text }, callOptions());
  return sending.then(({ status }) => status === grpc.StatusOK).catch(failed);
}

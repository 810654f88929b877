"""An application on Jararaca, the earlier room system, in two processes beside two of our instances.

All four share one Redis and its two channels, and nothing else: what anybody sends is heard everywhere.
"""

import base64
import contextlib
import json
import re
import socket
import subprocess
import time
import urllib.parse
import urllib.request

import pytest
from websockets.sync.client import connect

import parts
from conftest import BINARY, DEADLINE, ROOT, Service, end, first_line, kill

SEND, BROADCAST = "jararaca:websocket:send", "jararaca:websocket:broadcast"
# Everything that JSON writes in its own way, and must come as it was written.
PAD = 'h\u00e9llo\0\n"\\/\u2028\U0001f680<'
ODD_ROOMS = [
    "r\u00e4ume \U0001f680",
    " a b ",
    "a/b",
    "a//b/",
    "..",
    "a?b#c%d&e=f",
    "%2F",
    "{room}",
    '"',
    # As long as ours may be.
    "\u00e9" * 128,
]


class Application:
    """A process of the other system's application."""

    def __init__(self, port):
        self.address = f"127.0.0.1:{port}"

    def post(self, path, body):
        request = urllib.request.Request(
            f"http://{self.address}/chat/{path}",
            data=json.dumps(body).encode(),
            headers={"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
            assert answer.status == 200

    def send(self, room, message):
        self.post(f"{quoted(room)}/message", message)

    @contextlib.contextmanager
    def client(self, room):
        with connect(f"ws://{self.address}/chat/ws/{quoted(room)}", proxy=None) as client:
            assert client.recv(timeout=DEADLINE) == "joined"
            yield client


class Instance(Service):
    """One of ours."""

    def post(self, path, body):
        status, _, answer = self.request(path, body)
        assert status == 200, answer
        # It numbers nothing on the other system's channels.
        assert json.loads(answer) == {}

    def send(self, room, message):
        body = {"message": written(message).decode(), "messageId": "chat.message"}
        self.post(f"/v1/rooms/{quoted(room)}/messages", body)

    def client(self, *rooms, numbered=False):
        """Several rooms stand in the query."""
        path = quoted(rooms[0]) if len(rooms) == 1 else ""
        query = urllib.parse.urlencode([("room", room) for room in rooms]) if len(rooms) > 1 else ""
        url = self.http.replace("http", "ws", 1) + "/ws" + (f"/{path}" if path else f"?{query}")
        protocols = ["wsm.rooms.v1"] if numbered else None
        # How it leaves is no matter of these tests: they do not wait for that.
        return connect(url, proxy=None, subprotocols=protocols, close_timeout=0.1)

    def metric(self, name):
        status, page = parts.get(f"{self.admin}/metrics")
        assert status == 200
        found = re.search(rf"^{re.escape(name)} (\S+)$", page.decode(), re.MULTILINE)
        assert found, f"no metric {name}"
        return float(found[1])


class World:
    def __init__(self, redis, theirs, ours):
        self.redis, self.theirs, self.ours = redis, theirs, ours

    def publish(self, channel, payload):
        """By hand: whatever bytes."""
        return number(self.redis, b"PUBLISH", channel.encode(), payload)

    def all_listen(self, others=0):
        """Both systems take what comes, then: the other one has no readiness of its own."""
        everybody = len(self.theirs) + len(self.ours) + others
        return all(
            number(self.redis, b"PUBSUB", b"NUMSUB", channel.encode()) == everybody for channel in (SEND, BROADCAST)
        )

    @contextlib.contextmanager
    def clients(self, room):
        """One at each process: first the other system's, then ours."""
        with contextlib.ExitStack() as stack:
            yield [stack.enter_context(place.client(room)) for place in (*self.theirs, *self.ours)]


def number(redis, *words):
    """The number that a Redis command answers, or that its answer ends with."""
    host, port = redis.split(":")
    with socket.create_connection((host, int(port)), timeout=DEADLINE) as connection:
        connection.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
        answer = b""
        while not (found := re.search(rb"(?:^|\n):(\d+)\r\n$", answer)):
            more = connection.recv(4096)
            assert more and not answer.startswith(b"-"), answer
            answer += more
        return int(found[1])


def quoted(room):
    return urllib.parse.quote(room, safe="")


def chat(seq, pad=PAD):
    return {"ts": 1, "seq": seq, "pad": pad}


def written(message):
    """As the other system writes it."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


def wrapped(message):
    return b'{"MESSAGE_ID":"chat.message","message":' + written(message) + b"}"


def hear(client, *expected):
    """These and no others, each once, each in a binary frame: bytes are what such a frame becomes here."""
    assert [client.recv(timeout=DEADLINE) for _ in expected] == list(expected)


def carried(frame):
    """The payload's bytes: an object or array stands in the frame as it is, other text as a string."""
    if "dataBase64" in frame:
        return base64.b64decode(frame["dataBase64"])
    data = frame["data"]
    return data.encode() if isinstance(data, str) else written(data)


def places(client, *expected):
    """The same for a client that gets numbers, which are returned: of each message its rooms' places."""
    numbers = []
    for payload in expected:
        text = client.recv(timeout=DEADLINE)
        assert isinstance(text, str)
        frame = json.loads(text)
        assert carried(frame) == payload
        at = [frame, *frame.get("also", [])]
        numbers.append({place["room"]: (place["epoch"], place["offset"]) for place in at})
    return numbers


def interpreter():
    """Of the environment that Jararaca is installed in."""
    python = ROOT / ".cache/venv-jararaca/bin/python"
    if not python.is_file():
        assert not parts.required("JARARACA"), "Jararaca is not installed: run tests/run"
        pytest.skip("Jararaca is not installed: run tests/run once")
    return python


@contextlib.contextmanager
def application(redis):
    script = ROOT / "tests/python/jararaca_app.py"
    arguments = [interpreter(), script, f"redis://{redis}/0", SEND, BROADCAST]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env={})
    try:
        port = first_line(process)
        assert port, "the application prints its port"
        yield Application(port)
    finally:
        kill(process)


@contextlib.contextmanager
def instance(redis, folder, *more):
    flags = [word for port in ("http", "grpc", "admin") for word in (f"--{port}-port", "0")]
    # Another database than theirs: channels have none.
    flags += ["--backend", "embedded", "--redis-url", f"redis://{redis}/3"]
    flags += ["--jararaca-channels", f"{SEND},{BROADCAST}", "--drain-lame-duck", "0"]
    flags += ["--shards", "2", "--data-dir", str(folder / "data"), *more]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            [BINARY, "serve", *flags], stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, text=True, env={}
        )
    try:
        line = first_line(process)
        assert line and line.startswith("ready "), (folder / "log").read_text()
        yield Instance(process, line)
        assert end(process) == 0, (folder / "log").read_text()
    finally:
        kill(process)


@pytest.fixture(scope="module")
def all_of_it(tmp_path_factory):
    interpreter()
    folder = lambda: tmp_path_factory.mktemp("jararaca")
    with (
        parts.redis(folder()) as redis,
        application(redis) as first,
        application(redis) as second,
        instance(redis, folder()) as one,
        instance(redis, folder()) as two,
    ):
        yield World(redis, [first, second], [one, two])


@pytest.fixture
def world(all_of_it):
    parts.wait_for("both systems to listen", all_of_it.all_listen)
    return all_of_it


def test_clients_of_each_process_there_hear_what_is_sent_here(world):
    with world.clients("lobby") as clients:
        for seq, sender in enumerate(world.ours):
            sender.send("lobby", chat(seq))
        for client in clients:
            hear(client, wrapped(chat(0)), wrapped(chat(1)))


def test_our_clients_hear_what_is_sent_there(world):
    with world.clients("lobby") as clients, world.ours[0].client("lobby", numbered=True) as numbered:
        for seq, sender in enumerate(world.theirs):
            sender.send("lobby", chat(seq))
            # One process after the other: only then their order is sure.
            for client in clients:
                hear(client, wrapped(chat(seq)))
        first, second = places(numbered, wrapped(chat(0)), wrapped(chat(1)))
        epoch, offset = first["lobby"]
        assert offset >= 1 and second == {"lobby": (epoch, offset + 1)}


def test_broadcasts_go_both_ways(world):
    ours, theirs = world.ours[0], world.theirs[0]
    with contextlib.ExitStack() as stack:
        # Whoever is in a room, or in none, here.
        clients = stack.enter_context(world.clients("anywhere"))
        clients += [stack.enter_context(ours.client()), stack.enter_context(theirs.client("elsewhere"))]
        numbered = stack.enter_context(ours.client("anywhere", numbered=True))
        theirs.post("broadcast", chat(1))
        for client in clients:
            hear(client, written(chat(1)))
        # Any bytes: it has no rooms in it, so nothing that their readers stop at.
        anything = b"\0\xff,\0"
        ours.post("/v1/broadcast", {"data": base64.b64encode(anything).decode()})
        ours.post("/v1/broadcast", {"message": written(chat(2)).decode()})
        for client in clients:
            hear(client, anything, written(chat(2)))
        numbers = places(numbered, written(chat(1)), anything, written(chat(2)))
        epoch, offset = numbers[0][""]
        assert numbers[1:] == [{"": (epoch, offset + 1)}, {"": (epoch, offset + 2)}]


@pytest.mark.parametrize("room", ODD_ROOMS)
def test_odd_names_of_rooms(world, room):
    with world.clients(room) as clients, world.ours[1].client(room, "beside") as two_rooms:
        world.ours[0].send(room, chat(1))
        for client in clients:
            hear(client, wrapped(chat(1)))
        world.theirs[0].send(room, chat(2))
        for client in clients:
            hear(client, wrapped(chat(2)))
        hear(two_rooms, wrapped(chat(1)), wrapped(chat(2)))


def test_a_message_to_several_rooms_comes_once(world):
    rooms = ["left", "right"]
    ours, theirs = world.ours[0], world.theirs[0]
    sent = {"rooms": ["left", "right", "left"], "message": written(chat(1)).decode(), "messageId": "chat.message"}
    with (
        world.clients("left") as left,
        world.clients("right") as right,
        ours.client(*rooms) as both,
        ours.client(*rooms, numbered=True) as numbered,
    ):
        ours.post("/v1/rooms:send", sent)
        for client in (*left, *right):
            hear(client, wrapped(chat(1)))
        theirs.post("messages", {"rooms": rooms, "message": chat(2)})
        # What they take for one room is two.
        for client in (*left, *right):
            hear(client, wrapped(chat(2)))
        theirs.send("left,right", chat(3))
        for client in (*left, *right):
            hear(client, wrapped(chat(3)))
        hear(both, *(wrapped(chat(seq)) for seq in (1, 2, 3)))
        for at in places(numbered, *(wrapped(chat(seq)) for seq in (1, 2, 3))):
            assert sorted(at) == rooms


def test_copies_as_many_as_rooms_where_that_is_wanted(world, tmp_path):
    rooms = ["left", "right"]
    with (
        instance(world.redis, tmp_path, "--jararaca-dedupe=false") as third,
        third.client(*rooms) as both,
        third.client("left") as left,
    ):
        parts.wait_for("the third of ours to listen", lambda: world.all_listen(others=1))
        world.theirs[0].post("messages", {"rooms": rooms, "message": chat(1)})
        third.post("/v1/rooms:send", {"rooms": rooms, "message": "{}"})
        hear(left, wrapped(chat(1)), b"{}")
        hear(both, wrapped(chat(1)), wrapped(chat(1)), b"{}", b"{}")


def test_our_members_hear_each_of_our_own_sends_once(world):
    one, two = world.ours
    with world.clients("own") as clients, two.client("own", numbered=True) as numbered:
        # From both instances in turn. Whatever came twice would stand before the next.
        for seq in range(20):
            (one, two)[seq % 2].send("own", chat(seq))
        expected = [wrapped(chat(seq)) for seq in range(20)]
        for client in clients:
            hear(client, *expected)
        offsets = [at["own"][1] for at in places(numbered, *expected)]
        assert offsets == list(range(offsets[0], offsets[0] + 20))


REFUSED_ROOMS = ["a,lobby", ",", "\0", "lobby\0x", "a\nb", "x" * 257]
# A raw NUL after the rooms; JSON writes one as \u0000, which harms nobody.
REFUSED_BODIES = [
    {"data": base64.b64encode(b"\0").decode()},
    {"data": base64.b64encode(b"x\0y").decode()},
    {"message": "x\0"},
    {"message": '"\0"', "messageId": "chat.message"},
]


def test_what_would_stop_their_readers_is_refused_and_stops_nobody(world):
    ours = world.ours[0]
    with world.clients("lobby") as clients:
        for room in REFUSED_ROOMS:
            refused(ours, f"/v1/rooms/{quoted(room)}/messages", {"message": "{}"}, "room")
            refused(ours, "/v1/rooms:send", {"rooms": ["lobby", room], "message": "{}"}, "rooms")
            with pytest.raises(Exception, match="HTTP 400"), ours.client(room):
                pass
        refused(ours, "/v1/rooms:send", {"rooms": [], "message": "{}"}, "rooms")
        refused(ours, "/v1/rooms:send", {"rooms": [""], "message": "{}"}, "rooms")
        for body in REFUSED_BODIES:
            refused(ours, "/v1/rooms/lobby/messages", body, "message" if "messageId" in body else "data")
        assert world.all_listen()
        ours.send("lobby", chat(1))
        for client in clients:
            hear(client, wrapped(chat(1)))


def refused(instance, path, body, field):
    status, _, answer = instance.request(path, body)
    answer = json.loads(answer)
    assert (status, answer["code"]) == (400, 3), (path, body, answer)
    named = answer["details"][1]["fieldViolations"][0]["field"]
    assert named.split("[")[0] == field, (path, body, answer)


# What stops the other system's readers for five seconds, and at the end a name that is legal only there.
POISON = [
    b"no separator",
    b"",
    b"\xff\xfe\0x",
    b"\0\0x",
    b"lobby\0one\0two",
    b"\xc3,lobby\0three",
    b"a\tb\0x",
]


# The last one: the other system does not hear for a while after it.
def test_poison_of_others_stops_none_of_ours(world):
    def counted(instance):
        reasons = ("no_separator", "not_utf8", "no_rooms", "bad_room")
        return [instance.metric(f'wsm_relay_poison_total{{reason="{reason}"}}') for reason in reasons]

    one, two = world.ours
    before = [counted(instance) for instance in world.ours]
    connects = [instance.metric("wsm_relay_connects_total") for instance in world.ours]
    with one.client("lobby") as here, two.client("lobby") as there, one.client("lobby", numbered=True) as numbered:
        published = time.monotonic()
        for payload in POISON:
            world.publish(SEND, payload)
        one.send("lobby", chat(1))
        two.send("lobby", chat(2))
        expected = [b"one\0two", b"three", wrapped(chat(1)), wrapped(chat(2))]
        for client in (here, there):
            hear(client, *expected)
        places(numbered, *expected)
        world.publish(BROADCAST, b"\xff\0")
        for client in (here, there):
            hear(client, b"\xff\0")
        assert time.monotonic() - published < 5, "as long as the other system takes"
    for instance, counts, connected in zip(world.ours, before, connects):
        # One of the rooms that are not UTF-8 is left out of a message that goes on.
        assert [now - then for now, then in zip(counted(instance), counts)] == [2, 2, 1, 1]
        assert instance.metric("wsm_relay_connects_total") == connected

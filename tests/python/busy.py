"""What keeps services busy in every way that shows in their metrics: upstreams, callers, clients, failures."""

import asyncio
import contextlib
import json
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import connect

from conftest import DEADLINE
from crowd import stuck

BIG = "x" * 20_000


class Upstream:
    """A WebSocket server that does as it is told: echoes, bursts, hangs up, is late, or says nothing."""

    def __init__(self):
        self.loop, self.port = asyncio.new_event_loop(), None
        self.up, self.end = threading.Event(), None
        self.thread = threading.Thread(target=lambda: self.loop.run_until_complete(self.serve()), daemon=True)

    def __enter__(self):
        self.thread.start()
        assert self.up.wait(DEADLINE)
        return f"ws://127.0.0.1:{self.port}/"

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.end.set)
        self.thread.join(DEADLINE)

    async def serve(self):
        self.end = asyncio.Event()
        async with serve(self.handle, "127.0.0.1", 0, ping_interval=0.5) as server:
            self.port = server.sockets[0].getsockname()[1]
            self.up.set()
            await self.end.wait()

    async def handle(self, socket):
        with contextlib.suppress(ConnectionClosed):
            await self.answer(socket)

    async def answer(self, socket):
        async for message in socket:
            told = json.loads(message)
            if "close" in told:
                await socket.close(told["close"])
            elif "late" in told:
                asyncio.ensure_future(self.later(socket, message, told["late"]))
            elif "burst" in told:
                for number in range(told["burst"]):
                    await socket.send(json.dumps({"number": number}))
            elif "big" in told:
                await socket.send("x" * told["big"])
            elif "silent" not in told:
                await socket.send(message)

    async def later(self, socket, message, pause):
        with contextlib.suppress(ConnectionClosed, TimeoutError):
            await asyncio.wait_for(socket.wait_closed(), pause)
        with contextlib.suppress(ConnectionClosed):
            await socket.send(message)


class Load:
    """Does things again and again, each in a thread of its own, until it is told to stop. What is wrong fails the test."""

    def __init__(self):
        self.over, self.threads, self.failures = threading.Event(), [], []

    def again(self, pause, what, *arguments):
        def work():
            turn = 0
            while not self.over.is_set():
                try:
                    what(turn, *arguments)
                except (OSError, WebSocketException):
                    # Somebody is slow, or was closed for being so: what keeps failing shows nothing on its panel.
                    pass
                except Exception as error:
                    if not self.over.is_set():
                        self.failures.append(f"{what.__name__}: {error!r}")
                    return
                turn += 1
                self.over.wait(pause)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self.threads.append(thread)

    def wait(self):
        """When all that they talk to is gone: then none of them takes long, and together they have so much time."""
        until = time.monotonic() + DEADLINE
        for thread in self.threads:
            thread.join(max(0.0, until - time.monotonic()))


# What a machine that has other work may answer: conflict (maybe sent), full, unavailable, too late.
SLOW = {409, 429, 503, 504}


def call(service, path, body=None, method="POST"):
    status, _, answer = service.request(path, body, method=method)
    assert status == 200 or status in SLOW, (path, answer)


def tried(service, path, body):
    """Whatever comes of it: what is refused or fails shall show."""
    service.request(path, body, method="POST")


def dialled(service, url, name, **more):
    body = {
        "url": url,
        "connectionId": name,
        "autoReconnect": True,
        "reconnect": {"baseMs": 20, "maxMs": 50},
        **more,
    }
    status, _, answer = service.request("/v1/connections", body)
    assert status == 200, answer
    return name


# ---------------------------------------------------------------- what is done


def sends(turn, service, names):
    """Mostly replied to; some time out, come late, or are refused."""
    requests = [
        {"id": name, "message": f'{{"id": "{turn}-{nth}"}}', "tag": nth} for nth, name in enumerate(names * 4)
    ]
    call(service, "/v1/send:batch", {"requests": requests})
    call(service, f"/v1/connections/{names[0]}/send", {"message": f'{{"id": "one-{turn}"}}'})
    call(service, f"/v1/connections/{names[0]}/sendraw", {"message": '{"burst": 10}'})
    if turn % 5 == 0:
        for name in names:
            late = {"message": f'{{"id": "late-{turn}", "late": 0.2}}', "timeoutMs": 20}
            tried(service, f"/v1/connections/{name}/send", late)
        tried(service, "/v1/connections/nowhere/send", {"message": "{}"})


def refused_sends(turn, service, name):
    """A second Send under an id that is in flight."""
    same = {"message": f'{{"id": "twice-{turn}", "silent": true}}', "timeoutMs": 200}
    tried(service, "/v1/send:batch", {"requests": [{"id": name, **same, "tag": 1}, {"id": name, **same, "tag": 2}]})


def wait_for_nothing(turn, service, name):
    """So that one is always in flight."""
    silent = {"message": f'{{"id": "wait-{turn}", "silent": true}}', "timeoutMs": 3000}
    tried(service, f"/v1/connections/{name}/send", silent)


def hang_up(turn, service, name):
    tried(service, f"/v1/connections/{name}/sendraw", {"message": '{"close": 4000}'})


def too_big(turn, service, name):
    """What the upstream sends is larger than this connection takes."""
    tried(service, f"/v1/connections/{name}/sendraw", {"message": '{"big": 2000}'})


def unheard(turn, service, name):
    """Messages that nobody asked for."""
    tried(service, f"/v1/connections/{name}/sendraw", {"message": '{"burst": 5}'})


def dial_nobody(turn, service):
    tried(service, "/v1/connections", {"url": "ws://127.0.0.1:1/", "connectTimeoutMs": 500})


def change_tags(turn, service, name):
    call(service, f"/v1/connections/{name}/tags", {"tags": {"turn": str(turn)}}, method="PUT")


def follow(turn, service, path):
    """Server-sent events for a moment."""
    with contextlib.suppress(TimeoutError, urllib.error.URLError):
        with urllib.request.urlopen(service.http + path, timeout=2) as answer:
            for _ in range(50):
                answer.readline()


def post_to_rooms(turn, service, *rooms):
    call(service, "/v1/rooms:send", {"rooms": rooms, "message": json.dumps({"turn": turn})})


def rest(turn, service):
    tried(service, "/chat/lobby/message", {"text": "hello"})


def ws_url(service, path):
    return service.http.replace("http", "ws", 1) + path


def come_and_go(turn, service, room):
    """A member that leaves, comes back and gets what it missed; one that may not come in at all."""
    url = ws_url(service, f"/ws?room={room}")
    with connect(url, subprotocols=["wsm.rooms.v1"], proxy=None, close_timeout=0.1) as member:
        seen = json.loads(member.recv(timeout=DEADLINE))
        member.send(json.dumps({"join": "beside", "id": 1}))
        member.send(json.dumps({"ping": 1}))
        member.recv(timeout=DEADLINE)
    back = f"{url}&epoch={seen['epoch']}&offset={max(0, int(seen['offset']) - 3)}"
    with connect(back, subprotocols=["wsm.rooms.v1"], proxy=None, close_timeout=0.1) as member:
        member.recv(timeout=DEADLINE)
    with contextlib.suppress(Exception):
        connect(url, origin="http://elsewhere.example", proxy=None)


def read_nothing(turn, service):
    """A member whose socket takes no more: it is closed for it."""
    host, port = service.http.removeprefix("http://").split(":")
    with stuck((host, int(port)), "/ws/slow"):
        for _ in range(40):
            call(service, "/v1/rooms/slow/messages", {"message": BIG})


def stay_behind(turn, service):
    """One that takes nothing, in a room that drops the oldest for it."""
    host, port = service.http.removeprefix("http://").split(":")
    with stuck((host, int(port)), "/ws/patient"):
        for _ in range(200):
            call(service, "/v1/rooms/patient/messages", {"message": BIG})


def listen(turn, service, *rooms):
    """Stays in rooms and reads."""
    query = urllib.parse.urlencode([("room", room) for room in rooms])
    with connect(ws_url(service, f"/ws?{query}"), proxy=None, close_timeout=0.1) as member:
        for _ in range(200):
            member.recv(timeout=DEADLINE)


def command(turn, sidecar, name):
    event = {
        "specversion": "1.0",
        "source": "tests",
        "id": f"command-{turn}-{time.time_ns()}",
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "type": "com.virtufin.websocketmanager.command." + ("Send" if turn % 3 else "Nonsense"),
        "replyto": "tests.replies",
        "datacontenttype": "application/json",
        "data": {"id": name, "message": f'{{"id": {turn}}}'},
    }
    sidecar.publish_raw("pubsub", "websocketmanager.commands", event)


# ---------------------------------------------------------------- who does it


def alone(load, service, url):
    publish = {"publish": {"topic": "prices"}}
    names = [dialled(service, url, f"feed-{nth}", **publish) for nth in range(6)]
    dialled(service, url, "to-rooms", rooms=["lobby"])
    dialled(service, url, "unsteady", **publish)
    dialled(service, url, "narrow", maxMessageBytes=1000)
    dialled(service, url, "unheard")
    load.again(0.05, sends, service, [*names, "to-rooms"])
    load.again(0.3, too_big, service, "narrow")
    load.again(0.3, unheard, service, "unheard")
    load.again(0.3, refused_sends, service, "to-rooms")
    load.again(0, wait_for_nothing, service, "to-rooms")
    load.again(0.3, hang_up, service, "unsteady")
    load.again(0.3, dial_nobody, service)
    load.again(0.1, change_tags, service, "unsteady")
    load.again(0.1, follow, service, "/v1/messages?topic=prices")
    load.again(0.1, follow, service, "/v1/connections/feed-0/messages")
    load.again(0.1, follow, service, "/v1/messages?tag.turn=3")
    rooms(load, service, service)
    load.again(0.2, rest, service)
    load.again(0.5, read_nothing, service)
    load.again(0, stay_behind, service)


def rooms(load, sender, receiver):
    load.again(0.05, post_to_rooms, sender, "lobby", "news")
    for some in (("lobby",), ("lobby", "news"), ("news",)):
        load.again(0, listen, receiver, *some)
    load.again(0.3, come_and_go, receiver, "lobby")


def fleet(load, one, other, url):
    publish = {"publish": {"topic": "quotes"}}
    names = [
        dialled(service, url, f"{word}-{nth}", **publish)
        for word, service in (("a", one), ("b", other))
        for nth in range(3)
    ]
    # Half of them are at the other one.
    load.again(0.1, sends, one, names)
    load.again(0.1, sends, other, names[::-1])
    load.again(0.1, follow, one, "/v1/connections/b-0/messages")
    rooms(load, one, other)


def dapr(load, service, sidecar, url):
    publish = {"publish": {"topic": "ticks"}}
    names = [dialled(service, url, f"tick-{nth}", **publish) for nth in range(3)]
    load.again(0.1, sends, service, names)
    load.again(0.2, change_tags, service, names[0])
    load.again(0.1, command, sidecar, names[1])

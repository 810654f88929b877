"""WebSocket clients that are not ours, behind one face: Python's websockets and Node's ws."""

import base64
import contextlib
import hashlib
import hmac
import json
import os
import queue
import subprocess
import threading
import time

import pytest
import websockets.exceptions
import websockets.sync.client

from conftest import DEADLINE, ROOT, kill
from parts import get, installed

NODE = ROOT / "tests/node"


def node_script(name):
    """The command that runs a script of tests/node."""
    node = installed("node", [], what="PEERS")
    if not (NODE / "node_modules/ws").exists():
        assert "WSM_REQUIRE_PEERS" not in os.environ, "the packages of tests/node are not installed: run tests/run"
        pytest.skip("the packages of tests/node are not installed: run tests/run once")
    return [node, str(NODE / name)]


class Lines:
    """A process that takes and gives lines of JSON."""

    def __init__(self, command):
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, encoding="utf-8")
        self.lines = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def say(self, order):
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def next(self):
        try:
            line = self.lines.get(timeout=DEADLINE)
        except queue.Empty:
            raise AssertionError("the process says nothing") from None
        assert line is not None, "the process ended"
        return json.loads(line)

    def end(self, patience=0.0):
        """Ends it. In that time it may end by itself, now that nothing more is said."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(patience)
        kill(self.process)


class NodeClient:
    def __init__(self, url, subprotocols):
        self.lines = Lines([*node_script("room_client.mjs"), url, *subprotocols])
        try:
            first = self.lines.next()
            if "refused" in first:
                raise Refused(first["refused"])
            opened = first["open"]
        except BaseException:
            self.end()
            raise
        self.subprotocol, self.extensions = opened["protocol"] or None, opened["extensions"]
        self.offered = opened["offered"]

    def next(self):
        """A text, bytes, or what the socket ended with: (code, reason)."""
        while True:
            told = self.lines.next()
            if "text" in told:
                return told["text"]
            if "base64" in told:
                return base64.b64decode(told["base64"])
            if "close" in told:
                return told["close"]["code"], told["close"]["reason"]

    def say(self, message):
        if isinstance(message, bytes):
            self.lines.say({"base64": base64.b64encode(message).decode()})
        else:
            self.lines.say({"text": message})

    def say_in_parts(self, parts):
        """One text, a frame a part."""
        self.lines.say({"parts": parts})

    def ping(self):
        """Comes back when the pong is here."""
        self.lines.say({"ping": "are you there?"})
        while self.lines.next() != {"pong": "are you there?"}:
            pass

    def close(self):
        self.lines.say({"close": 1000})
        return self.next()

    def end(self):
        self.lines.end()


class PythonClient:
    def __init__(self, url, subprotocols):
        self.until_the_end = contextlib.ExitStack()
        try:
            connect = websockets.sync.client.connect(
                url, subprotocols=subprotocols or None, open_timeout=DEADLINE, proxy=None
            )
            self.socket = self.until_the_end.enter_context(connect)
        except websockets.exceptions.InvalidStatus as error:
            raise Refused(error.response.status_code) from None
        self.subprotocol = self.socket.subprotocol
        self.extensions = self.socket.response.headers.get("Sec-WebSocket-Extensions", "")
        self.offered = self.socket.request.headers.get("Sec-WebSocket-Extensions", "")

    def next(self):
        """A text, bytes, or what the socket ended with: (code, reason)."""
        try:
            return self.socket.recv(timeout=DEADLINE)
        except websockets.exceptions.ConnectionClosed as closed:
            return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "")

    def say(self, message):
        self.socket.send(message)

    def say_in_parts(self, parts):
        """One text, a frame a part."""
        self.socket.send(parts)

    def ping(self):
        """Comes back when the pong is here."""
        assert self.socket.ping("are you there?").wait(DEADLINE), "no pong"

    def close(self):
        self.socket.close()
        return self.next()

    def end(self):
        self.until_the_end.close()


SECRET = b"0123456789abcdef0123456789abcdef"


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(**claims):
    """As any issuer of JSON web tokens makes it."""
    claims = {"iss": "tests", "aud": "rooms", "exp": int(time.time()) + 600, **claims}
    text = f"{encode(json.dumps({'alg': 'HS256'}).encode())}.{encode(json.dumps(claims).encode())}"
    return f"{text}.{encode(hmac.digest(SECRET, text.encode(), hashlib.sha256))}"


def asking_for_tokens(folder):
    """The settings of a service that lets in who has such a token."""
    keys = folder / "keys.json"
    keys.write_text(json.dumps({"keys": [{"kty": "oct", "alg": "HS256", "k": encode(SECRET)}]}))
    flags = {"ws-auth": "token", "token-keys": str(keys), "token-audience": "rooms", "token-issuer": "tests"}
    return [word for name, value in flags.items() for word in (f"--{name}", value)]


class Refused(Exception):
    """The status that the handshake was answered with."""


class Clients:
    """Opens clients of one make, and ends them all."""

    def __init__(self, make):
        self.make, self.open = make, []

    def __call__(self, service, path, *subprotocols):
        client = self.make(service.http.replace("http://", "ws://") + path, subprotocols)
        self.open.append(client)
        return client

    def numbered(self, service, path, *subprotocols):
        client = self(service, path, "wsm.rooms.v1", *subprotocols)
        assert client.subprotocol == "wsm.rooms.v1"
        return Numbered(client)


class Numbered:
    """A client of wsm.rooms.v1."""

    def __init__(self, client):
        self.client = client

    def next(self):
        frame = self.client.next()
        assert isinstance(frame, str), frame
        return json.loads(frame)

    def ask(self, request):
        self.client.say(json.dumps(request))
        return self.next()


def post(service, path, **body):
    """What the service answers; it must be content."""
    status, _, answer = service.request(path, body, method="POST")
    assert status == 200, answer
    return json.loads(answer)


def send(service, room, text):
    """Sends a text to a room; its place there."""
    [position] = post(service, f"/v1/rooms/{room}/messages", message=text)["positions"]
    return int(position["epoch"]), int(position["offset"])


def metric(service, name):
    """The sum of a metric over its labels."""
    return metrics(service).get(name, 0.0)


def metrics(service):
    """The sums of all metrics over their labels, of one scrape."""
    status, body = get(service.admin + "/metrics")
    assert status == 200
    sums = {}
    for line in body.decode().splitlines():
        if line and not line.startswith("#"):
            series, value = line.rsplit(" ", 1)
            name = series.split("{", 1)[0]
            sums[name] = sums.get(name, 0.0) + float(value)
    return sums

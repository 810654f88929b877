"""Thousands of WebSocket clients in one event loop: just enough of the protocol, for speed."""

import asyncio
import json
import resource
import socket

from conftest import DEADLINE

HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
    "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
)
PING = 0x89
# Connections on their way in at a time.
AT_A_TIME = 200


def room_for(wanted, spare=1_000):
    """How many sockets this process may open, up to so many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted + spare:
        for limit in [(wanted + spare, max(hard, wanted + spare)), (hard, hard)]:
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, limit)
                break
            except (OSError, ValueError):
                continue
    return min(wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - spare)


class Awaited:
    """Counts up, and wakes who waits for a number."""

    def __init__(self):
        self.count, self.wanted, self.there = 0, None, None

    def add(self):
        self.count += 1
        if self.wanted is not None and self.count >= self.wanted:
            self.there.set_result(None)
            self.wanted = None

    async def reach(self, wanted, what):
        if self.count >= wanted:
            return
        self.there, self.wanted = asyncio.get_running_loop().create_future(), wanted
        try:
            await asyncio.wait_for(self.there, DEADLINE)
        except TimeoutError:
            raise AssertionError(f"{self.count} of {wanted}: {what}") from None


def handshake(address, path, numbered=False):
    more = "sec-websocket-protocol: wsm.rooms.v1\r\n" if numbered else ""
    return HANDSHAKE.format(path=path, host="{}:{}".format(*address), more=more).encode()


class Member(asyncio.Protocol):
    """Counts the messages that it gets, whole."""

    def __init__(self, head, numbered, messages):
        self.head, self.numbered, self.messages = head, numbered, messages
        self.inside, self.buffer = asyncio.get_running_loop().create_future(), bytearray()
        self.got, self.odd, self.ended, self.last = 0, [], False, None

    def connection_made(self, transport):
        self.transport = transport
        transport.write(self.head)

    def data_received(self, data):
        self.buffer += data
        if not self.inside.done():
            head, end, rest = self.buffer.partition(b"\r\n\r\n")
            if not end:
                return
            self.buffer = rest
            if not head.startswith(b"HTTP/1.1 101 "):
                self.inside.set_exception(AssertionError(bytes(head)))
                return
            self.inside.set_result(self)
        self.frames()

    def frames(self):
        buffer = self.buffer
        while len(buffer) >= 2:
            first, size, start = buffer[0], buffer[1], 2
            if size >= 126:
                start = 4 if size == 126 else 10
                size = int.from_bytes(buffer[2:start], "big")
            if len(buffer) < start + size:
                return
            payload = bytes(buffer[start : start + size])
            del buffer[: start + size]
            if first == 0x81:
                self.got, self.last = self.got + 1, payload
                self.messages.add()
            elif first == PING:
                # Masked with zeros, which changes nothing.
                self.transport.write(bytes([0x8A, 0x80 | size, 0, 0, 0, 0]) + payload)
            else:
                self.odd.append((first, payload))

    def text(self):
        """What the last message says."""
        return json.loads(self.last)["data"] if self.numbered else self.last.decode()

    def connection_lost(self, error):
        self.ended = True
        if not self.inside.done():
            self.inside.set_exception(AssertionError(f"ended before it was in: {error}"))


async def come_in(address, paths, messages):
    """Members, one a path and whether with numbers, all inside."""
    loop, gate = asyncio.get_running_loop(), asyncio.Semaphore(AT_A_TIME)

    async def one(path, numbered):
        head = handshake(address, path, numbered)
        async with gate:
            opening = loop.create_connection(lambda: Member(head, numbered, messages), *address)
            _, member = await asyncio.wait_for(opening, DEADLINE)
            return await asyncio.wait_for(member.inside, DEADLINE)

    return await asyncio.gather(*(one(*wanted) for wanted in paths))


def stuck(address, path):
    """A member that never reads. Small segments and a small buffer: the kernel hides little of it."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    client.settimeout(DEADLINE)
    client.connect(address)
    client.sendall(handshake(address, path))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = client.recv(1)
        assert byte, f"it was hung up on after {head}"
        head += byte
    assert head.startswith(b"HTTP/1.1 101 "), head
    return client

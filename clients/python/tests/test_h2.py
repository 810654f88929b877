"""The send stream's HTTP/2, against peers that keep to the letter of it, and against those that do not."""

import asyncio
import errno

import grpc
import hpack
import pytest

from conftest import eventually
from virtufin._wsm import h2
from virtufin._wsm.h2 import frame

HEAD = [(":status", "200"), ("content-type", "application/grpc")]
SETTINGS = frame(h2.SETTINGS, 0, 0, b"")


class Wire(asyncio.Transport):
    """Keeps what was written."""

    def __init__(self):
        super().__init__()
        self.written, self.closing = bytearray(), False
        # Bytes that the other side does not take.
        self.stuck, self.aborted = 0, False

    def write(self, data):
        self.written += data

    def is_closing(self):
        return self.closing

    def close(self):
        self.closing = True

    def abort(self):
        self.closing = self.aborted = True

    def get_write_buffer_size(self):
        return self.stuck

    def frames(self):
        """Kind, flags, stream and payload of each, after the preface."""
        at, found = len(h2.PREFACE), []
        while at < len(self.written):
            length = int.from_bytes(self.written[at : at + 3], "big")
            stream = int.from_bytes(self.written[at + 5 : at + 9], "big")
            found.append((self.written[at + 3], self.written[at + 4], stream, bytes(self.written[at + 9 : at + 9 + length])))
            at += 9 + length
        return found


class Peer:
    """A stream, and what it was told."""

    def __init__(self, settings=SETTINGS):
        self.got, self.ends, self.wire = [], [], Wire()
        self.stream = h2.Http2Stream("SendStream", self.got.append, self.ends.append)
        self.stream.connection_made(self.wire)
        self.stream.begin("/path", "host:1", False, (("authorization", "Bearer x"),))
        self.encoder = hpack.Encoder()
        self.say(settings)

    def say(self, *frames):
        self.stream.data_received(b"".join(frames))

    def headers(self, pairs, flags=h2.END_HEADERS):
        return frame(h2.HEADERS, flags, 1, self.encoder.encode(pairs))

    def data(self):
        return b"".join(payload for kind, _, _, payload in self.wire.frames() if kind == h2.DATA)


def message(payload, flag=0):
    return bytes((flag,)) + len(payload).to_bytes(4, "big") + payload


async def test_messages_come_whole_however_they_are_cut():
    peer = Peer()
    octets = b"".join(
        [
            peer.headers(HEAD),
            frame(h2.PING, 0, 0, b"12345678"),
            frame(h2.DATA, 0, 1, message(b"one") + message(b"two")[:4]),
            frame(h2.DATA, h2.PADDED, 1, b"\x03" + message(b"two")[4:] + bytes(3)),
            frame(99, 0, 0, b"of a later version"),
            peer.headers([("grpc-status", "0")], h2.END_HEADERS | h2.END_STREAM),
        ]
    )
    for at in range(len(octets)):
        peer.say(octets[at : at + 1])
    assert peer.got == [b"one", b"two"] and peer.ends == [None] and peer.wire.closing
    assert (h2.PING, h2.ACK, 0, b"12345678") in peer.wire.frames()


async def test_what_does_not_fit_the_window_waits():
    # The peer lets 10 bytes of the stream through, then more.
    peer = Peer(frame(h2.SETTINGS, 0, 0, b"\x00\x04" + (10).to_bytes(4, "big")))
    peer.stream.write(b"0123456789")
    await eventually("what fits", lambda: peer.data() == message(b"0123456789")[:10] and peer.stream.waiting == 5)
    peer.say(frame(h2.WINDOW_UPDATE, 0, 1, (100).to_bytes(4, "big")))
    assert peer.data() == message(b"0123456789") and not peer.stream.waiting
    peer.stream.pause_writing()
    peer.stream.write(b"later")
    await eventually("what is kept back", lambda: peer.stream.waiting == 10)
    peer.stream.resume_writing()
    peer.stream.finish()
    assert peer.wire.frames()[-1] == (h2.DATA, h2.END_STREAM, 1, b"")


async def test_headers_may_come_in_pieces_and_say_what_went_wrong():
    peer = Peer()
    block = peer.encoder.encode([("grpc-status", "8"), ("grpc-message", "too%20much"), ("grpc-status-details-bin", "CAg")])
    peer.say(peer.headers(HEAD), frame(h2.HEADERS, h2.END_STREAM, 1, block[:3]), frame(h2.CONTINUATION, h2.END_HEADERS, 1, block[3:]))
    [error] = peer.ends
    assert (error.code(), error.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "too much")


BAD = {
    "a reset": (lambda peer: frame(h2.RST_STREAM, 0, 1, (2).to_bytes(4, "big")), "ABORTED", "reset by the other side"),
    "a refusal": (lambda peer: frame(h2.RST_STREAM, 0, 1, (7).to_bytes(4, "big")), "UNAVAILABLE", "reset"),
    "a goodbye before it began": (lambda peer: frame(h2.GOAWAY, 0, 0, bytes(8)), "UNAVAILABLE", "no new calls"),
    "a page": (lambda peer: peer.headers([(":status", "404")]), "UNIMPLEMENTED", "404"),
    "a compressed message": (lambda peer: peer.headers(HEAD) + frame(h2.DATA, 0, 1, message(b"x", 1)), "INTERNAL", "compressed"),
    "a huge message": (lambda peer: frame(h2.DATA, 0, 1, b"\x00\xff\xff\xff\xff"), "INTERNAL", "too large"),
    "a huge frame": (lambda peer: b"\xff\xff\xff" + bytes(6), "UNAVAILABLE", "too large"),
    "no status": (lambda peer: peer.headers(HEAD) + frame(h2.DATA, h2.END_STREAM, 1, b""), "INTERNAL", "without a status"),
    "bad headers": (lambda peer: frame(h2.HEADERS, h2.END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"), "INTERNAL", "not HTTP/2"),
    "a continuation of nothing": (lambda peer: frame(h2.CONTINUATION, h2.END_HEADERS, 1, b""), "INTERNAL", "out of place"),
    "bad details": (
        lambda peer: peer.headers([*HEAD, ("grpc-status", "x"), ("grpc-status-details-bin", "A")], h2.END_HEADERS | h2.END_STREAM),
        "UNKNOWN",
        "",
    ),
}


@pytest.mark.parametrize("what", BAD)
async def test_a_peer_that_errs_ends_it_once(what):
    octets, code, says = BAD[what]
    peer = Peer()
    peer.say(octets(peer))
    peer.stream.connection_lost(None)
    [error] = peer.ends
    assert error.code().name == code and says in error.details() and peer.wire.closing
    assert peer.stream.closed.done()


async def test_a_lost_connection_ends_it():
    peer = Peer()
    peer.say(peer.headers(HEAD))
    peer.stream.connection_lost(ConnectionResetError("reset"))
    assert [error.code() for error in peer.ends] == [grpc.StatusCode.ABORTED]


@pytest.mark.parametrize("stuck", [0, 1])
async def test_what_the_other_side_does_not_take_keeps_nothing_open(stuck):
    peer = Peer()
    peer.wire.stuck = stuck
    peer.stream.abort()
    assert peer.wire.closing and peer.wire.aborted is bool(stuck)
    assert [kind for kind, *_ in peer.wire.frames()][-1] == h2.RST_STREAM and not peer.ends


async def test_what_never_greets_is_no_http2():
    peer = Peer(settings=b"")
    peer.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(grpc.aio.AioRpcError, match="not HTTP/2"):
        await peer.stream.greeted
    assert not peer.ends


async def test_all_addresses_of_a_name_refusing_is_one_refusal(monkeypatch):
    each = f"[Errno {errno.ECONNREFUSED}] Connect call failed"

    async def refuse(*arguments, **settings):
        raise OSError(f"Multiple exceptions: {each} (::1), {each} (127.0.0.1)")

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", refuse, raising=False)
    with pytest.raises(grpc.aio.AioRpcError, match="Connection refused"):
        await h2.connect("localhost", 1, None, None, lambda: None, "SendStream")

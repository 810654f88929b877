"""What makes no sense by itself is told before anything is sent, and by its name; nobody listens where these clients look."""

import pytest

from fakes import fake
from help import refused
from virtufin.websocketmanager import WebSocketMessage
from virtufin.websocketmanager.protos import websocketmanager_pb2 as pb

WRONG = {
    "a url": (lambda it: it.connect(7), TypeError, "url: a str is needed, not int"),
    "tags": (lambda it: it.connect("ws://x/", tags={"a": 1}), TypeError, "tags: a dict of str to str is needed"),
    "headers": (lambda it: it.connect("ws://x/", headers=["a"]), TypeError, "headers: a dict of str to str"),
    "a number": (lambda it: it.connect("ws://x/", connect_timeout_ms="5"), TypeError, "connect_timeout_ms: an int is needed"),
    "too large": (lambda it: it.connect("ws://x/", connect_timeout_ms=1 << 40), ValueError, "connect_timeout_ms: .*out of range"),
    "yes": (lambda it: it.connect("ws://x/", auto_reconnect="yes"), TypeError, "auto_reconnect: a bool is needed, not str"),
    "a room": (lambda it: it.connect("ws://x/", rooms=[1]), TypeError, "rooms: each must be a str"),
    "one room": (lambda it: it.connect("ws://x/", rooms="abc"), TypeError, "rooms: a list is needed"),
    "a group": (lambda it: it.connect("ws://x/", reconnect={"base_ms": "x"}), ValueError, "reconnect: .*base_ms"),
    "half a letter": (lambda it: it.connect("ws://\ud800/"), ValueError, "url: .*surrogates"),
    "an id": (lambda it: it.send(7, "x"), TypeError, "id: a str is needed, not int"),
    "a time": (lambda it: it.send("a", "x", timeout_ms="5"), TypeError, "timeout_ms: an int is needed, not str"),
    "half a message": (lambda it: it.send("a", "\ud800"), ValueError, "message: .*surrogates"),
    "half a raw message": (lambda it: it.send_raw("a", "\ud800"), ValueError, "message: .*surrogates"),
    "a tag": (lambda it: it.set_tag("a", "b", 7), TypeError, "value: a str is needed, not int"),
    "one status": (lambda it: it.list(status="connected"), TypeError, "status: a list is needed"),
    "half a status": (lambda it: it.list(status=[1.5]), TypeError, "status: a name is needed, not float"),
    "a filter": (lambda it: it.list(["a"]), TypeError, "filter: a dict of tags is needed, not list"),
    "a mask": (lambda it: it.update("a", {}, update_mask="url"), TypeError, "update_mask: a list is needed"),
    "a topic": (lambda it: it.start_publish("a", 7), TypeError, "topic: a str is needed, not int"),
    "two messages": (lambda it: it.send_batch([{"message": "x", "data": b"y"}]), ValueError, "exclude each other"),
    "a batch's tag": (lambda it: it.send_batch([{"message": "x", "tag": "5"}]), TypeError, "tag: an int is needed, not str"),
    "a room's name": (lambda it: it.rooms.send([7], "x"), TypeError, "rooms: each must be a str"),
}


@pytest.mark.parametrize("what", WRONG)
async def test_it_is_told_by_its_name(both, what):
    call, kind, says = WRONG[what]
    async with both("127.0.0.1", 1) as client:
        with pytest.raises(kind, match=says):
            await call(client)


async def test_no_error_repeats_what_may_be_secret(both):
    async with both("127.0.0.1", 1) as client:
        with pytest.raises(TypeError) as raised:
            await client.connect("ws://x/", headers={"X-Api-Key": ["hush"]})
        assert "hush" not in str(raised.value)


async def test_a_batch_takes_both_spellings(both):
    seen = []

    async def handle(request, context):
        seen.extend(pb.SendBatchRequest.FromString(request).requests)
        return b""

    async with fake({"SendBatch": ("unary_unary", handle)}) as port, both("127.0.0.1", port) as client:
        await client.send_batch(
            [
                {"id": "a", "message": "x", "timeoutMs": 7, "contentType": "text/x"},
                {"id": "b", "data": b"y", "timeout_ms": 8, "tag": 9},
                {"id": "c", "message": b"z"},
                pb.SendRequest(id="d", message="w"),
            ]
        )
    one, two, three, four = seen
    assert (one.message, one.timeout_ms, one.content_type) == ("x", 7, "text/x")
    assert (two.data, two.timeout_ms, two.tag) == (b"y", 8, 9)
    assert (three.data, three.timeout_ms) == (b"z", 5000) and four.message == "w"


async def test_a_time_below_zero_is_refused_by_the_service_and_harms_no_stream(make):
    async with make() as client, client.send_stream() as stream:
        for call in (client.send, stream.send):
            await refused(call("nobody", "x", timeout_ms=-60_000), "INVALID_ARGUMENT", says="timeout_ms")
        await refused(stream.send("nobody", "x"), "NOT_FOUND")


async def test_whatever_holds_bytes_is_sent(both):
    seen = []

    async def handle(request, context):
        seen.append(request)
        return b""

    async with fake({"Send": ("unary_unary", handle)}, "virtufin.Rooms") as port, both("127.0.0.1", port) as client:
        for message in (b"x", bytearray(b"x"), memoryview(b"x")):
            await client.rooms.send("a", message)
    assert len(set(seen)) == 1 and len(seen) == 3


def test_json_that_goes_too_deep_is_no_known_message():
    with pytest.raises(ValueError, match="not JSON"):
        WebSocketMessage.parse("[" * 100_000)

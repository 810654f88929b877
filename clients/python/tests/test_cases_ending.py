"""Cases C90, C91 and C95 to C100: closing, retrying, and that nothing is left."""

import asyncio
import gc
import os
import pickle
import threading

import grpc
import pytest

from conftest import address, eventually, nothing_is_left
from fakes import fake, refusing
from help import SILENT, background, connected, refused, take, waiting_sends
from twin import on_a_thread
from virtufin.websocketmanager import (
    ClientClosedError,
    FullError,
    SyncWebSocketManagerClient,
    WebSocketManagerClient,
    WebSocketManagerError,
)
from virtufin.websocketmanager.protos import websocketmanager_pb2 as pb


async def test_c90_closed(make):
    client = make()
    await client.list()
    stream = client.send_stream()
    await client.close()
    await client.close()
    for call in (
        client.connect("ws://x/"),
        client.list(),
        client.get("a"),
        client.send("a", "x"),
        client.send_raw("a", "x"),
        client.get_tags("a"),
        client.rooms.send("a", "x"),
        client.receive("a").__anext__(),
        client.watch().__anext__(),
        stream.send("a", "x"),
        client.send_stream().send("a", "x"),
    ):
        error = await refused(call, "CANCELLED", says="the client is closed")
        assert isinstance(error, ClientClosedError)


async def test_c90_never_used(make):
    client = make()
    await client.close()
    await refused(client.list(), "CANCELLED", says="the client is closed")


async def test_c91_close_while_it_waits(make, upstream):
    async with make() as other, connected(other, upstream) as id:
        client = make()
        stream = client.send_stream()
        tasks = [
            background(client.send(id, SILENT, timeout_ms=60000)),
            background(client.receive(id).__anext__()),
            background(client.watch(id).__anext__()),
            background(stream.send(id, '{"burst": 0, "id": 2}', timeout_ms=60000)),
        ]
        await eventually("the Sends to wait", lambda: waiting_sends(other, id, 2))
        await client.close()
        for task in tasks:
            with pytest.raises(ClientClosedError):
                await asyncio.wait_for(task, 10)


# ---------------------------------------------------------------- retries


async def test_c95_retried(both):
    unavailable = grpc.StatusCode.UNAVAILABLE
    answer = pb.SendResponse(response="at last").SerializeToString()
    kind, handler = refusing(unavailable, "not_sent", 2, answer)
    async with fake({"Send": (kind, handler)}) as port, both("127.0.0.1", port) as client:
        assert (await client.send("a", "x")).response == "at last"
        assert handler.calls == 3
    kind, handler = refusing(unavailable, None, 1)
    async with fake({"List": (kind, handler)}) as port, both("127.0.0.1", port) as client:
        # To ask twice does no harm.
        assert not (await client.list()).connections and handler.calls == 2


@pytest.mark.parametrize(
    ("code", "reason"),
    [("ABORTED", "maybe_sent"), ("UNAVAILABLE", None), ("UNAVAILABLE", "dial_failed"), ("RESOURCE_EXHAUSTED", "full")],
)
async def test_c96_not_retried(both, code, reason):
    kind, handler = refusing(getattr(grpc.StatusCode, code), reason)
    async with fake({"Send": (kind, handler)}) as port, both("127.0.0.1", port) as client:
        error = await refused(client.send("a", "x"), code, reason)
        assert handler.calls == 1
        assert error.certainty == ("maybe_sent" if reason == "maybe_sent" else None)


async def test_retries_end(both):
    kind, handler = refusing(grpc.StatusCode.UNAVAILABLE, "not_sent")
    async with fake({"Send": (kind, handler)}) as port, both("127.0.0.1", port, retries=1) as client:
        error = await refused(client.send("a", "x"), "UNAVAILABLE", "not_sent")
        assert handler.calls == 2 and error.certainty == "not_sent"


async def test_c97_no_answer(both):
    async def deaf(request, context):
        await asyncio.Event().wait()

    async with fake({"List": ("unary_unary", deaf)}) as port, both("127.0.0.1", port, timeout=0.2) as client:
        await refused(client.list(), "DEADLINE_EXCEEDED")
        await refused(client.list(timeout=0.1), "DEADLINE_EXCEEDED")


async def test_a_stream_that_is_not_answered_is_given_up(both, monkeypatch):
    async def deaf(requests, context):
        await asyncio.Event().wait()
        yield b""

    monkeypatch.setattr("virtufin.websocketmanager.send_stream.MARGIN", 0.1)
    async with fake({"SendStream": ("stream_stream", deaf)}) as port, both("127.0.0.1", port) as client:
        stream = client.send_stream()
        short, long = background(stream.send("a", "x", timeout_ms=1)), background(stream.send("a", "y", timeout_ms=60000))
        await refused(short, "DEADLINE_EXCEEDED", says="does not answer")
        await refused(long, "ABORTED", "maybe_sent")
        await stream.close()
        await refused(stream.send("a", "x"), "CANCELLED", says="the send stream is closed")


async def test_c98_the_callers_code_throws(make, upstream, both, service):
    async with make() as client, connected(client, upstream) as id:
        await client.send_raw(id, '{"burst": 3}')
        with pytest.raises(ZeroDivisionError):
            async for _ in client.receive(id, from_start=True):
                raise ZeroDivisionError
        with pytest.raises(ZeroDivisionError):
            async with client.send_stream() as stream:
                await stream.send(id, '{"id": 1}')
                raise ZeroDivisionError
        assert (await client.send(id, '{"id": 2}')).response

    def throwing():
        raise ZeroDivisionError

    async with both(*address(service), token=throwing) as client:
        for call in (client.list(), client.receive("a").__anext__(), client.send_stream().send("a", "x")):
            with pytest.raises(ZeroDivisionError):
                await call


async def test_c99_details(make, upstream):
    async with make() as client, connected(client, upstream, limits={"max_in_flight": 1}) as id:
        bad = await refused(client.connect("http://example.com/"), "INVALID_ARGUMENT")
        assert (bad.reason, bad.field, bad.method) == ("invalid", "url", "Connect")
        waiting = background(client.send(id, SILENT, timeout_ms=60000))
        await eventually("the Send to wait", lambda: waiting_sends(client, id, 1))
        full = await refused(client.send(id, "x"), "RESOURCE_EXHAUSTED")
        assert full.reason == "full" and full.retry_after and full.retry_after > 0
        await client.send_raw(id, '{"drop": true}')
        lost = await refused(waiting, "ABORTED")
        assert (lost.reason, lost.certainty) == ("maybe_sent", "maybe_sent")
        # It goes through queues between processes as it is.
        copy = pickle.loads(pickle.dumps(full))
        assert isinstance(copy, FullError) and isinstance(copy, WebSocketManagerError)
        assert (str(copy), copy.retry_after, copy.code()) == (str(full), full.retry_after, full.code())


def descriptors():
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


async def use(client, url):
    async with client, connected(client, url) as id:
        await client.send(id, "echo")
        async with client.send_stream() as stream:
            await stream.send(id, '{"id": 2}')
        await take(client.receive(id, from_start=True), 1)


@pytest.mark.only("python")
async def test_c100_nothing_is_left(service, upstream):
    await use(WebSocketManagerClient(*address(service)), upstream)
    await nothing_is_left()
    before = descriptors(), threading.active_count()
    for _ in range(20):
        await use(WebSocketManagerClient(*address(service)), upstream)
    await nothing_is_left()
    await eventually("all to be closed", lambda: descriptors() <= before[0] and threading.active_count() <= before[1])


@pytest.mark.only("python-sync")
async def test_c100_nothing_is_left_by_the_twin(service, upstream):
    def use_twin():
        with SyncWebSocketManagerClient(*address(service)) as client:
            id = client.connect(upstream).id
            client.send(id, "echo")
            with client.send_stream() as stream:
                assert stream.submit(id, '{"id": 2}').result().response
            for _ in client.receive(id, from_start=True):
                break
            client.disconnect(id)

    await on_a_thread(use_twin)
    before = descriptors(), threading.active_count()
    for _ in range(20):
        await on_a_thread(use_twin)
    # gRPC closes its sockets in threads of its own.
    await eventually("all to be closed", lambda: descriptors() <= before[0] and threading.active_count() <= before[1])


def test_the_twin_cannot_be_used_in_its_own_loop(service):
    with SyncWebSocketManagerClient(*address(service)) as client:

        async def inside():
            client.list()

        with pytest.raises(RuntimeError, match="inside its own event loop"):
            client._portal.run(inside())


def test_a_client_belongs_to_one_loop(service):
    client = WebSocketManagerClient(*address(service))

    async def first():
        await client.list()

    async def second():
        with pytest.raises(RuntimeError, match="belongs to another event loop"):
            await client.list()

    async def both_loops():
        await first()
        await asyncio.to_thread(asyncio.run, second())
        await client.close()

    asyncio.run(both_loops())


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"host": "http://x/"}, "host: .*give the name alone"),
        ({"port": 0}, "port: 0 is not between"),
        ({"port": "5002"}, "port: '5002'"),
        ({"timeout": 0}, "timeout: 0 is not above"),
    ],
)
def test_bad_settings_are_told(settings, says):
    with pytest.raises(ValueError, match=says):
        WebSocketManagerClient(**settings)

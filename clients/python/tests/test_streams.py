"""What becomes of send streams and follows that are closed, left or let down at an awkward moment."""

import asyncio
import contextlib
import pickle
import threading

import grpc
import pytest

from conftest import eventually
from fakes import fake
from help import background, connected, fresh, refused
from virtufin.websocketmanager import ClientClosedError, WebSocketMessage, _current
from virtufin.websocketmanager.protos import websocketmanager_pb2 as pb


@contextlib.asynccontextmanager
async def silent():
    """The port of a server that takes connections and says nothing, and the connections that it has."""
    open_now = set()

    async def hold(reader, writer):
        open_now.add(writer)
        with contextlib.suppress(ConnectionError):
            while await reader.read(4096):
                pass
        open_now.discard(writer)
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], open_now


def echoing(answer):
    """A handler of a send stream: gives what `answer` makes of each request."""

    async def handle(requests, context):
        async for request in requests:
            yield answer(pb.SendRequest.FromString(request))

    return {"SendStream": ("stream_stream", handle)}


def echo(asked):
    return pb.SendResult(tag=asked.tag, response=pb.SendResponse(response=asked.message)).SerializeToString()


# ---------------------------------------------------------------- closing while it opens


@pytest.mark.parametrize("closes", ["the client", "the stream"])
async def test_a_stream_that_opens_ends_with_what_closes_it(both, closes):
    async with silent() as (port, connections), both("127.0.0.1", port, timeout=60) as client:
        stream = client.send_stream()
        waiting = background(stream.send("a", "x"))
        await eventually("the connection", lambda: connections)
        await (client.close() if closes == "the client" else stream.close())
        with pytest.raises(ClientClosedError, match=f"{closes.replace('the stream', 'the send stream')} is closed"):
            await asyncio.wait_for(waiting, 10)
        await eventually("nothing to be open", lambda: not connections)


@pytest.mark.parametrize("closes", ["the client", "the follow"])
async def test_a_follow_that_opens_ends_with_what_closes_it(both, closes):
    asked = asyncio.Event()

    async def deaf(request, context):
        asked.set()
        await asyncio.Event().wait()
        yield b""

    async with fake({"Receive": ("unary_stream", deaf)}) as port, both("127.0.0.1", port, timeout=60) as client:
        follow = client.receive("a")
        waiting = background(follow.__anext__())
        await asyncio.wait_for(asked.wait(), 10)
        await (client.close() if closes == "the client" else follow.aclose())
        with pytest.raises(ClientClosedError if closes == "the client" else StopAsyncIteration):
            await asyncio.wait_for(waiting, 10)


@pytest.mark.only("python")
async def test_a_cancelled_sender_gives_the_connection_up(both):
    async with silent() as (port, connections), both("127.0.0.1", port) as client:
        waiting = background(client.send_stream().send("a", "x"))
        await eventually("the connection", lambda: connections)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await eventually("nothing to be open", lambda: not connections)
        assert not client._link.streams


# ---------------------------------------------------------------- leaving


@pytest.mark.only("python")
async def test_leaving_waits_for_all_that_was_sent(both):
    async with fake(echoing(echo)) as port, both("127.0.0.1", port) as client:
        async with client.send_stream(max_in_flight=2) as stream:
            # More than there is room for: most have not even begun when the block is left.
            first = await stream.start("a", "first")
            calls = [background(stream.send("a", str(number))) for number in range(50)]
        assert [call.result().response for call in calls] == [str(number) for number in range(50)]
        assert first.result().response == "first"


@pytest.mark.only("python-sync")
async def test_leaving_the_twin_waits_for_all_that_was_submitted(both):
    async with fake(echoing(echo)) as port, both("127.0.0.1", port) as client:

        def submit_many():
            with client.inner.send_stream(max_in_flight=2) as stream:
                return [stream.submit("a", str(number)) for number in range(50)]

        futures = await asyncio.wait_for(asyncio.to_thread(submit_many), 10)
        assert [future.result(0).response for future in futures] == [str(number) for number in range(50)]


@pytest.mark.only("python-sync")
async def test_submitting_waits_for_room(both):
    go, asked = asyncio.Event(), []

    async def handle(requests, context):
        async for request in requests:
            asked.append(request)
            await go.wait()
            yield echo(pb.SendRequest.FromString(request))

    async with fake({"SendStream": ("stream_stream", handle)}) as port, both("127.0.0.1", port) as client:
        submitted = []

        def submit_many():
            with client.inner.send_stream(max_in_flight=3) as stream:
                for number in range(10):
                    submitted.append(stream.submit("a", str(number)))

        thread = threading.Thread(target=submit_many, daemon=True)
        thread.start()
        await eventually("the first request", lambda: asked)
        await eventually("the room to be taken", lambda: len(submitted) == 3)
        go.set()
        await eventually("all of them", lambda: len(submitted) == 10 and not thread.is_alive())
        assert [future.result(0).response for future in submitted] == [str(number) for number in range(10)]


@pytest.mark.only("python")
async def test_leaving_can_be_cancelled(both):
    def nothing(asked):
        return pb.SendResult(tag=asked.tag + 1_000_000).SerializeToString()

    async with fake(echoing(nothing)) as port, both("127.0.0.1", port) as client:
        stream = client.send_stream()
        inside = asyncio.Event()

        async def leave():
            async with stream:
                background(stream.send("a", "x", timeout_ms=60_000)).add_done_callback(lambda sent: sent.exception())
                inside.set()

        leaving = background(leave())
        await inside.wait()
        await eventually("the Send to wait", lambda: stream._waiting)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        await refused(stream.send("a", "x"), "CANCELLED", says="the send stream is closed")
        assert not client._link.streams


# ---------------------------------------------------------------- what the other side says


async def test_the_default_host_is_told_when_nobody_listens(both):
    # A name with an address of each kind where the machine has both.
    async with both("localhost", 1, retries=0) as client:
        await refused(client.send_stream().send("a", "x"), "UNAVAILABLE", says="nobody listens at localhost:1")


async def test_an_answer_that_is_none_ends_the_stream(both):
    async with fake(echoing(lambda asked: b"\xff\xff")) as port, both("127.0.0.1", port) as client:
        stream = client.send_stream()
        error = await refused(stream.send("a", "x"), "INTERNAL", says="no SendResult")
        assert error.certainty == "maybe_sent"
        await stream.close()


async def test_what_one_send_is_refused_is_its_own_matter(both):
    def refuse(asked):
        code = grpc.StatusCode.UNIMPLEMENTED.value[0]
        said = pb.SendResult(tag=asked.tag, code=code, message="no such rule", certainty=pb.SEND_CERTAINTY_NOT_SENT)
        return said.SerializeToString()

    async with fake(echoing(refuse)) as port, both("127.0.0.1", port) as client, client.send_stream() as stream:
        error = await refused(stream.send("a", "x"), "UNIMPLEMENTED", says="no such rule")
        assert "older version" not in str(error)
        copy = pickle.loads(pickle.dumps(error))
        assert (copy.certainty, copy.reason, str(copy)) == (error.certainty, error.reason, str(error))


async def test_a_message_too_large_for_a_call_says_so_and_the_stream_opens_again(make, upstream):
    async with make() as client, connected(client, upstream) as id, client.send_stream() as stream:
        assert (await stream.send(id, "first")).response == "first"
        with pytest.raises(grpc.aio.AioRpcError, match="20971|too large") as raised:
            await stream.send(id, "x" * (20 << 20))
        assert raised.value.code().name in ("OUT_OF_RANGE", "RESOURCE_EXHAUSTED", "INVALID_ARGUMENT")
        assert (await stream.send(id, "next")).response == "next"


async def test_a_follow_that_is_kept_goes_on_in_another_loop(make, upstream):
    async with make() as client, connected(client, upstream) as id:
        await client.send_raw(id, '{"burst": 4}')
        follow, seen = client.receive(id, from_start=True), []
        for _ in range(2):
            async for item in follow:
                seen.append(item.json()["number"])
                if len(seen) % 2 == 0:
                    break
        await follow.aclose()
        assert seen == [0, 1, 2, 3]


@pytest.mark.only("python")
async def test_the_innermost_client_that_is_open_sends_typed_messages(make, service):
    class Note(WebSocketMessage):
        MESSAGE_ID = "streams.note"
        text: str

    room = fresh("current")
    async with make() as other, make() as outer:
        async with make() as inner:
            assert _current.current() is inner
        # Another one is open as well: that `inner` is gone must not hide `outer`.
        assert _current.current() is outer
        assert len(await Note(text="x").send(room)) == 1
        await outer.close()
        assert _current.current() is other
    with pytest.raises(LookupError, match="none is open"):
        _current.current()

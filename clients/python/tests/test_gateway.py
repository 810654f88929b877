"""The gateway's way: dictionaries, by reflection alone."""

import asyncio
import base64
import subprocess
import sys

import grpc
import pytest

from conftest import DEADLINE, SOURCE, address, eventually
from fakes import fake
from help import background, fresh
from virtufin.api.client import ApiClient, ClientClosedError, UnknownNameError, WebSocketManagerError

ALONE = """
import asyncio, sys
from virtufin.api.client import ApiClient

async def main(host, port, url):
    async with ApiClient(host, int(port)) as client:
        wsm = client.gateway.websocketmanager
        made = await wsm.Connect({"url": url, "auto_reconnect": True})
        listed = await wsm.List()
        assert made["id"] in [connection["id"] for connection in listed["connections"]]
        assert (await wsm.Send({"id": made["id"], "message": "hello"}))["response"] == "hello"
        await wsm.Disconnect({"id": made["id"]})

asyncio.run(main(*sys.argv[1:]))
loaded = [name for name in sys.modules if name.startswith("virtufin.websocketmanager") or name.endswith("_pb2") and "virtufin" in name]
assert not loaded, loaded
print("alone")
"""


def test_it_needs_no_generated_code(service, upstream):
    host, port = address(service)
    command = [sys.executable, "-W", "error", "-c", ALONE, host, str(port), upstream]
    done = subprocess.run(command, env={"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True, timeout=DEADLINE)
    assert done.stdout == "alone\n", done.stderr


async def test_both_spellings_go_in_and_json_names_come_out(service, upstream):
    async with ApiClient(*address(service)) as client:
        wsm = client.gateway.websocketmanager
        tag = fresh("api")
        snake = await wsm.Connect({"url": upstream, "auto_reconnect": True, "tags": {"case": tag}, "reconnect": {"base_ms": 100}})
        camel = await wsm.Connect(url=upstream, autoReconnect=True, tags={"case": tag}, reconnect={"baseMs": 100})
        assert snake["connectionId"] == snake["id"] and snake["status"] == "CONNECTED"
        listed = await wsm.list(filters=[{"key": "case", "value": tag}])
        assert [found["autoReconnect"] for found in listed["connections"]] == [True, True] and listed["total"] == "2"
        for made in (snake, camel):
            assert await wsm.disconnect(id=made["id"]) == {}
        assert (await wsm.List(filters=[{"key": "case", "value": tag}]))["connections"] == []


async def test_bytes_and_streams(service, upstream):
    async with ApiClient(*address(service)) as client:
        wsm = client.gateway.websocketmanager
        id = (await wsm.Connect({"url": upstream}))["id"]
        answer = await wsm.Send({"id": id, "data": b"\x00\xff"})
        assert base64.b64decode(answer["data"]) == b"\x00\xff"
        await wsm.SendRaw(id=id, message='{"burst": 3}')
        seen = []
        async for message in wsm.Receive({"id": id, "from_start": True}):
            seen.append(message)
            if len(seen) == 4:
                break
        assert [message.get("text") for message in seen[1:]] == [f'{{"number": {number}}}' for number in range(3)]
        results = wsm.SendStream([{"id": id, "message": '{"id": 1}', "tag": 5}, {"id": "nobody", "message": "x", "tag": 6}])
        found = {result["tag"]: result["code"] async for result in results}
        assert found == {"5": 0, "6": 5}
        room = fresh("api")
        position = (await client.gateway.rooms.Send(rooms=[room], message="x"))["positions"][0]
        assert (position["room"], position["offset"]) == (room, "1")
        assert (await client.gateway.rooms.list_rooms(prefix=room))["rooms"] == []
        assert "virtufin.WebSocketManager" in await client.gateway.services()
        assert {"Connect", "Watch"} <= set(await wsm.methods())
        await wsm.Disconnect(id=id)


async def test_what_is_wrong_is_named(service):
    async with ApiClient(*address(service)) as client:
        wsm = client.gateway.websocketmanager
        for call, kind, says in [
            (wsm.Conect({}), UnknownNameError, "websocketmanager has no method 'Conect'; did you mean 'Connect'"),
            (client.gateway.websocketmanger.List(), UnknownNameError, "did you mean 'WebSocketManager'"),
            (wsm.Connect({"ulr": "x"}), UnknownNameError, "there is no field 'ulr'; did you mean 'url'"),
            (wsm.Connect({"reconnect": {"basems": 1}}), UnknownNameError, "Connect.reconnect: there is no field 'basems'"),
            (wsm.Connect({"url": 7}), ValueError, "url"),
            (wsm.Connect("ws://x/"), TypeError, "a dict is needed, not str"),
            (wsm.Receive({"id": "x"}), TypeError, "use `async for"),
        ]:
            with pytest.raises(kind, match=says.replace("(", r"\(")):
                await call
        with pytest.raises(TypeError, match="use `await"):
            async for _ in wsm.List():
                pass
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await wsm.Get(id="nobody")
        assert isinstance(raised.value, WebSocketManagerError) and raised.value.reason == "not_found"
        with pytest.raises(grpc.aio.AioRpcError, match="cursor"):
            async for _ in wsm.Receive(id="x", cursor="xx"):
                pass
    with pytest.raises(WebSocketManagerError, match="the client is closed"):
        await wsm.List()


async def test_what_is_wrong_within_a_stream_of_requests_is_named(service):
    async def later():
        yield {"id": "nobody", "message": "x"}
        yield {"ulr": "x"}

    async with ApiClient(*address(service)) as client:
        wsm = client.gateway.websocketmanager
        for requests, kind, says in [
            ([{"ulr": 1}], UnknownNameError, "SendStream: there is no field 'ulr'"),
            ([7], TypeError, "a dict is needed, not int"),
            (later(), UnknownNameError, "there is no field 'ulr'"),
        ]:
            with pytest.raises(kind, match=says):
                async for _ in wsm.SendStream(requests):
                    pass
        with pytest.raises(TypeError, match="keyword arguments go with a dict, not with str"):
            wsm.Connect("ws://x/", autoReconnect=True)


async def test_closing_ends_what_waits(service, upstream):
    client = ApiClient(*address(service))
    wsm = client.gateway.websocketmanager
    id = (await wsm.Connect({"url": upstream}))["id"]
    await wsm.SendRaw(id=id, message="first")
    seen = []

    async def follow():
        async for message in wsm.Receive(id=id, fromStart=True):
            seen.append(message["text"])

    following = background(follow())
    await eventually("the first message", lambda: seen == ["first"])
    async with ApiClient(*address(service)) as other:
        await client.close()
        with pytest.raises(ClientClosedError, match="the client is closed"):
            await asyncio.wait_for(following, 10)
        await other.gateway.websocketmanager.Disconnect(id=id)


async def test_closing_ends_a_question_to_reflection():
    asked = asyncio.Event()

    async def deaf(requests, context):
        asked.set()
        await asyncio.Event().wait()
        yield b""

    handlers = {"ServerReflectionInfo": ("stream_stream", deaf)}
    async with fake(handlers, "grpc.reflection.v1.ServerReflection") as port:
        client = ApiClient("127.0.0.1", port, timeout=60)
        listing = background(client.gateway.services())
        await asyncio.wait_for(asked.wait(), 10)
        await client.close()
        with pytest.raises(ClientClosedError):
            await asyncio.wait_for(listing, 10)


async def test_nobody_there_is_told():
    async with ApiClient("127.0.0.1", 1) as client:
        with pytest.raises(WebSocketManagerError, match="nobody listens at 127.0.0.1:1"):
            await client.gateway.websocketmanager.List()

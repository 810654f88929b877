"""Cases C92 to C94: clients and servers of different age."""

import pathlib
import subprocess
import sys

import grpc.aio
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from conftest import DEADLINE
from fakes import fake
from help import fresh, refused
from virtufin.websocketmanager import CONNECTED, UnsupportedError
from virtufin.websocketmanager.protos import websocketmanager_pb2 as pb

# One description for the cases of all clients.
PROTOS = pathlib.Path(__file__).parents[2] / "proto"
SERVICE = "virtufin.WebSocketManager"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The service as it was described first, by method name."""
    out = tmp_path_factory.mktemp("base") / "set"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", f"--descriptor_set_out={out}", "base.proto"]
    subprocess.run(command, check=True, timeout=DEADLINE)
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file:
        pool.Add(file)
    methods = pool.FindServiceByName(SERVICE).methods
    get = message_factory.GetMessageClass
    return {method.name: (get(method.input_type), get(method.output_type)) for method in methods}


# Field 1000, a text, and field 2 as an enum value that nobody knows yet.
UNKNOWN_FIELD = b"\xc2\x3e\x03new"
UNKNOWN_STATUS = b"\x10\x63"


async def test_c92_a_newer_server(both):
    async def connect(request, context):
        return pb.ConnectResponse(id="a").SerializeToString() + UNKNOWN_STATUS + UNKNOWN_FIELD

    async def receive(request, context):
        yield pb.ReceivedMessage(id="a", text="known", cursor="c").SerializeToString() + UNKNOWN_FIELD

    handlers = {"Connect": ("unary_unary", connect), "Receive": ("unary_stream", receive)}
    async with fake(handlers) as port, both("127.0.0.1", port) as client:
        made = await client.connect("ws://example.com/")
        assert (made.id, made.status) == ("a", 99)
        async for message in client.receive("a", give_up_after=0):
            assert message.text == "known"


def old_handlers(base):
    """An older server, with one connection."""
    tags = {"a": "b"}

    def answering(name, **fields):
        async def handle(request, context):
            taken, given = base[name]
            # What it does not know is skipped, as by any server.
            taken.FromString(request)
            return given(**fields).SerializeToString()

        return "unary_unary", handle

    handlers = {name: answering(name) for name in base}
    handlers["Connect"] = answering("Connect", id="a", status=2, connection_id="a")
    handlers["List"] = answering("List", connections=[{"id": "a", "url": "ws://x/", "status": 2, "tags": tags}])
    handlers["Send"] = answering("Send", response="reply")
    handlers["GetTag"] = answering("GetTag", value="b")
    handlers["GetTags"] = answering("GetTags", tags=tags)
    return handlers


async def test_c93_an_older_server(both, base):
    async with fake(old_handlers(base)) as port, both("127.0.0.1", port) as client:
        made = await client.connect("ws://x/", True, tags={"a": "b"})
        assert (made.id, made.connection_id, made.status) == ("a", "a", CONNECTED)
        [found] = (await client.list({"a": "b"})).connections
        assert (found.id, found.status, dict(found.tags)) == ("a", CONNECTED, {"a": "b"})
        assert (await client.send("a", "x")).response == "reply"
        await client.send_raw("a", "x")
        await client.start_publish("a", "t")
        await client.stop_publish("a")
        await client.set_tag("a", "a", "b")
        assert await client.get_tag("a", "a") == "b"
        await client.set_tags("a", {"a": "b"})
        assert await client.get_tags("a") == {"a": "b"}
        await client.disconnect("a")
        for name, call in {
            "Get": client.get("a"),
            "SendBatch": client.send_batch([{"id": "a", "message": "x"}]),
            "Receive": client.receive("a").__anext__(),
            "History": client.rooms.history("r"),
        }.items():
            error = await refused(call, "UNIMPLEMENTED", says=f"does not know {name}: it is of an older version")
            assert isinstance(error, UnsupportedError)
        async with client.send_stream() as stream:
            await refused(stream.send("a", "x"), "UNIMPLEMENTED")


async def test_c94_an_older_client(service, upstream, base):
    async with grpc.aio.insecure_channel(service.grpc) as channel:

        async def call(name, **fields):
            taken, given = base[name]
            method = channel.unary_unary(
                f"/{SERVICE}/{name}", request_serializer=taken.SerializeToString, response_deserializer=given.FromString
            )
            return await method(taken(**fields), timeout=20)

        tags = {"case": fresh("c94")}
        made = await call("Connect", url=upstream, auto_reconnect=True, tags=tags)
        assert made.id == made.connection_id and made.status == 2
        id = made.id
        [found] = (await call("List", filters=[{"key": "case", "value": tags["case"]}])).connections
        assert (found.id, found.url, found.status, dict(found.tags)) == (id, upstream, 2, tags)
        assert (await call("Send", id=id, message="hello", timeout_ms=5000)).response == "hello"
        await call("SendRaw", id=id, message="x")
        await call("StartPublish", id=id, topic="old")
        await call("StopPublish", id=id)
        await call("SetTag", id=id, key="k", value="v")
        assert (await call("GetTag", id=id, key="k")).value == "v"
        await call("SetTags", id=id, tags={"k": "w"})
        assert dict((await call("GetTags", id=id)).tags) == {**tags, "k": "w"}
        await call("Disconnect", id=id)
        with pytest.raises(grpc.aio.AioRpcError) as gone:
            await call("Send", id=id, message="x")
        assert gone.value.code() is grpc.StatusCode.NOT_FOUND


async def test_code_of_the_earlier_client_runs(service, upstream):
    """As its users wrote it; only the address is ours."""
    from virtufin.websocketmanager import WebSocketManagerClient
    from virtufin.websocketmanager.client import WebSocketManagerClient as Same

    assert Same is WebSocketManagerClient
    host, port = service.grpc.split(":")
    async with WebSocketManagerClient(host=host, port=int(port)) as client:
        connection = await client.connect(upstream, auto_reconnect=True)
        assert connection.status == CONNECTED
        assert connection.id in [c.id for c in (await client.list()).connections]
        await client.start_publish(connection.id, "earlier")
        response = await client.send(connection.id, "hello", timeout_ms=5000)
        assert response.response == "hello"
        await client.send_raw(connection.id, "raw")
        await client.set_tag(connection.id, "a", "b")
        await client.set_tags(connection.id, {"c": "d"})
        assert await client.get_tag(connection.id, "a") == "b" and await client.get_tag(connection.id, "x") is None
        assert await client.get_tags(connection.id) == {"a": "b", "c": "d"}
        await client.stop_publish(connection.id)
        await client.disconnect(connection.id)
        try:
            await client.send(connection.id, "gone")
        except grpc.aio.AioRpcError as error:
            assert error.code() == grpc.StatusCode.NOT_FOUND
        else:
            raise AssertionError("it is gone")

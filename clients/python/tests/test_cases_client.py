"""Cases C81 to C91 and C95 to C100: the client itself, and what it does when things go wrong."""

import asyncio
import contextlib
import socket

import grpc
import pytest
import trustme

from conftest import address, eventually, serving
from fakes import fake
from help import background, connected, fresh, refused, take
from virtufin.websocketmanager import ClientClosedError, Tls
from virtufin.websocketmanager.protos import websocketmanager_pb2 as pb

EGRESS = ("--egress-allow", "127.0.0.0/8")


@contextlib.asynccontextmanager
async def own_service(folder, *flags, **ports):
    """A service of the test's own, with the loop going on while it starts and ends."""
    context = serving(folder, *EGRESS, *flags, **ports)
    service = await asyncio.to_thread(context.__enter__)
    try:
        yield service
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)


# ---------------------------------------------------------------- where nobody answers


async def test_c81_nobody_there(both):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        async with both("127.0.0.1", port) as client:
            says = f"nobody listens at 127.0.0.1:{port}"
            error = await refused(client.list(), "UNAVAILABLE", says=says)
            assert error.certainty == "not_sent"
            await refused(client.receive("a").__anext__(), "UNAVAILABLE", says=says)
            await refused(client.send_stream().send("a", "x"), "UNAVAILABLE", says=says)


async def http_server(answer):
    async def serve(reader, writer):
        await reader.read(1024)
        writer.write(answer)
        await writer.drain()
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"])
async def test_c82_wrong_port(both, service, answer):
    server = await http_server(answer)
    port = server.sockets[0].getsockname()[1]
    async with server, both("127.0.0.1", port, retries=0) as client:
        says = f"127.0.0.1:{port} speaks HTTP/1.1, not gRPC: the gRPC port is 5002"
        await refused(client.list(), "UNAVAILABLE", says=says)
        await refused(client.send_stream().send("a", "x"), "UNAVAILABLE", says=says)
    # The admin port speaks HTTP/2 as well, but not gRPC; older grpcio sees only that it is hung up on.
    async with both("127.0.0.1", int(service.admin.rpartition(":")[2]), retries=0) as client:
        for call in (client.list(), client.send_stream().send("a", "x")):
            with pytest.raises(grpc.aio.AioRpcError, match="the gRPC port is 5002"):
                await call


async def test_the_http_port_serves_grpc_as_well(both, service, upstream):
    async with both("127.0.0.1", int(service.http.rpartition(":")[2])) as client, connected(client, upstream) as id:
        async with client.send_stream() as stream:
            assert (await stream.send(id, "hello")).response == "hello"


# ---------------------------------------------------------------- TLS and tokens


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pki")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    issued = authority.issue_cert("localhost", "127.0.0.1", "service.example")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    with open(folder / "cert.pem", "wb") as file:
        for pem in issued.cert_chain_pems:
            file.write(pem.bytes())
    return folder


@pytest.fixture(scope="module")
def tls_service(pki, tmp_path_factory):
    flags = ("--tls-cert", str(pki / "cert.pem"), "--tls-key", str(pki / "key.pem"))
    with serving(tmp_path_factory.mktemp("tls"), *EGRESS, *flags) as service:
        yield service


async def test_c83_plain_to_tls(both, tls_service):
    async with both(*address(tls_service), retries=0) as client:
        await refused(client.list(), "UNAVAILABLE", says="speaks TLS: connect with tls=True")
        await refused(client.send_stream().send("a", "x"), "UNAVAILABLE", says="speaks TLS: connect with tls=True")


async def test_c84_tls_to_plain(both, service):
    async with both(*address(service), tls=True, retries=0) as client:
        await refused(client.list(), "UNAVAILABLE", says="does not speak TLS")
        await refused(client.send_stream().send("a", "x"), "UNAVAILABLE", says="does not speak TLS")


async def test_c85_unknown_authority(both, tls_service):
    async with both(*address(tls_service), tls=True, retries=0) as client:
        await refused(client.list(), "UNAVAILABLE", says="certificate of 127.0.0.1")
        await refused(client.send_stream().send("a", "x"), "UNAVAILABLE", says="certificate of 127.0.0.1")
    with pytest.raises(ValueError, match=r"tls.ca: .*give PEM or the path"):
        await both(*address(tls_service), tls=Tls(ca="no/such/file")).list()


@pytest.mark.parametrize("name", [None, "service.example"])
async def test_c86_tls(both, tls_service, upstream, pki, name):
    tls = Tls(ca=pki / "ca.pem", server_name=name)
    async with both(*address(tls_service), tls=tls) as client, connected(client, upstream) as id:
        assert (await client.list()).total == 1
        async with client.send_stream() as stream:
            assert (await stream.send(id, "hello")).response == "hello"
        await client.send_raw(id, "x")
        assert len(await take(client.receive(id, from_start=True), 2)) == 2


@pytest.mark.parametrize("token", ["secret", lambda: "secret"], ids=["text", "function"])
async def test_c87_token(both, token):
    seen = {}

    def note(context, name):
        seen[name] = dict(context.invocation_metadata()).get("authorization")

    async def unary(request, context):
        note(context, "List")
        return b""

    async def stream(request, context):
        note(context, "Receive")
        yield pb.ReceivedMessage(id="a", text="x").SerializeToString()

    async def duplex(requests, context):
        note(context, "SendStream")
        async for request in requests:
            asked = pb.SendRequest.FromString(request)
            answer = pb.SendResponse(response=asked.message)
            yield pb.SendResult(tag=asked.tag, response=answer).SerializeToString()

    handlers = {"List": ("unary_unary", unary), "Receive": ("unary_stream", stream), "SendStream": ("stream_stream", duplex)}
    async with fake(handlers) as port, both("127.0.0.1", port, token=token) as client:
        await client.list()
        await take(client.receive("a"), 1)
        async with client.send_stream() as sends:
            # A server of another make; texts that need many frames and more than one window.
            for text in ("x", "y" * 100_000, "z" * 3_000_000):
                assert (await sends.send("a", text)).response == text
    assert seen == dict.fromkeys(["List", "Receive", "SendStream"], "Bearer secret")


# ---------------------------------------------------------------- restarts


async def test_c88_c89_over_a_restart(both, upstream, tmp_path):
    topic, id = fresh("c89"), fresh("c89")
    async with contextlib.AsyncExitStack() as stack:
        first = contextlib.AsyncExitStack()
        service = await first.enter_async_context(own_service(tmp_path))
        host, port = address(service)
        client = await stack.enter_async_context(both(host, port))
        await client.connect(upstream, True, connection_id=id, publish=topic, reconnect={"base_ms": 50})
        seen = []

        async def follow():
            async for item in client.receive(topic=topic, from_start=True):
                seen.append(item)

        follower = background(follow())
        await client.send_raw(id, "before")
        await eventually("the first message", lambda: [item.text for item in seen] == ["before"])
        stream = client.send_stream()
        assert (await stream.send(id, '{"id": 1}')).response
        await first.aclose()
        again = own_service(tmp_path, http_port=int(service.http.rpartition(":")[2]), grpc_port=port)
        await stack.enter_async_context(again)
        assert (await client.list()).total == 1

        async def open_again():
            with contextlib.suppress(grpc.aio.AioRpcError):
                return bool(await client.send_raw(id, "after") is not None)

        await eventually("the connection", open_again)
        assert (await stream.send(id, '{"id": 2}')).response
        await stream.close()
        texts = lambda: [item.text for item in seen if item.kind == "message"]
        await eventually("the message after the restart", lambda: "after" in texts())
        assert texts()[:1] == ["before"] and texts().count("before") == texts().count("after") == 1
        await client.close()
        with pytest.raises(ClientClosedError):
            await follower



async def test_a_follow_by_id_outlives_a_drain_and_ends_with_the_connection(both, upstream, tmp_path):
    id, seen = fresh("drain"), []
    async with contextlib.AsyncExitStack() as stack:
        first = contextlib.AsyncExitStack()
        service = await first.enter_async_context(own_service(tmp_path))
        host, port = address(service)
        client = await stack.enter_async_context(both(host, port))
        await client.connect(upstream, True, connection_id=id, reconnect={"base_ms": 50})
        await client.send(id, "before")

        async def follow():
            async for item in client.receive(id, from_start=True):
                seen.append((item.kind, item.text))

        follower = background(follow())
        await eventually("the first message", lambda: ("message", "before") in seen)
        await first.aclose()
        await stack.enter_async_context(own_service(tmp_path, http_port=int(service.http.rpartition(":")[2]), grpc_port=port))

        async def heard():
            with contextlib.suppress(grpc.aio.AioRpcError):
                await client.send_raw(id, "after")
            return ("message", "after") in seen

        await eventually("what comes after the restart", heard)
        assert [kind for kind, _ in seen].count("gap") >= 1 and seen[0] == ("message", "before")
        await client.disconnect(id)
        await asyncio.wait_for(follower, 10)
        assert seen[-1][0] == "end"

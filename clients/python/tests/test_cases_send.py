"""Cases C29 to C53: Send in all its ways."""

import asyncio
import json

import pytest

from conftest import eventually
from help import SILENT, background, connected, refused, take, waiting_sends
from virtufin.websocketmanager import DISCONNECTED, FullError
from virtufin.websocketmanager.protos import websocketmanager_pb2 as pb

SCRIPTS = 'žluťoučký kůň, 汉字, עברית, 🐎, \u202e, "quoted", \\, \n'


async def test_c29_text(make, upstream):
    async with make() as client, connected(client, upstream) as id:
        assert (await client.send(id, "hello")).response == "hello"


async def test_c30_unicode(make, upstream):
    async with make() as client, connected(client, upstream) as id:
        assert (await client.send(id, SCRIPTS)).response == SCRIPTS


async def test_c31_binary(make, upstream):
    async with make() as client, connected(client, upstream) as id:
        answer = await client.send(id, bytes(range(256)))
        assert answer.data == bytes(range(256)) and not answer.response


async def test_c32_many_at_once(make, upstream):
    async with make() as client, connected(client, upstream) as id:
        sent = [json.dumps({"id": number}) for number in range(100)]
        answers = await asyncio.gather(*(client.send(id, text) for text in sent))
        assert [answer.response for answer in answers] == sent


async def test_c33_large(make, upstream):
    async with make() as client, connected(client, upstream) as id:
        text = "0123456789abcdef" * 65536
        assert (await client.send(id, text)).response == text


async def test_c34_too_large_for_the_connection(make, upstream):
    async with make() as client, connected(client, upstream) as id:
        await refused(client.send(id, "x" * (2 << 20)), "INVALID_ARGUMENT", field="message")
        assert (await client.send(id, "next")).response == "next"


async def test_c35_too_large_for_a_call(make, upstream):
    async with make() as client, connected(client, upstream) as id:
        await refused(client.send(id, "x" * (20 << 20)), "INVALID_ARGUMENT", "invalid", "body", says="20971")
        assert (await client.send(id, "next")).response == "next"


async def test_c36_no_reply_in_time(make, upstream):
    async with make() as client, connected(client, upstream) as id:
        await refused(client.send(id, SILENT, timeout_ms=100), "DEADLINE_EXCEEDED", "timed_out")


async def test_c37_the_callers_deadline(make, upstream):
    async with make() as client, connected(client, upstream) as id:
        call = client.send(id, SILENT, timeout_ms=60000, timeout=0.2)
        await refused(asyncio.wait_for(call, 20), "DEADLINE_EXCEEDED")


@pytest.mark.only("python")
async def test_c38_cancelled(make, upstream):
    async with make() as client, connected(client, upstream) as id:
        task = background(client.send(id, SILENT, timeout_ms=60000))
        await eventually("the Send to wait", lambda: waiting_sends(client, id, 1))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await eventually("nothing to wait", lambda: waiting_sends(client, id, 0))
        assert (await client.send(id, '{"id": 2}')).response == '{"id": 2}'


async def test_c39_send_to_nobody(make):
    async with make() as client:
        await refused(client.send("nobody", "x"), "NOT_FOUND")


async def test_c40_nothing_to_send(make, upstream):
    async with make() as client, connected(client, upstream) as id:
        await refused(client.send(id, ""), "INVALID_ARGUMENT")
        with pytest.raises(TypeError, match="a str or bytes is needed, not int"):
            await client.send(id, 7)


async def test_c41_socket_not_open(make, upstream):
    async with make() as client, connected(client, upstream) as id:
        await client.send_raw(id, '{"close": 4001}')

        async def dead():
            return (await client.get(id)).status == DISCONNECTED

        await eventually("the close", dead)
        await refused(client.send(id, "x"), "FAILED_PRECONDITION", "not_open")


async def test_c42_maybe_sent(make, upstream):
    async with make() as client, connected(client, upstream) as id:
        error = await refused(client.send(id, '{"drop": true, "id": 1}'), "ABORTED", "maybe_sent")
        assert error.certainty == "maybe_sent"
        assert (await client.get(id)).counters.messages_out == 1


async def test_c43_disconnected_while_it_waits(make, upstream):
    async with make() as client, connected(client, upstream) as id:
        task = background(client.send(id, SILENT))
        await eventually("the Send to wait", lambda: waiting_sends(client, id, 1))
        await client.disconnect(id)
        await refused(task, "ABORTED", "maybe_sent")


async def test_c44_broken_protocol(make, upstream):
    async with make() as client, connected(client, upstream) as id:
        with pytest.raises(Exception, match="protocol|maybe_sent") as raised:
            await client.send(id, '{"garbage": true, "id": 1}')
        assert (raised.value.code().name, raised.value.reason) in [("INTERNAL", "peer_protocol"), ("ABORTED", "maybe_sent")]


RULES = [
    ("auto", '{"id": "a1"}'),
    ({"json": {"request_path": "/req_id", "inject": True}}, '{"op": "x"}'),
    ("json_rpc", '{"jsonrpc": "2.0", "id": 5, "result": 1}'),
    ("fifo", "status?"),
    ({"match": {"path": "/type", "equals": "ready"}}, '{"type": "ready"}'),
]


@pytest.mark.parametrize(("rule", "text"), RULES, ids=[str(rule)[:12] for rule, _ in RULES])
async def test_c45_correlation_rules(make, upstream, rule, text):
    async with make() as client, connected(client, upstream) as id:
        response = (await client.send(id, text, correlation=rule)).response
        assert set(json.loads(text).items()) <= set(json.loads(response).items()) if text[0] == "{" else response == text


async def test_c45_prefix_and_array(make, upstream):
    async with make() as client, connected(client, upstream, correlation="prefix") as id:
        assert (await client.send(id, b"\x00\xff")).data == b"\x00\xff"
        array = pb.Correlation(array=pb.ArrayRule(position=1))
        answer = (await client.send(id, '[2, "a1", "Heartbeat", {}]', correlation=array)).response
        assert json.loads(answer) == [3, "a1", {}]
        with pytest.raises(ValueError, match="did you mean 'json_rpc'"):
            await client.send(id, "x", correlation="jsonrpc")


async def test_c46_same_id_twice(make, upstream):
    async with make() as client, connected(client, upstream) as id:
        first = background(client.send(id, SILENT, timeout_ms=60000))
        await eventually("the Send to wait", lambda: waiting_sends(client, id, 1))
        await refused(client.send(id, SILENT), "ALREADY_EXISTS", "correlation_in_use")
        await client.disconnect(id)
        await refused(first, "ABORTED")


async def test_c47_full(make, upstream):
    async with make() as client, connected(client, upstream, limits={"max_in_flight": 1}) as id:
        first = background(client.send(id, SILENT, timeout_ms=60000))
        await eventually("the Send to wait", lambda: waiting_sends(client, id, 1))
        error = await refused(client.send(id, '{"id": 2}'), "RESOURCE_EXHAUSTED", "full")
        assert isinstance(error, FullError)
        await client.disconnect(id)
        await refused(first, "ABORTED")


async def test_c48_doubt_of_fifo(make, upstream):
    async with make() as client, connected(client, upstream) as id:
        await refused(client.send(id, '{"burst": 0}', timeout_ms=50), "DEADLINE_EXCEEDED")
        await refused(client.send(id, "next"), "FAILED_PRECONDITION", "fifo_resync")


async def test_c49_send_raw(make, upstream):
    async with make() as client, connected(client, upstream) as id:
        await client.send_raw(id, "text")
        await client.send_raw(id, b"\x00\xff")
        first, second = await take(client.receive(id, from_start=True), 2)
        assert (first.text, first.data, second.text, second.data) == ("text", b"text", None, b"\x00\xff")


async def test_c50_send_raw_to_nobody(make):
    async with make() as client:
        await refused(client.send_raw("nobody", "x"), "NOT_FOUND")


async def test_c51_stream(make, upstream):
    async with make() as client, connected(client, upstream) as id:
        sent = [json.dumps({"id": number}) for number in range(500)]
        async with client.send_stream(max_in_flight=100) as stream:
            answers = await asyncio.gather(*(stream.send(id, text) for text in sent))
        assert [answer.response for answer in answers] == sent


async def test_c52_a_streams_failures(make, upstream):
    async with make() as client, connected(client, upstream) as id, client.send_stream() as stream:
        good, nobody, late = await asyncio.gather(
            stream.send(id, '{"id": 7}'),
            stream.send("nobody", "x"),
            stream.send(id, SILENT, timeout_ms=50),
            return_exceptions=True,
        )
        assert good.response == '{"id": 7}'
        assert (nobody.code().name, nobody.certainty) == ("NOT_FOUND", "not_sent")
        assert (late.code().name, late.certainty) == ("DEADLINE_EXCEEDED", "maybe_sent")
        assert (await stream.send(id, '{"id": 8}')).response == '{"id": 8}'


async def test_c53_batch(make, upstream):
    async with make() as client, connected(client, upstream) as id:
        requests = [{"id": id, "message": '{"id": 1}', "tag": 5}, {"id": "nobody", "message": "x"}, {"id": id, "message": b"\x00"}]
        one, two, three = await client.send_batch(requests)
        assert (one.code, one.tag, one.response.response) == (0, 5, '{"id": 1}')
        assert (two.code, two.certainty) == (5, pb.SEND_CERTAINTY_NOT_SENT)
        assert (three.code, three.response.data) == (0, b"\x00")
        with pytest.raises(ValueError, match="did you mean 'message'"):
            await client.send_batch([{"id": id, "mesage": "x"}])

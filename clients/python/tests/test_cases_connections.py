"""Cases C1 to C28: Connect, List, Get, Update, Disconnect, tags."""

import socket

import pytest

from conftest import eventually
from help import connected, fresh, refused, take
from virtufin.websocketmanager import CONNECTED, InvalidArgumentError
from virtufin.websocketmanager.protos import websocketmanager_pb2 as pb

EVERYTHING = {
    "auto_reconnect": True,
    "headers": {"X-Api-Key": "abc"},
    "subprotocols": ["echo.v1"],
    "connect_timeout_ms": 5000,
    "reconnect": {"base_ms": 100, "maxMs": 1000},
    "limits": {"per_second": 1000, "burst": 100, "max_in_flight": 50},
    "idle": {"pong_ms": 45000},
    "heartbeat": {"ws_ping": True, "interval_ms": 20000},
    "correlation": {"json": {"request_path": "/req_id"}},
    "max_message_bytes": 65536,
    "variables": None,
}


async def test_c1_connect(make, upstream):
    async with make() as client:
        made = await client.connect(upstream)
        assert made.id and made.id == made.connection_id
        assert made.status == CONNECTED and made.created
        await client.disconnect(made.id)


async def test_c2_connect_again(make, upstream):
    async with make() as client, connected(client, upstream, connection_id=fresh("c2")) as id:
        again = await client.connect(upstream, connection_id=id)
        assert (again.id, again.created) == (id, False)


async def test_c3_id_in_use(make, upstream):
    async with make() as client, connected(client, upstream, connection_id=fresh("c3")) as id:
        await refused(client.connect(upstream, tags={"a": "b"}, connection_id=id), "ALREADY_EXISTS", "id_in_use")


async def test_c4_every_option(make, upstream):
    async with make() as client:
        made = await client.connect(upstream, tags={"venue": "x"}, **EVERYTHING)
        assert made.subprotocol == "echo.v1"
        found = await client.get(made.id)
        assert dict(found.tags) == {"venue": "x"} and found.auto_reconnect
        await client.disconnect(made.id)


async def test_c5_bad_url(make):
    async with make() as client:
        await refused(client.connect("http://example.com/"), "INVALID_ARGUMENT", "invalid", "url")


async def test_c6_empty_url(make):
    async with make() as client:
        await refused(client.connect(""), "INVALID_ARGUMENT", field="url")


async def test_c7_egress(make):
    async with make() as client:
        await refused(client.connect("ws://169.254.169.254/"), "PERMISSION_DENIED", "egress_denied")


async def test_c8_failed_dial(make):
    with socket.socket() as taken:
        # Bound but not listening: connections to it are refused.
        taken.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{taken.getsockname()[1]}/"
        async with make() as client:
            await refused(client.connect(url, tags={"case": "c8"}), "UNAVAILABLE", "dial_failed")
            assert not (await client.list({"case": "c8"})).connections


async def test_c9_bad_header(make, upstream):
    async with make() as client:
        await refused(client.connect(upstream, headers={"Host": "x"}), "INVALID_ARGUMENT", says="headers")


async def test_c10_publish_from_the_first_message(make, upstream):
    topic = fresh("c10")
    async with make() as client, connected(client, upstream, publish=topic) as id:
        await client.send_raw(id, "first")
        [message] = await take(client.receive(topic=topic, from_start=True), 1)
        assert (message.text, message.id, message.topic) == ("first", id, topic)


async def test_c11_unknown_profile(make, upstream):
    async with make() as client:
        with pytest.raises(Exception, match="profile") as raised:
            await client.connect(upstream, profile="no-such-profile")
        assert raised.value.code().name in ("INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED")


async def test_c12_list(make, upstream):
    tag = {"case": fresh("c12")}
    async with make() as client, connected(client, upstream, tags=tag) as one, connected(client, upstream, tags=tag) as two:
        answer = await client.list(tag)
        assert {found.id for found in answer.connections} == {one, two} and answer.total == 2
        for found in answer.connections:
            assert found.url == upstream and found.status == CONNECTED
            assert found.direction == pb.DIRECTION_OUT and found.created_at.seconds


async def test_c13_filters_are_anded(make, upstream):
    tag = {"case": fresh("c13")}
    async with make() as client, connected(client, upstream, tags={**tag, "a": "1"}) as one, connected(client, upstream, tags=tag):
        assert [found.id for found in (await client.list({**tag, "a": "1"})).connections] == [one]


async def test_c14_pages(make, upstream):
    tag = {"case": fresh("c14")}
    async with make() as client:
        made = {(await client.connect(upstream, tags=tag)).id for _ in range(3)}
        seen, token = [], ""
        for _ in range(4):
            page = await client.list(tag, page_size=1, page_token=token)
            seen += [found.id for found in page.connections]
            token = page.next_page_token
            if not token:
                break
        assert sorted(seen) == sorted(made)
        for id in made:
            await client.disconnect(id)


async def test_c15_bad_page_token(make):
    async with make() as client:
        await refused(client.list(page_token="zz"), "INVALID_ARGUMENT", field="page_token")


async def test_c16_list_by_status_and_direction(make, upstream):
    tag = {"case": fresh("c16")}
    async with make() as client, connected(client, upstream, tags=tag), connected(client, upstream, tags=tag):
        assert len((await client.list(tag, status=["connected"])).connections) == 2
        assert not (await client.list(tag, direction="in")).connections
        with pytest.raises(ValueError, match="did you mean 'connected'"):
            await client.list(status=["conected"])


async def test_c17_get(make, upstream):
    async with make() as client, connected(client, upstream, tags={"a": "b"}) as id:
        await client.send(id, "hello")
        found = await client.get(id)
        assert (found.id, found.url, found.status, dict(found.tags)) == (id, upstream, CONNECTED, {"a": "b"})
        assert (found.counters.messages_in, found.counters.messages_out) == (1, 1)


async def test_c18_get_of_nobody(make):
    async with make() as client:
        await refused(client.get("nobody"), "NOT_FOUND", "not_found")


async def test_c19_update(make, upstream):
    async with make() as client, connected(client, upstream) as id:
        answer = await client.update(id, {"limits": {"per_second": 50}, "headers": {"X-Api-Key": "def"}})
        assert list(answer.applied_now) == ["limits"] and list(answer.applied_at_reconnect) == ["headers"]


async def test_c20_update_of_what_is_fixed(make, upstream):
    async with make() as client, connected(client, upstream) as id:
        call = client.update(id, {"url": "ws://example.com/"}, update_mask=["url"])
        await refused(call, "INVALID_ARGUMENT", says="url")


async def test_c21_disconnect(make, upstream):
    async with make() as client:
        id = (await client.connect(upstream)).id
        await client.disconnect(id)
        await refused(client.get(id), "NOT_FOUND")
        await refused(client.disconnect(id), "NOT_FOUND")


async def test_c22_close_code(make, upstream):
    async with make() as client:
        id = (await client.connect(upstream)).id
        await refused(client.disconnect(id, code=99), "INVALID_ARGUMENT", field="code")
        await client.disconnect(id, code=3001, reason="bye")


async def test_c23_set_and_get_a_tag(make, upstream):
    async with make() as client, connected(client, upstream) as id:
        await client.set_tag(id, "owner", "Žofie 🐎")
        assert await client.get_tag(id, "owner") == "Žofie 🐎"


async def test_c24_missing_tag(make, upstream):
    async with make() as client, connected(client, upstream) as id:
        assert await client.get_tag(id, "nothing") is None


async def test_c25_set_tags(make, upstream):
    async with make() as client, connected(client, upstream) as id:
        await client.set_tags(id, {"a": "1", "b": "2"})
        await client.set_tags(id, {"c": "3", "a": ""})
        assert await eventually("the tags", lambda: client.get_tags(id)) == {"b": "2", "c": "3"}


async def test_c26_the_51st_tag(make, upstream):
    async with make() as client, connected(client, upstream) as id:
        many = {f"key{number}": "x" for number in range(51)}
        await refused(client.set_tags(id, many), "INVALID_ARGUMENT", says="tags")


async def test_c27_too_long_a_value(make, upstream):
    async with make() as client, connected(client, upstream) as id:
        error = await refused(client.set_tag(id, "a", "x" * 1025), "INVALID_ARGUMENT")
        assert error.field and isinstance(error, InvalidArgumentError)


async def test_c28_tags_of_nobody(make):
    async with make() as client:
        for call in (
            client.set_tag("nobody", "a", "b"),
            client.get_tag("nobody", "a"),
            client.set_tags("nobody", {"a": "b"}),
            client.get_tags("nobody"),
        ):
            await refused(call, "NOT_FOUND")

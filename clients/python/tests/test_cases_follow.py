"""Cases C54 to C68: publish, Receive, Watch."""

import asyncio

import pytest

from conftest import eventually
from help import background, connected, fresh, refused, take, texts


async def test_c54_start_publish(make, upstream):
    topic = fresh("c54")
    async with make() as client, connected(client, upstream) as id:
        started = await client.start_publish(id, topic, format="envelope", overflow="drop_oldest")
        assert started.epoch and started.next_seq == 1
        await client.send_raw(id, "published")
        assert texts(await take(client.receive(topic=topic, from_start=True), 1)) == ["published"]


async def test_c55_stop_publish(make, upstream):
    topic = fresh("c55")
    async with make() as client, connected(client, upstream, publish=topic) as id:
        assert (await client.get(id)).topic == topic
        await client.stop_publish(id)
        assert (await client.get(id)).topic == ""


async def test_c56_no_topic(make, upstream):
    async with make() as client, connected(client, upstream) as id:
        await refused(client.start_publish(id, ""), "INVALID_ARGUMENT", field="topic")


async def test_c57_publish_of_nobody(make):
    async with make() as client:
        await refused(client.start_publish("nobody", "t"), "NOT_FOUND")
        await refused(client.stop_publish("nobody"), "NOT_FOUND")


async def following(follow):
    """The follow, when the service has begun it."""
    await follow.__aenter__()
    return follow


async def test_c58_receive(make, upstream):
    async with make() as client, connected(client, upstream) as id:
        follow = await following(client.receive(id))
        await client.send_raw(id, '{"burst": 5}')
        items = await take(follow, 5)
        assert [item.json()["number"] for item in items] == [0, 1, 2, 3, 4]
        assert [item.seq for item in items] == [1, 2, 3, 4, 5] and len({item.epoch for item in items}) == 1
        assert items[0].kind == "message" and items[0].timestamp.tzinfo


async def test_c59_resume(make, upstream):
    async with make() as client, connected(client, upstream) as id:
        await client.send_raw(id, '{"burst": 10}')
        first = client.receive(id, from_start=True)
        seen = await take(first, 3)
        assert first.cursor == seen[-1].cursor
        seen += await take(client.receive(id, cursor=first.cursor), 7)
        assert [item.json()["number"] for item in seen] == list(range(10))


async def test_c60_from_the_start(make, upstream):
    async with make() as client, connected(client, upstream) as id:
        await client.send(id, "echo")
        await client.send_raw(id, '{"burst": 3}')
        items = await take(client.receive(id, from_start=True), 4)
        assert [item.seq for item in items] == [1, 2, 3, 4]


async def test_c61_by_tag(make, upstream):
    tag = {"case": fresh("c61")}
    async with make() as client, connected(client, upstream, tags=tag) as one, connected(client, upstream, tags=tag) as two:
        follow = await following(client.receive(filter=tag))
        await client.send_raw(one, "of one")
        await client.send_raw(two, "of two")
        items = await take(follow, 2)
        assert {(item.id, item.text) for item in items} == {(one, "of one"), (two, "of two")}


async def test_c62_a_gap(make, upstream):
    async with make() as client:
        async with connected(client, upstream, auto_reconnect=True, reconnect={"base_ms": 50}) as id:
            await client.send(id, "before")
            follow = client.receive(id, from_start=True)
            [before] = await take(follow, 1)
            await client.send_raw(id, '{"close": 4001}')

            async def again():
                return (await client.get(id)).counters.reconnects == 1

            await eventually("the reconnect", again)
            await client.send(id, "after")
            gap, after = await take(client.receive(id, cursor=before.cursor), 2)
            assert gap.kind == "gap" and gap.gap.cause == "reconnect" and gap.text is None and gap.data == b""
            assert (before.text, after.text) == ("before", "after")


async def test_c63_an_end(make, upstream):
    async with make() as client:
        id = (await client.connect(upstream)).id
        await client.send(id, "last")
        await client.disconnect(id)
        items = [item async for item in client.receive(id, from_start=True)]
        assert [item.kind for item in items] == ["message", "end"] and items[1].end.last_seq == 1


async def test_c64_bad_cursor(make, upstream):
    async with make() as client, connected(client, upstream) as id:
        await refused(client.receive(id, cursor="xx").__anext__(), "INVALID_ARGUMENT", field="cursor")


async def test_c65_leaving(make, upstream):
    async with make() as client, connected(client, upstream) as id:
        await client.send_raw(id, '{"burst": 100}')
        async for item in client.receive(id, from_start=True):
            assert item.seq == 1
            break
        # The test's end looks for what is left.
        follow = await following(client.receive(id))
        await follow.aclose()
        with pytest.raises(StopAsyncIteration):
            await follow.__anext__()


async def test_c66_source(make):
    async with make() as client:
        with pytest.raises(ValueError, match="exactly one of id, filter, topic and room"):
            client.receive()
        with pytest.raises(ValueError, match="not id and topic"):
            client.receive("a", topic="b")
        with pytest.raises(ValueError, match="exclude each other"):
            client.receive("a", cursor="x", from_start=True)


async def test_c67_watch(make, upstream):
    id = fresh("c67")
    async with make() as client:
        watch = await following(client.watch(id))
        await client.connect(upstream, connection_id=id)
        await client.disconnect(id)
        events = await take(watch, 3)
        assert [event.type.rpartition(".")[2] for event in events] == ["connecting", "connected", "disconnected"]
        assert all(event.cursor and event.connection_id == id for event in events)


async def test_c68_watch_resumes(make, upstream):
    id = fresh("c68")
    async with make() as client:
        watch = await following(client.watch(id))
        await client.connect(upstream, connection_id=id)
        [first] = await take(watch, 1)
        await client.disconnect(id)
        events = await take(client.watch(id, cursor=first.cursor), 2)
        assert [event.type.rpartition(".")[2] for event in events] == ["connected", "disconnected"]


@pytest.mark.only("python")
async def test_a_cancelled_follow_ends_its_call(make, upstream):
    async with make() as client, connected(client, upstream) as id:
        follow = client.receive(id)
        task = background(follow.__anext__())
        await eventually("the call", lambda: follow._call)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

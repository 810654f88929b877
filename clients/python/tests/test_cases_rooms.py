"""Cases C69 to C80: rooms. And typed messages."""

import asyncio
import contextlib
import json

import pytest
from websockets.asyncio.client import connect

from conftest import DEADLINE
from help import fresh, refused, take


@contextlib.asynccontextmanager
async def browser(service, *rooms):
    """A WebSocket client in these rooms."""
    url = service.http.replace("http://", "ws://") + "/ws?" + "&".join(f"room={room}" for room in rooms)
    async with connect(url, open_timeout=DEADLINE, proxy=None) as socket:
        yield socket


async def heard(socket):
    return await asyncio.wait_for(socket.recv(), DEADLINE)


async def test_c69_send_to_a_room(make, service):
    room = fresh("c69")
    async with make() as client, browser(service, room) as socket:
        [position] = await client.rooms.send(room, "hello")
        assert await heard(socket) == "hello"
        assert (position.room, position.offset) == (room, 1) and position.epoch


async def test_c70_send_to_two(make, service):
    one, two = fresh("c70"), fresh("c70")
    async with make() as client, browser(service, one, two) as socket:
        positions = await client.rooms.send([one, two], "to both")
        assert sorted(position.room for position in positions) == sorted([one, two])
        await client.rooms.send(one, "next")
        assert [await heard(socket), await heard(socket)] == ["to both", "next"]


async def test_c71_broadcast(make, service):
    async with make() as client, browser(service, fresh("c71")) as socket:
        [position] = await client.rooms.broadcast("to all")
        assert await heard(socket) == "to all" and position.room == ""


async def test_c72_typed(make, service):
    room = fresh("c72")
    async with make() as client, browser(service, room) as socket:
        await client.rooms.send(room, '{"text": "hi"}', message_id="chat.message")
        assert json.loads(await heard(socket)) == {"MESSAGE_ID": "chat.message", "message": {"text": "hi"}}


async def test_c73_binary(make, service):
    room = fresh("c73")
    async with make() as client, browser(service, room) as socket:
        await client.rooms.send(room, b"\x00\xff")
        assert await heard(socket) == b"\x00\xff"


async def test_c74_bad_name(make):
    async with make() as client:
        await refused(client.rooms.send("a,b", "x"), "INVALID_ARGUMENT", field="rooms")
        with pytest.raises(TypeError, match="WebSocketMessage is needed, not dict"):
            await client.rooms.send("a", {"text": "x"})


async def test_c75_join_and_leave(make, service):
    room, other = fresh("c75"), fresh("c75")
    async with make() as client, browser(service, room) as socket:
        [member] = (await client.rooms.members(room)).members
        await client.rooms.join(other, member.id)
        await client.rooms.send(other, "joined")
        assert await heard(socket) == "joined"
        assert [found.id for found in (await client.rooms.members(other)).members] == [member.id]
        await client.rooms.leave(other, member.id)
        assert not (await client.rooms.members(other)).members


async def test_c76_join_of_nobody(make):
    async with make() as client:
        await refused(client.rooms.join("room", "nobody"), "NOT_FOUND")


async def test_c77_rooms(make, service):
    prefix = fresh("c77")
    names = [f"{prefix}-{letter}" for letter in "abc"]
    async with make() as client, browser(service, *names):
        seen, token = [], ""
        for _ in range(5):
            page = await client.rooms.list(prefix, page_size=1, page_token=token)
            seen += [(room.name, room.members) for room in page.rooms]
            token = page.next_page_token
            if not token:
                break
        assert seen == [(name, 1) for name in names]


async def test_c78_history(make):
    room = fresh("c78")
    async with make() as client:
        [first] = await client.rooms.send(room, "one")
        await client.rooms.send(room, "two")
        await client.rooms.send(room, b"\x03")
        kept = await client.rooms.history(room, epoch=first.epoch, offset=first.offset)
        assert kept.recovered and [(message.text, message.data) for message in kept.messages] == [("two", b""), ("", b"\x03")]


async def test_c79_follow_a_room(make):
    room = fresh("c79")
    async with make() as client:
        await client.rooms.send(room, "one")
        await client.rooms.send(room, "two")
        items = await take(client.receive(room=room, from_start=True), 2)
        assert [(item.text, item.offset, item.room) for item in items] == [("one", 1, room), ("two", 2, room)]


async def test_c80_users(make):
    async with make() as client:
        assert await client.rooms.send_to_user(fresh("c80"), "x") == 0
        assert await client.rooms.kick_user(fresh("c80"), code=3001, reason="bye") == 0


# ---------------------------------------------------------------- typed messages


def message_classes():
    from virtufin.websocketmanager import WebSocketMessage

    class ChatMessage(WebSocketMessage):
        MESSAGE_ID = "chat.message"
        text: str

    return WebSocketMessage, ChatMessage


@pytest.mark.only("python")
async def test_typed_messages_are_sent_with_the_client_around_them(make, service):
    base, chat = message_classes()
    one, two = fresh("typed"), fresh("typed")
    with pytest.raises(LookupError, match="none is open"):
        await chat(text="hello").send(one)
    async with make() as client, browser(service, one) as socket, browser(service, two) as other:
        assert len(await chat(text="hello").send(one, two)) == 2
        assert base.parse(await heard(socket)) == chat(text="hello")
        assert json.loads(await heard(other)) == {"MESSAGE_ID": "chat.message", "message": {"text": "hello"}}
        await chat(text="to all").broadcast(client=client)
        assert base.parse(await heard(socket)).text == "to all"
        assert await chat(text="x").send_to_user("nobody") == 0
        [item] = await take(client.receive(room=one, from_start=True), 1)
        assert base.parse(item) == chat(text="hello")
        with pytest.raises(ValueError, match="at least one"):
            await chat(text="x").send()


async def test_a_typed_message_goes_through_both_clients(make, service):
    base, chat = message_classes()
    room = fresh("typed")
    async with make() as client, browser(service, room) as socket:
        await client.rooms.send(room, chat(text="hello"))
        assert base.parse(await heard(socket)) == chat(text="hello")


def test_what_is_no_known_message_is_told():
    base, chat = message_classes()
    for payload, says in [
        ("no json", "not JSON"),
        ("[]", "no MESSAGE_ID"),
        ('{"MESSAGE_ID": "unheard.of"}', "no class has the MESSAGE_ID 'unheard.of'"),
    ]:
        with pytest.raises(ValueError, match=says):
            base.parse(payload)
    with pytest.raises(ValueError, match="text"):
        base.parse('{"MESSAGE_ID": "chat.message", "message": {}}')
    with pytest.raises(TypeError, match="is that of"):
        type("Other", (base,), {"MESSAGE_ID": "chat.message", "__module__": __name__, "__qualname__": "Other"})
    assert chat.MESSAGE_ID == "chat.message"

"""Rooms as clients see them that were written for any WebSocket server: Python's websockets, Node's ws."""

import base64
import contextlib
import json
import os
import socket
import time
import urllib.parse
import urllib.request
import uuid

import pytest

from clients import Clients, NodeClient, PythonClient, Refused, asking_for_tokens, metric, post, send, token
from conftest import DEADLINE, serving
from parts import wait_for


@pytest.fixture(params=[PythonClient, NodeClient], ids=["websockets", "ws"])
def clients(request):
    clients = Clients(request.param)
    yield clients
    for client in clients.open:
        client.end()


@pytest.fixture
def room():
    """The tests share a service, not a room."""
    return f"room-{uuid.uuid4().hex}"


def members(service, room):
    status, _, body = service.request(f"/v1/rooms/{room}/members")
    assert status == 200, body
    return json.loads(body).get("members", [])


# ---------------------------------------------------------------- what members get


def test_what_is_sent_comes_verbatim_and_in_order(service, clients, room):
    client = clients(service, f"/ws/{room}")
    assert client.subprotocol is None
    texts = ["plain", '{"a": [1, 2]}', "h\u00e9llo \u0000 \u2028 \U0001f642", "x" * 70_000]
    for text in texts:
        send(service, room, text)
    for data in [b"\x00\xff", bytes(range(256)) * 300]:
        post(service, f"/v1/rooms/{room}/messages", data=base64.b64encode(data).decode())
    assert [client.next() for _ in texts] == texts
    assert [client.next(), client.next()] == [b"\x00\xff", bytes(range(256)) * 300]
    assert client.close() == (1000, "")
    wait_for("nobody to be left", lambda: members(service, room) == [])


def test_several_rooms_once_and_broadcast(service, clients, room):
    rooms = [f"{room}-{nth}" for nth in range(5)]
    asked = "&".join(f"room={name}" for name in rooms)
    plain, numbered = clients(service, f"/ws?{asked}"), clients.numbered(service, f"/ws?{asked}")
    one = clients.numbered(service, f"/ws/{rooms[3]}")
    for nth in range(10):
        positions = post(service, "/v1/rooms:send", rooms=rooms, message=f"m{nth}")["positions"]
        assert sorted(position["room"] for position in positions) == rooms
    [reached] = post(service, "/v1/broadcast", message="to all")["positions"]
    assert reached.get("room", "") == ""
    for nth in range(10):
        assert plain.next() == f"m{nth}"
        frame = numbered.next()
        assert frame["data"] == f"m{nth}"
        assert sorted([frame["room"], *(place["room"] for place in frame["also"])]) == rooms
        frame = one.next()
        assert (frame["room"], frame["offset"], frame["data"]) == (rooms[3], nth + 1, f"m{nth}")
    assert plain.next() == "to all"
    for client in (numbered, one):
        frame = client.next()
        assert (frame["room"], frame["data"]) == ("", "to all")
        assert (frame["epoch"], frame["offset"]) == (int(reached["epoch"]), int(reached["offset"]))


def test_numbered_frames_hold_the_payload_and_its_place(service, clients, room):
    client = clients.numbered(service, f"/ws/{room}")
    cases = [
        ({"message": "plain"}, {"data": "plain"}),
        ({"message": '{"a": [1, "\u00e9"]}'}, {"data": {"a": [1, "\u00e9"]}}),
        ({"message": "{broken"}, {"data": "{broken"}),
        ({"data": base64.b64encode(b"\x00\xff").decode()}, {"dataBase64": base64.b64encode(b"\x00\xff").decode()}),
        ({"message": "{}", "messageId": "a.b"}, {"data": {"MESSAGE_ID": "a.b", "message": {}}}),
    ]
    for nth, (sent, expected) in enumerate(cases):
        [position] = post(service, f"/v1/rooms/{room}/messages", **sent)["positions"]
        assert int(position["offset"]) == nth + 1
        assert client.next() == {"room": room, "epoch": int(position["epoch"]), "offset": nth + 1, **expected}


def test_900_kib_in_both_directions(tmp_path, clients):
    with serving(tmp_path, "--route", "/feed/{room} messages=room:{room}") as service:
        reader, writer = clients(service, "/ws/big"), clients(service, "/feed/big")
        text, data = "\u00e9" * (450 * 1024), os.urandom(900 * 1024)
        writer.say(text)
        writer.say(data)
        writer.say_in_parts(["in ", "", "three parts \U0001f642"])
        assert reader.next() == text
        assert reader.next() == data
        assert reader.next() == "in three parts \U0001f642"
        send(service, "big", text)
        post(service, "/v1/rooms/big/messages", data=base64.b64encode(data).decode())
        assert reader.next() == text
        assert reader.next() == data


def test_names_of_any_script(service, clients):
    for name in ["caf\u00e9/\u00fc ber", "\u623f\u95f4", "\U0001f642?&=#%", "a.b~c", uuid.uuid4().hex * 8]:
        path = urllib.parse.quote(name, safe="")
        by_path, by_query = clients(service, f"/ws/{path}"), clients.numbered(service, f"/ws?room={path}")
        send(service, path, name)
        assert by_path.next() == name
        frame = by_query.next()
        assert (frame["room"], frame["data"]) == (name, name)


# ---------------------------------------------------------------- what clients ask


def test_ping_join_and_leave(service, clients, room):
    client = clients.numbered(service, f"/ws/{room}")
    assert client.ask({"ping": {"at": [1, "\u00e9"]}}) == {"pong": {"at": [1, "\u00e9"]}}
    other = f"{room}-\u00e9"
    path = urllib.parse.quote(other)
    epoch, offset = send(service, path, "before")
    assert client.ask({"join": other, "id": 7}) == {"joined": other, "epoch": epoch, "offset": offset, "id": 7}
    send(service, path, "hello")
    assert client.next() == {"room": other, "epoch": epoch, "offset": offset + 1, "data": "hello"}
    assert client.ask({"leave": other, "id": "x"}) == {"left": other, "id": "x"}
    send(service, path, "not for who left")
    send(service, room, "still here")
    assert client.next()["data"] == "still here"
    for request in [{"join": "a,b", "id": 1}, {"join": 5, "id": 1}]:
        refused = client.ask(request)
        assert refused["id"] == 1 and refused["error"]["message"], refused
    # Joining again with a place: what came meanwhile comes now.
    joined = client.ask({"join": other, "epoch": epoch, "offset": offset})
    assert (joined["joined"], joined["recovered"]) == (other, True)
    assert [client.next()["data"] for _ in range(2)] == ["hello", "not for who left"]


def test_without_the_subprotocol_what_a_client_says_is_ignored(service, clients, room):
    client = clients(service, f"/ws/{room}")
    for message in ['{"join": "elsewhere"}', "anything", b"\x00"]:
        client.say(message)
    client.ping()
    send(service, room, "still here")
    assert client.next() == "still here"


def test_who_comes_back_gets_what_was_missed(service, clients, room):
    client = clients.numbered(service, f"/ws/{room}")
    send(service, room, "one")
    seen = client.next()
    assert client.client.close()[0] == 1000
    for text in ["two", "three"]:
        send(service, room, text)
    back = clients.numbered(service, f"/ws/{room}?epoch={seen['epoch']}&offset={seen['offset']}")
    told = back.next()
    assert (told["recovered"], told["room"], told["epoch"]) == (True, room, seen["epoch"])
    send(service, room, "four")
    frames = [back.next() for _ in range(3)]
    assert [(frame["offset"], frame["data"]) for frame in frames] == [(2, "two"), (3, "three"), (4, "four")]
    assert back.ask({"resume": {"room": room, "epoch": seen["epoch"], "offset": 2}})["recovered"] is True
    assert [back.next()["data"] for _ in range(2)] == ["three", "four"]
    # Nothing can be said of an epoch that never was.
    stranger = clients.numbered(service, f"/ws/{room}?epoch=5&offset=1")
    assert stranger.next()["recovered"] is False


def test_two_rooms_resume_each_at_its_own_place(service, clients, room):
    rooms = [f"{room}-a", f"{room}-b"]
    places = [send(service, name, "one") for name in rooms]
    for name in rooms:
        send(service, name, "two")
    send(service, rooms[1], "three")
    asked = [f"room={name}&epoch={epoch}&offset={offset}" for name, (epoch, offset) in zip(rooms, places)]
    client = clients.numbered(service, "/ws?" + "&".join(asked))
    frames = [client.next() for _ in range(5)]
    assert {frame["room"]: frame["recovered"] for frame in frames if "recovered" in frame} == dict.fromkeys(rooms, True)
    data = [(frame["room"], frame["data"]) for frame in frames if "data" in frame]
    assert sorted(data) == [(rooms[0], "two"), (rooms[1], "three"), (rooms[1], "two")]


# ---------------------------------------------------------------- the protocol itself


def test_compression_is_offered_and_not_taken(service, clients, room):
    client = clients(service, f"/ws/{room}")
    assert "permessage-deflate" in client.offered
    assert client.extensions == ""
    send(service, room, "a" * 10_000)
    assert client.next() == "a" * 10_000


def test_who_answers_pings_stays_and_who_does_not_is_ended(tmp_path, clients):
    with serving(tmp_path, "--ping-interval", "200ms", "--pong-timeout", "600ms") as service:
        client = clients(service, "/ws/a")
        address = service.http.removeprefix("http://").split(":")
        with socket.create_connection((address[0], int(address[1])), timeout=DEADLINE) as mute:
            mute.sendall(
                b"GET /ws/a HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
                b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            with contextlib.suppress(ConnectionResetError):
                while mute.recv(4096):
                    pass
        wait_for("ten pongs", lambda: metric(service, "wsm_pongs_received_total") >= 10)
        client.ping()
        send(service, "a", "still here")
        assert client.next() == "still here"


def test_codes_and_reasons_of_an_end_arrive(service, clients, room):
    client = clients(service, f"/ws/{room}")
    [member] = members(service, room)
    path = f"/v1/connections/{member['id']}"
    status, _, body = service.request(f"{path}?code=4002&reason=enough%20%C3%A9", method="DELETE")
    assert status == 200, body
    assert client.next() == (4002, "enough \u00e9")
    wait_for("nobody to be left", lambda: members(service, room) == [])


def test_a_drain_says_so_by_its_code(tmp_path, clients):
    with serving(tmp_path) as service:
        client = clients(service, "/ws/a")
    assert client.next()[0] == 1012


def test_an_orderly_close_is_ended_by_the_server_at_once(service, clients, room):
    client = clients(service, f"/ws/{room}")
    begun = time.monotonic()
    # Browsers and some libraries wait for the server to end the stream, as the protocol has it.
    assert client.close() == (1000, "")
    assert time.monotonic() - begun < 1.5


@pytest.mark.parametrize(("path", "status"), [("/ws/a%2Cb", 400), ("/ws/a?epoch=1", 400), ("/nowhere", 404)])
def test_refusals_are_told_by_their_status(service, clients, path, status):
    with pytest.raises(Refused, match=str(status)):
        clients(service, path)


# ---------------------------------------------------------------- users


def test_users_are_reached_and_ended(tmp_path, clients):
    with serving(tmp_path, *asking_for_tokens(tmp_path)) as service:
        ada = f"bearer.{token(sub='ada', rooms=['news', 'chat-*'])}"
        bob = f"bearer.{token(sub='bob', rooms=['news'])}"
        mine = [clients.numbered(service, path, ada) for path in ("/ws", "/ws/chat-1")]
        other = clients.numbered(service, "/ws/news", bob)
        answer = post(service, "/v1/users/ada/messages", message="just you")
        assert int(answer["connections"]) == 2
        for client in mine:
            assert client.next() == {"user": "ada", "data": "just you"}
        status, _, body = service.request("/v1/users/ada/connections?code=4001&reason=out", method="DELETE")
        assert (status, int(json.loads(body)["disconnected"])) == (200, 2)
        assert [client.client.next() for client in mine] == [(4001, "out")] * 2
        send(service, "news", "others stay")
        assert other.next()["data"] == "others stay"
        for path, credentials, status in [("/ws/news", [], 401), ("/ws/chat-1", [bob], 403)]:
            with pytest.raises(Refused, match=str(status)):
                clients(service, path, "wsm.rooms.v1", *credentials)


# ---------------------------------------------------------------- by plain HTTP


def events(answer):
    """Server-sent events, as their fields."""
    fields, until = {}, time.monotonic() + DEADLINE
    for line in answer:
        # Comments come again and again while nothing else does.
        assert time.monotonic() < until, "no event"
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name:
            fields[name] = value
        elif fields:
            yield fields
            fields, until = {}, time.monotonic() + DEADLINE


def follow(service, path, **headers):
    request = urllib.request.Request(service.http + path, headers=headers)
    return urllib.request.urlopen(request, timeout=DEADLINE)


def test_events_of_a_room_and_resumed_after_the_last(service, room):
    send(service, room, "before")
    with follow(service, f"/v1/rooms/{room}/events?fromStart=true") as answer:
        assert answer.headers.get_content_type() == "text/event-stream"
        stream = events(answer)
        first = next(stream)
        _, offset = send(service, room, "h\u00e9\nllo")
        second = next(stream)
    data = [json.loads(event["data"]) for event in (first, second)]
    assert [(one["room"], one["text"]) for one in data] == [(room, "before"), (room, "h\u00e9\nllo")]
    assert [int(one["offset"]) for one in data] == [offset - 1, offset]
    post(service, f"/v1/rooms/{room}/messages", data=base64.b64encode(b"\x00\xff").decode())
    with follow(service, f"/v1/rooms/{room}/events", **{"last-event-id": second["id"]}) as answer:
        missed = json.loads(next(events(answer))["data"])
    assert (int(missed["offset"]), base64.b64decode(missed["data"])) == (offset + 1, b"\x00\xff")


def test_history_is_paged_by_place(service, room):
    for nth in range(5):
        epoch, _ = send(service, room, f"m{nth}")
    post(service, f"/v1/rooms/{room}/messages", data=base64.b64encode(b"\xff").decode())

    def history(query):
        status, _, body = service.request(f"/v1/rooms/{room}/messages{query}")
        assert status == 200, body
        return json.loads(body)

    kept = history("")
    assert (kept["epoch"], kept["offset"]) == (str(epoch), "6")
    assert [int(message["offset"]) for message in kept["messages"]] == [1, 2, 3, 4, 5, 6]
    assert [message.get("text") for message in kept["messages"]] == [f"m{nth}" for nth in range(5)] + [None]
    assert base64.b64decode(kept["messages"][5]["data"]) == b"\xff"
    page = history(f"?epoch={epoch}&offset=2&limit=2")
    assert ([message["text"] for message in page["messages"]], page["recovered"]) == (["m2", "m3"], True)
    assert not history("?epoch=5&offset=1").get("recovered")
    assert history(f"?epoch={epoch}&offset=6").get("messages", []) == []

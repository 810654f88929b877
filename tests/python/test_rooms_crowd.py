"""Ten thousand sockets in rooms of one service: everybody gets everything, one that does not read harms nobody."""

import asyncio
import json
import time
import warnings

import pytest

from clients import metrics, post
from conftest import serving
from crowd import Awaited, come_in, room_for, stuck
from parts import wait_for

WANTED, LEAST = 10_000, 5_000
ROOMS = 10
ROUNDS, WIDE = 60, 10
PAYLOAD = "x" * 20_000
# One message at all members of a room, the wait for it included, on a machine that has other work.
LATE = 5.0
OUTCOMES, ACCEPTED = "wsm_room_deliveries_total", "wsm_room_deliveries_accepted_total"
IN_FLIGHT = "wsm_room_deliveries_in_flight"


def balanced(service):
    """A scrape whose books must balance."""
    scraped = metrics(service)
    assert scraped[ACCEPTED] == scraped[OUTCOMES] + scraped[IN_FLIGHT], scraped
    return scraped


async def told(service, text, *rooms):
    await asyncio.to_thread(post, service, "/v1/rooms:send", rooms=rooms, message=text)


async def everybody_gets_what_all_get(service, members, messages):
    before = messages.count
    await told(service, "to all of you", "all")
    await messages.reach(before + len(members), "a message to everybody")
    assert {member.text() for member in members} == {"to all of you"}


async def one_does_not_read(service, address, members, messages):
    """Everybody gets every message in time, though a member of their rooms takes none."""
    silent = stuck(address, "/ws?room=all&room=room-0")
    mates, slowest, waiting, closed = members[::ROOMS], 0.0, 0, False
    for nth in range(ROUNDS):
        before, begun = messages.count, time.monotonic()
        # Some go to everybody, by two ways to those who are in both rooms: they get it once.
        wide = nth % WIDE == WIDE - 1
        await told(service, f"{nth} {PAYLOAD}", "room-0", *(["all"] if wide else []))
        readers = members if wide else mates
        await messages.reach(before + len(readers), f"message {nth} to those beside one that does not read")
        slowest = max(slowest, time.monotonic() - begun)
        if not closed:
            scraped = balanced(service)
            closed, waiting = scraped["wsm_slow_readers_total"] > 0, max(waiting, scraped[IN_FLIGHT])
        if nth == ROUNDS // 2:
            # Other rooms go on meanwhile.
            before = messages.count
            await told(service, "elsewhere", "room-1")
            await messages.reach(before + len(members[1::ROOMS]), "a message to another room")
    assert closed and waiting > 0, "the one that does not read was not closed"
    assert slowest < LATE, f"a message took {slowest:.1f} s"
    assert {member.text() for member in mates} == {f"{ROUNDS - 1} {PAYLOAD}"}
    return silent


def address_of(service):
    host, port = service.http.removeprefix("http://").split(":")
    return host, int(port)


async def crowd(service, count):
    address, messages = address_of(service), Awaited()
    # Half of each room want numbers.
    paths = [(f"/ws?room=all&room=room-{nth % ROOMS}", nth // ROOMS % 2 == 1) for nth in range(count)]
    members = await come_in(address, paths, messages)
    assert metrics(service)["wsm_accepted_connections"] == count
    await everybody_gets_what_all_get(service, members, messages)
    silent = await one_does_not_read(service, address, members, messages)
    await everybody_gets_what_all_get(service, members, messages)
    with silent:
        # Nobody gets anything twice, or anything that is not a message, or is closed for another's fault.
        assert [member.got for member in members] == expected(count)
        assert not any(member.odd or member.ended for member in members)
        settled = wait_for("the one that does not read to be gone", lambda: alone(service, count))
    assert settled["wsm_slow_readers_total"] == 1
    assert settled[IN_FLIGHT] == 0
    for member in members:
        member.transport.abort()
    return settled


def alone(service, count):
    scraped = balanced(service)
    return scraped["wsm_accepted_connections"] == count and scraped


def expected(count):
    everybody = 2 + ROUNDS // WIDE
    of = {0: 2 + ROUNDS, 1: everybody + 1}
    return [of.get(nth % ROOMS, everybody) for nth in range(count)]


def test_a_crowd_in_rooms(tmp_path):
    count = room_for(WANTED)
    if count < LEAST:
        pytest.fail(f"{count} files may be open; {LEAST} sockets are the least this test makes sense with")
    if count < WANTED:
        warnings.warn(f"{count} sockets, not {WANTED}: raise the limit of open files", stacklevel=1)
    with serving(tmp_path, "--reader-bytes-max", "256KiB") as service:
        settled = asyncio.run(crowd(service, count))
        # Each message to each room of who stayed, and some of the one that did not.
        known = sum(expected(count)) + len(range(0, count, ROOMS)) * (ROUNDS // WIDE)
        assert known <= settled[ACCEPTED] <= known + ROUNDS + ROUNDS // WIDE

        def empty():
            scraped = balanced(service)
            return scraped["wsm_accepted_connections"] == 0 and scraped["wsm_room_members"] == 0

        wait_for("everybody to be gone", empty)
        status, _, body = service.request("/v1/rooms")
        assert (status, json.loads(body).get("rooms", [])) == (200, [])


def test_one_that_wakes_up_too_late_reads_why(tmp_path):
    with serving(tmp_path, "--reader-bytes-max", "64KiB") as service, stuck(address_of(service), "/ws/a") as silent:

        def closed():
            post(service, "/v1/rooms/a/messages", message=PAYLOAD)
            return balanced(service)["wsm_slow_readers_total"] == 1

        wait_for("the one that does not read to be closed", closed)
        read = b""
        while chunk := silent.recv(65536):
            read += chunk
        frame = read[read.rindex(b"\x88") :]
        assert int.from_bytes(frame[2:4], "big") == 1013, frame
        # Nothing of a message is missing before it.
        assert read[: -len(frame)].count(b"x") % len(PAYLOAD) == 0

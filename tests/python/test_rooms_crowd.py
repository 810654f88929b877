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
ROUNDS = 60
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


async def told(service, room, text):
    return await asyncio.to_thread(post, service, f"/v1/rooms/{room}/messages", message=text)


async def everybody_gets_what_all_get(service, members, messages):
    before = messages.count
    await told(service, "all", "to all of you")
    await messages.reach(before + len(members), "a message to everybody")
    assert {member.last for member in members} == {b"to all of you"}


async def one_does_not_read(service, address, members, messages):
    """The members of room 0 get every message in time, though one of them takes none."""
    silent = stuck(address, "/ws?room=all&room=room-0")
    mates, slowest, waiting, closed = members[::ROOMS], 0.0, 0, False
    for nth in range(ROUNDS):
        before, begun = messages.count, time.monotonic()
        await told(service, "room-0", f"{nth} {PAYLOAD}")
        await messages.reach(before + len(mates), f"message {nth} to the mates of one that does not read")
        slowest = max(slowest, time.monotonic() - begun)
        if not closed:
            scraped = balanced(service)
            closed, waiting = scraped["wsm_slow_readers_total"] > 0, max(waiting, scraped[IN_FLIGHT])
        if nth == ROUNDS // 2:
            # Other rooms go on meanwhile.
            before = messages.count
            await told(service, "room-1", "elsewhere")
            await messages.reach(before + len(members[1::ROOMS]), "a message to another room")
    assert closed and waiting > 0, "the one that does not read was not closed"
    assert slowest < LATE, f"a message took {slowest:.1f} s"
    assert {member.last for member in mates} == {f"{ROUNDS - 1} {PAYLOAD}".encode()}
    return silent


async def crowd(service, count):
    host, port = service.http.removeprefix("http://").split(":")
    address, messages = (host, int(port)), Awaited()
    paths = [f"/ws?room=all&room=room-{nth % ROOMS}" for nth in range(count)]
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
    of = {0: 2 + ROUNDS, 1: 3}
    return [of.get(nth % ROOMS, 2) for nth in range(count)]


def test_a_crowd_in_rooms(tmp_path):
    count = room_for(WANTED)
    if count < LEAST:
        pytest.fail(f"{count} files may be open; {LEAST} sockets are the least this test makes sense with")
    if count < WANTED:
        warnings.warn(f"{count} sockets, not {WANTED}: raise the limit of open files", stacklevel=1)
    with serving(tmp_path, "--reader-bytes-max", "256KiB") as service:
        settled = asyncio.run(crowd(service, count))
        # Each delivery of those who stayed, and those of the one that did not.
        assert settled[OUTCOMES] >= sum(expected(count))
        assert settled[ACCEPTED] - sum(expected(count)) <= ROUNDS

        def empty():
            scraped = balanced(service)
            return scraped["wsm_accepted_connections"] == 0 and scraped["wsm_room_members"] == 0

        wait_for("everybody to be gone", empty)
        status, _, body = service.request("/v1/rooms")
        assert (status, json.loads(body).get("rooms", [])) == (200, [])

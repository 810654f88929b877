"""What several tests say."""

import asyncio
import contextlib
import itertools
import os

import grpc
import pytest

_names = itertools.count(1)
SILENT = '{"burst": 0, "id": 1}'


def fresh(prefix="t"):
    """A name that no other test has."""
    return f"{prefix}-{os.getpid()}-{next(_names)}"


async def refused(call, code, reason=None, field=None, says=None):
    """The call's error, which is as it should be."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    error = raised.value
    assert error.code() is getattr(grpc.StatusCode, code), error
    assert reason is None or error.reason == reason, error
    assert field is None or (error.field or "").startswith(field), (error.field, error)
    assert says is None or says in str(error), error
    return error


@contextlib.asynccontextmanager
async def connected(client, url, **settings):
    """The id of a connection."""
    id = (await client.connect(url, **settings)).id
    try:
        yield id
    finally:
        with contextlib.suppress(grpc.aio.AioRpcError):
            await client.disconnect(id)


async def take(follow, count):
    """The next items; then the follow is ended."""
    items = []
    async for item in follow:
        items.append(item)
        if len(items) == count:
            break
    await follow.aclose()
    return items




async def waiting_sends(client, id, count):
    """Whether so many Sends wait on the connection."""
    return (await client.get(id)).sends_in_flight == count


def texts(items):
    return [item.text for item in items]


def background(call):
    """The call goes on by itself."""
    return asyncio.ensure_future(call)

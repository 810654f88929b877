"""Lets one test drive both clients: the synchronous twin, looked at through await."""

import asyncio
import inspect

from virtufin.websocketmanager import SyncWebSocketManagerClient, WebSocketManagerClient
from virtufin.websocketmanager.sync import SyncFollow, SyncRooms, SyncSendStream


class Both:
    """Makes clients of one kind."""

    def __init__(self, sync):
        self.sync = sync

    def __call__(self, *arguments, **settings):
        if self.sync:
            return Awaited(SyncWebSocketManagerClient(*arguments, **settings))
        return WebSocketManagerClient(*arguments, **settings)


class Awaited:
    """A blocking object whose methods are run on a thread each."""

    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        found = getattr(self.inner, name)
        if isinstance(found, SyncRooms):
            return Awaited(found)
        if not callable(found):
            return found
        returns = inspect.signature(found).return_annotation
        if str(returns).startswith(("SyncFollow", "SyncSendStream")):
            return lambda *arguments, **settings: Awaited(found(*arguments, **settings))
        return lambda *arguments, **settings: asyncio.to_thread(found, *arguments, **settings)

    async def __aenter__(self):
        await asyncio.to_thread(self.inner.__enter__)
        return self

    async def __aexit__(self, *error):
        await asyncio.to_thread(self.inner.__exit__, *error)

    def __aiter__(self):
        assert isinstance(self.inner, SyncFollow)
        return self

    async def __anext__(self):
        done = object()
        item = await asyncio.to_thread(next, self.inner, done)
        if item is done:
            raise StopAsyncIteration
        return item

    async def aclose(self):
        assert isinstance(self.inner, (SyncFollow, SyncSendStream))
        await asyncio.to_thread(self.inner.close)

"""Lets one test drive both clients: the synchronous twin, looked at through await."""

import asyncio
import contextlib
import inspect
import threading

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


async def on_a_thread(work, *arguments, **settings):
    """As asyncio.to_thread, but a call that hangs takes no thread from others, and no process waits for it."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()

    def tell(give, outcome):
        if not future.done():
            give(outcome)

    def run():
        try:
            told = future.set_result, work(*arguments, **settings)
        except BaseException as error:
            told = future.set_exception, error
        # Nobody may wait any more, in a loop that is closed.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(tell, *told)

    threading.Thread(target=run, daemon=True).start()
    return await future


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
        return lambda *arguments, **settings: on_a_thread(found, *arguments, **settings)

    async def __aenter__(self):
        await on_a_thread(self.inner.__enter__)
        return self

    async def __aexit__(self, *error):
        await on_a_thread(self.inner.__exit__, *error)

    def __aiter__(self):
        assert isinstance(self.inner, SyncFollow)
        return self

    async def __anext__(self):
        done = object()
        item = await on_a_thread(next, self.inner, done)
        if item is done:
            raise StopAsyncIteration
        return item

    async def aclose(self):
        assert isinstance(self.inner, (SyncFollow, SyncSendStream))
        await on_a_thread(self.inner.close)

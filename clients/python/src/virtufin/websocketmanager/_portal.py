"""An event loop on a thread of its own, and blocking faces for what lives in it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Coroutine, Mapping
from types import TracebackType
from typing import Any, Generic, TypeVar

from virtufin._wsm.errors import ClientClosedError

from .protos import websocketmanager_pb2 as pb
from .receive import Follow
from .send_stream import SendStream

T = TypeVar("T")
Item = TypeVar("Item")
_INSIDE = "a synchronous client cannot be used inside its own event loop"


class Portal:
    """The thread is started at the first call, and is gone after `stop`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = False

    def submit(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Begins the work."""
        with self._lock:
            if self._stopped:
                work.close()
                raise ClientClosedError()
            if self._loop is None:
                self._start()
            assert self._loop is not None
            if self.inside():
                work.close()
                raise RuntimeError(_INSIDE)
            return asyncio.run_coroutine_threadsafe(work, self._loop)

    def inside(self) -> bool:
        """Whether the caller is the loop itself: nothing may wait there."""
        return threading.current_thread() is self._thread

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Does the work and waits for it; an interrupt cancels it."""
        future = self.submit(work)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise ClientClosedError() from None
        except BaseException:
            future.cancel()
            raise

    def _start(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, args=(self._loop,), name="virtufin-wsm", daemon=True)
        self._thread.start()

    @staticmethod
    def _serve(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        loop.set_exception_handler(_without_noise)
        try:
            loop.run_forever()
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            if tasks:
                loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()

    def later(self, work: Any) -> None:
        """Calls it in the loop, when there is one; nobody waits."""
        loop = self._loop
        if loop is not None and not self._stopped:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(work)

    def stop(self) -> None:
        """Ends the loop and its thread; what still runs is cancelled."""
        with self._lock:
            self._stopped = True
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            if thread is not threading.current_thread():
                thread.join()


def _without_noise(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Leaves out what older grpcio says when two event loops of a process use it: one woke for the other's event."""
    if not isinstance(context.get("exception"), BlockingIOError):
        loop.default_exception_handler(context)


class SyncFollow(Generic[Item]):
    """An endless stream of items, for ``for``; leaving the loop ends the call."""

    def __init__(self, portal: Portal, follow: Follow[Item]) -> None:
        self._portal, self._follow = portal, follow

    @property
    def cursor(self) -> str:
        """Of the last item; with it another follow goes on where this one was."""
        return self._follow.cursor

    def __iter__(self) -> SyncFollow[Item]:
        return self

    def __next__(self) -> Item:
        try:
            return self._portal.run(self._next())
        except StopAsyncIteration:
            raise StopIteration from None

    async def _next(self) -> Item:
        return await self._follow.__anext__()

    def __enter__(self) -> SyncFollow[Item]:
        self._portal.run(self._follow.__aenter__())
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the call."""
        with contextlib.suppress(ClientClosedError):
            self._portal.run(self._follow.aclose())

    def __del__(self) -> None:
        self._portal.later(self._follow.cancel)


class SyncSendStream:
    """Many Sends on one call, from any thread. Leaving ``with`` waits for their outcomes."""

    def __init__(self, portal: Portal, stream: SendStream) -> None:
        self._portal, self._stream = portal, stream
        self._room = threading.Semaphore(stream.max_in_flight)

    def __enter__(self) -> SyncSendStream:
        self._portal.run(self._stream.__aenter__())
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        with contextlib.suppress(ClientClosedError):
            self._portal.run(self._stream.__aexit__(kind, value, trace))

    def send(
        self,
        id: str,
        message: str | bytes,
        timeout_ms: int = 5000,
        *,
        content_type: str = "",
        correlation: str | Mapping[str, Any] | pb.Correlation | None = None,
    ) -> pb.SendResponse:
        """Sends and waits for the reply."""
        return self.submit(id, message, timeout_ms, content_type=content_type, correlation=correlation).result()

    def submit(
        self,
        id: str,
        message: str | bytes,
        timeout_ms: int = 5000,
        *,
        content_type: str = "",
        correlation: str | Mapping[str, Any] | pb.Correlation | None = None,
    ) -> concurrent.futures.Future[pb.SendResponse]:
        """Sends; the future has the reply. Waits only while ``max_in_flight`` Sends wait already."""
        if self._portal.inside():
            raise RuntimeError(_INSIDE)
        self._room.acquire()
        try:
            work = self._stream.send(id, message, timeout_ms, content_type=content_type, correlation=correlation)
            future = self._portal.submit(work)
        except BaseException:
            self._room.release()
            raise
        future.add_done_callback(lambda _: self._room.release())
        return future

    def close(self) -> None:
        """Ends the stream at once; Sends that wait end with an error."""
        with contextlib.suppress(ClientClosedError):
            self._portal.run(self._stream.close())

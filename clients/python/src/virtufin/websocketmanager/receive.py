"""Following: messages and lifecycle events as they come, across lost connections to the service."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timezone
from types import TracebackType
from typing import Any, Generic, Literal, TypeVar

import grpc
import grpc.aio

from virtufin._wsm.errors import ClientClosedError, WebSocketManagerError, enrich
from virtufin._wsm.link import Link, Method, being_cancelled, pause_before

from ._requests import make
from .protos import websocketmanager_pb2 as pb

Q = TypeVar("Q", pb.ReceiveRequest, pb.WatchRequest)
R = TypeVar("R", pb.ReceivedMessage, pb.LifecycleEvent)
Item = TypeVar("Item")
_C = grpc.StatusCode
# The connection to the service broke, or the service went away.
_BROKEN = (_C.UNAVAILABLE, _C.CANCELLED, _C.ABORTED, _C.INTERNAL, _C.UNKNOWN)


class Received:
    """One item of ``client.receive``: a message, a gap or an end (``kind``). ``raw`` is the proto message."""

    __slots__ = ("raw",)

    def __init__(self, raw: pb.ReceivedMessage) -> None:
        self.raw = raw

    @property
    def kind(self) -> Literal["message", "gap", "end"]:
        """``gap``: what ``gap`` names was missed. ``end``: nothing follows of this connection's epoch."""
        body = self.raw.WhichOneof("body")
        return body if body == "gap" or body == "end" else "message"

    @property
    def text(self) -> str | None:
        """The message as text; None for a binary one, a gap and an end."""
        return self.raw.text if self.raw.WhichOneof("body") == "text" else None

    @property
    def data(self) -> bytes:
        """The message as bytes, whether it was text or binary; empty for a gap and an end."""
        return self.raw.text.encode() if self.raw.text else self.raw.data

    def json(self) -> Any:
        """The message, which is JSON, as Python values."""
        return json.loads(self.data)

    @property
    def gap(self) -> pb.Gap | None:
        """What was missed, and why (``cause``)."""
        return self.raw.gap if self.raw.HasField("gap") else None

    @property
    def end(self) -> pb.End | None:
        """The last of an epoch."""
        return self.raw.end if self.raw.HasField("end") else None

    @property
    def cursor(self) -> str:
        """Give it to ``receive`` to go on after this item."""
        return self.raw.cursor

    @property
    def id(self) -> str:
        """The connection's."""
        return self.raw.id

    @property
    def epoch(self) -> int:
        """Rises whenever an instance takes the connection; after a gap into a higher one, lower ones are over."""
        return self.raw.epoch

    @property
    def seq(self) -> int:
        """Rises by one within an epoch; a hole is a loss."""
        return self.raw.seq

    @property
    def topic(self) -> str:
        """What it was published to; empty where it was not."""
        return self.raw.topic

    @property
    def room(self) -> str:
        """The room that it went to; empty for a connection's message."""
        return self.raw.room

    @property
    def offset(self) -> int:
        """The number within the room."""
        return self.raw.offset

    @property
    def content_type(self) -> str:
        """As the service knows it, such as ``application/json``."""
        return self.raw.content_type

    @property
    def timestamp(self) -> datetime:
        """When the service got it."""
        return self.raw.timestamp.ToDatetime(timezone.utc)

    def __repr__(self) -> str:
        body = self.gap or self.end or (self.data if self.text is None else self.text)
        return f"<Received {self.kind} id={self.id!r} epoch={self.epoch} seq={self.seq} {body!r}>"


class Follow(Generic[Item]):
    """An endless stream of items, for ``async for``. Leaving the loop ends the call, unless the follow is kept: then
    another loop goes on, and ``async with`` or `aclose` ends it.

    Where the connection to the service breaks, it is opened again after the last ``cursor``, until it has been
    away for `give_up_after` seconds (None: for ever).
    """

    def __init__(
        self,
        link: Link,
        method: Method[Any, Any],
        request: Any,
        wrap: Callable[[Any], Item],
        give_up_after: float | None,
        lost: Callable[[], Item] | None = None,
        has_ended: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        self._link, self._method, self._request, self._wrap = link, method, request, wrap
        self._give_up_after, self._lost, self._has_ended = give_up_after, lost, has_ended
        self._call: grpc.aio.UnaryStreamCall[Any, Any] | None = None
        # Not answered yet.
        self._opening: grpc.aio.UnaryStreamCall[Any, Any] | None = None
        self._opened = self._closed = self._ended = False
        self._attempt = 0
        self._last_heard = 0.0

    @property
    def cursor(self) -> str:
        """Of the last item; with it another follow goes on where this one was."""
        return str(self._request.cursor)

    def __aiter__(self) -> Follow[Item]:
        return self

    async def __aenter__(self) -> Follow[Item]:
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def cancel(self) -> None:
        """Ends the call, in the thread of its event loop."""
        self._closed = True
        for call in (self._call, self._opening):
            if call is not None:
                call.cancel()
        self._call = None

    async def aclose(self) -> None:
        """Ends the call. Leaving ``async for`` does it as well, when nobody else holds the follow."""
        self.cancel()

    async def _open(self) -> Any:
        """The call, answered by the service; what it refuses is raised here."""
        while self._call is None and not self._closed:
            call = self._opening = self._link.stream(self._method, self._request)
            try:
                await call.wait_for_connection()
            except grpc.aio.AioRpcError as error:
                await self._broken(error)
            except asyncio.CancelledError:
                if self._closed and not self._link.closed and not being_cancelled():
                    return None
                raise self._cancelled() from None
            else:
                if self._closed:
                    call.cancel()
                    return None
                self._call = call
                self._opened = True
                self._last_heard = time.monotonic()
            finally:
                self._opening = None
        return self._call

    async def __anext__(self) -> Item:
        while not self._closed:
            again = self._opened and self._call is None
            call = self._call or await self._open()
            if call is None:
                break
            if again and self._lost and not self._request.cursor and not getattr(self._request, "from_start", False):
                # It began with "from now", and nobody can say what came since.
                return self._lost()
            try:
                item: Any = await call.read()
            except grpc.aio.AioRpcError as error:
                self._call = None
                await self._broken(error)
                continue
            except asyncio.CancelledError:
                if self._closed and not being_cancelled():
                    break
                raise self._cancelled() from None
            if item is grpc.aio.EOF:
                self._call = None
                await self._at_end(call)
                continue
            self._attempt = 0
            self._ended = False
            if item.cursor:
                self._request.cursor = item.cursor
                if self._lost:
                    self._request.from_start = False
            return self._wrap(item)
        raise StopAsyncIteration

    async def _at_end(self, call: Any) -> None:
        """The service ended the stream: with the connection that was followed, or because it stops itself."""
        if await call.code() is not _C.OK:
            await self._broken(grpc.aio.AioRpcError(await call.code(), None, await call.trailing_metadata(), await call.details()))
        elif self._give_up_after == 0 or (self._has_ended and await self._has_ended()):
            self._closed = True
        else:
            self._ended = True
            await self._pause(None)

    def _cancelled(self) -> BaseException:
        if self._link.closed and not being_cancelled():
            return ClientClosedError(method=self._method.name)
        return asyncio.CancelledError()

    async def _broken(self, error: grpc.aio.AioRpcError) -> None:
        """Waits a little where trying again makes sense, and raises where it does not."""
        failure = enrich(error, self._method.name)
        if self._link.closed:
            raise ClientClosedError(method=self._method.name) from None
        if self._ended and failure.code() is _C.NOT_FOUND:
            # It had its end already: for good, unless the service is still leaving, or not all there yet.
            if self._has_ended is None or await self._has_ended():
                self._closed = True
            else:
                await self._pause(None)
            return
        # A refusal by the service has a reason of its own; a broken connection has none.
        transport = failure.reason in (None, "unavailable", "not_sent")
        if failure.code() not in _BROKEN or not transport:
            raise await self._link.explained(failure) from None
        if not self._opened and not self._link.may_repeat(failure, self._attempt, True):
            raise await self._link.explained(failure) from None
        await self._pause(failure)

    async def _pause(self, failure: WebSocketManagerError | None) -> None:
        away = time.monotonic() - self._last_heard
        if self._opened and self._give_up_after is not None and away > self._give_up_after:
            if failure is None:
                self._closed = True
                return
            raise await self._link.explained(failure)
        await asyncio.sleep(pause_before(self._attempt))
        self._attempt = min(self._attempt + 1, 16)
        if self._link.closed:
            raise ClientClosedError(method=self._method.name)


def receive_request(
    id: str | None,
    tags: list[pb.TagFilter] | None,
    topic: str | None,
    room: str | None,
    cursor: str,
    from_start: bool,
) -> pb.ReceiveRequest:
    """The request; exactly one source must be given."""
    sources = {"id": id, "filter": tags, "topic": topic, "room": room}
    given = [name for name, value in sources.items() if value is not None]
    if len(given) != 1:
        said = " and ".join(given) if given else "none of them"
        raise ValueError(f"receive: exactly one of id, filter, topic and room is followed, not {said}")
    if cursor and from_start:
        raise ValueError("receive: cursor and from_start exclude each other")
    if tags is not None:
        return make(pb.ReceiveRequest, filter=pb.TagFilters(filters=tags), cursor=cursor, from_start=from_start)
    if id is not None:
        return make(pb.ReceiveRequest, id=id, cursor=cursor, from_start=from_start)
    if topic is not None:
        return make(pb.ReceiveRequest, topic=topic, cursor=cursor, from_start=from_start)
    return make(pb.ReceiveRequest, room=room, cursor=cursor, from_start=from_start)


def lost_item() -> Received:
    """A gap of our own: the way to the service broke before the first item, so nothing says where to go on."""
    return Received(pb.ReceivedMessage(gap=pb.Gap(cause="client_reconnected")))

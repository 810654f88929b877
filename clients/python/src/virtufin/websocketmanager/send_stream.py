"""Many Sends on one call."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import grpc

from virtufin._wsm import h2
from virtufin._wsm.errors import CODES, ClientClosedError, WebSocketManagerError, error_of
from virtufin._wsm.link import Link, pause_before

from ._requests import send_request
from .protos import websocketmanager_pb2 as pb
from .protos.methods import WebSocketManager

# How much longer than the service we wait: its own answer says more.
MARGIN = 5.0
SERVER_TIMEOUT = 10.0
_NAME = WebSocketManager.SendStream.name
_CLOSED = "the send stream is closed; open another"
_parse = pb.SendResult.FromString


class SendStream:
    """A stream for Sends, from ``client.send_stream()``. Use it in ``async with``, from any number of tasks.

    Each Send has its own outcome, in any order. When the connection to the service breaks, those that
    wait end with ABORTED ``maybe_sent``, and the next one opens it again.
    """

    def __init__(self, link: Link, max_in_flight: int) -> None:
        if max_in_flight < 1:
            raise ValueError(f"max_in_flight: {max_in_flight} is not above 0")
        self._link = link
        self._room = asyncio.Semaphore(max_in_flight)
        self._waiting: dict[int, tuple[asyncio.Future[pb.SendResponse], float]] = {}
        self._last_tag = 0
        self._stream: h2.Http2Stream | None = None
        self._opening = asyncio.Lock()
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False
        self._ends: list[asyncio.Future[None]] = []

    async def __aenter__(self) -> SendStream:
        await self._ready()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self._settled()
        await self.close()

    async def send(
        self,
        id: str,
        message: str | bytes,
        timeout_ms: int = 5000,
        *,
        content_type: str = "",
        correlation: str | Mapping[str, Any] | pb.Correlation | None = None,
    ) -> pb.SendResponse:
        """Sends and waits for the reply, as ``client.send`` does."""
        attempt = 0
        while True:
            future = await self.start(id, message, timeout_ms, content_type=content_type, correlation=correlation)
            try:
                return await future
            except WebSocketManagerError as error:
                if error.certainty != "not_sent" or not self._link.may_repeat(error, attempt, False):
                    raise await self._link.explained(error) from None
            await asyncio.sleep(pause_before(attempt))
            attempt += 1

    async def start(
        self,
        id: str,
        message: str | bytes,
        timeout_ms: int = 5000,
        *,
        content_type: str = "",
        correlation: str | Mapping[str, Any] | pb.Correlation | None = None,
    ) -> asyncio.Future[pb.SendResponse]:
        """Sends; the future has the reply. Waits only while ``max_in_flight`` Sends wait already."""
        request = send_request(id, message, timeout_ms, content_type, correlation)
        await self._room.acquire()
        try:
            stream = self._stream
            if stream is None or stream.ended or self._closed or self._link.closed:
                stream = await self._ready()
                if stream.ended:
                    raise await self._link.explained(self._lost(stream.error, written=False))
            loop = asyncio.get_running_loop()
            future: asyncio.Future[pb.SendResponse] = loop.create_future()
            self._last_tag = request.tag = self._last_tag + 1
            stream.write(request.SerializeToString())
        except BaseException:
            self._room.release()
            raise
        self._waiting[request.tag] = (future, loop.time() + (timeout_ms / 1000 or SERVER_TIMEOUT) + MARGIN)
        if self._sweeper is None:
            self._sweeper = loop.call_later(1.0, self._sweep)
        return future

    async def _ready(self) -> h2.Http2Stream:
        """The stream, opened where it is not."""
        async with self._opening:
            if self._closed:
                raise ClientClosedError(details=_CLOSED, method=_NAME)
            self._link.check(_NAME)
            if self._stream is None or self._stream.ended:
                self._stream = await self._open()
            return self._stream

    async def _open(self) -> h2.Http2Stream:
        link, attempt = self._link, 0
        tls = link.tls.context() if link.tls else None
        name = link.tls.server_name if link.tls else None
        while True:
            try:
                return await asyncio.wait_for(self._connect(tls, name), link.timeout)
            except asyncio.TimeoutError:
                said = f"no connection to {link.target} within {link.timeout} s"
                failure = error_of(grpc.StatusCode.DEADLINE_EXCEEDED, said, _NAME)
            except WebSocketManagerError as error:
                failure = error
            if not link.may_repeat(failure, attempt, False):
                raise await link.explained(failure)
            await asyncio.sleep(pause_before(attempt))
            attempt += 1

    async def _connect(self, tls: ssl.SSLContext | None, name: str | None) -> h2.Http2Stream:
        link = self._link
        stream = await h2.connect(link.host, link.port, tls, name, self._made, _NAME)
        self._ends = [*(end for end in self._ends if not end.done()), stream.closed]
        link.streams.add(self)
        try:
            stream.begin(WebSocketManager.SendStream.path, link.target, tls is not None, link.metadata)
            await stream.greeted
        except BaseException:
            stream.abort()
            raise
        return stream

    def _made(self) -> h2.Http2Stream:
        return h2.Http2Stream(_NAME, self._answered, self._ended)

    def _answered(self, message: bytes) -> None:
        result = _parse(message)
        waiting = self._waiting.pop(result.tag, None)
        if waiting is None:
            return
        self._room.release()
        future = waiting[0]
        if future.done():
            return
        if result.code == 0:
            future.set_result(result.response)
        else:
            future.set_exception(failure_of(result, _NAME))

    def _ended(self, error: WebSocketManagerError | None) -> None:
        """The stream is over: what still waits will hear nothing more."""
        waiting, self._waiting = self._waiting, {}
        for future, _ in waiting.values():
            self._room.release()
            if not future.done():
                future.set_exception(self._lost(error))

    def _lost(self, error: WebSocketManagerError | None, written: bool = True) -> WebSocketManagerError:
        """What a Send is told whose stream is over."""
        if self._link.closed:
            return ClientClosedError(method=_NAME)
        if self._closed:
            return ClientClosedError(details=_CLOSED, method=_NAME)
        said = (error.details() if error else None) or "the stream ended"
        if error is not None and error.code() not in (grpc.StatusCode.ABORTED, grpc.StatusCode.UNAVAILABLE):
            return error_of(error.code(), said, _NAME, error.trailing_metadata())
        code = grpc.StatusCode.ABORTED if written else grpc.StatusCode.UNAVAILABLE
        lost = error_of(code, f"the connection to the service broke while this Send waited: {said}", _NAME)
        lost.reason = lost.certainty = "maybe_sent" if written else "not_sent"
        return lost

    def _sweep(self) -> None:
        """The service answers each Send in time. Where it does not, the network between us is gone: so is the stream."""
        now = asyncio.get_running_loop().time()
        late = [tag for tag, (_, end) in self._waiting.items() if end < now]
        for tag in late:
            future, _ = self._waiting.pop(tag)
            self._room.release()
            if not future.done():
                future.set_exception(error_of(grpc.StatusCode.DEADLINE_EXCEEDED, "the service does not answer", _NAME))
        if late and self._stream is not None:
            self._stream.abort()
            self._ended(error_of(grpc.StatusCode.ABORTED, "the service does not answer", _NAME))
        self._sweeper = asyncio.get_running_loop().call_later(1.0, self._sweep) if self._waiting else None

    async def _settled(self) -> None:
        """All Sends have their outcome; errors stay with their futures."""
        futures = [future for future, _ in self._waiting.values()]
        if futures:
            await asyncio.wait(futures)

    async def close(self) -> None:
        """Ends the stream at once; Sends that wait end with an error. Leaving ``async with`` waits for them first."""
        self._closed = True
        self._link.streams.discard(self)
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        if self._stream is not None:
            self._stream.abort()
        self._ended(None)
        ends, self._ends = self._ends, []
        with contextlib.suppress(asyncio.TimeoutError):
            for end in ends:
                await asyncio.wait_for(end, 2.0)


def failure_of(result: pb.SendResult, method: str) -> WebSocketManagerError:
    """The failure that a result tells."""
    error = error_of(CODES.get(result.code, grpc.StatusCode.UNKNOWN), result.message, method)
    if result.certainty == pb.SEND_CERTAINTY_NOT_SENT:
        error.certainty = "not_sent"
    elif result.certainty == pb.SEND_CERTAINTY_MAYBE_SENT:
        error.certainty = "maybe_sent"
    if error.reason is None and result.outcome == pb.SEND_OUTCOME_TIMED_OUT:
        error.reason = "timed_out"
    return error

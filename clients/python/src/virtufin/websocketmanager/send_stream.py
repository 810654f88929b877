"""Many Sends on one call."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from virtufin._wsm import h2
from virtufin._wsm.errors import CODES, ClientClosedError, WebSocketManagerError, error_of
from virtufin._wsm.link import Link, being_cancelled, pause_before

from ._requests import send_request
from .protos import websocketmanager_pb2 as pb
from .protos.methods import WebSocketManager

# How much longer than the service we wait: its own answer says more.
MARGIN = 5.0
SERVER_TIMEOUT = 10.0
_NAME = WebSocketManager.SendStream.name
_CLOSED = "the send stream is closed; open another"
_parse = pb.SendResult.FromString
_C = grpc.StatusCode
# The call was refused as a whole: none of its Sends was looked at.
_NOT_BEGUN = (_C.UNIMPLEMENTED, _C.UNAUTHENTICATED, _C.PERMISSION_DENIED)


def reply_within(timeout_ms: int) -> float:
    """Seconds in which the service has answered a Send; a time that makes no sense it refuses itself."""
    return (max(timeout_ms, 0) / 1000 or SERVER_TIMEOUT) + MARGIN


class SendStream:
    """A stream for Sends, from ``client.send_stream()``. Use it in ``async with``, from any number of tasks.

    Each Send has its own outcome, in any order. When the connection to the service breaks, those that
    wait end with ABORTED ``maybe_sent``, and the next one opens it again.
    """

    def __init__(self, link: Link, max_in_flight: int) -> None:
        if max_in_flight < 1:
            raise ValueError(f"max_in_flight: {max_in_flight} is not above 0")
        self._link = link
        self.max_in_flight = max_in_flight
        self._room = asyncio.Semaphore(max_in_flight)
        self._waiting: dict[int, tuple[asyncio.Future[pb.SendResponse], float]] = {}
        self._last_tag = 0
        self._stream: h2.Http2Stream | None = None
        self._opening = asyncio.Lock()
        self._opener: asyncio.Task[h2.Http2Stream] | None = None
        # Sends without an outcome: those that wait for room, for the stream or for another attempt as well.
        self._unsettled = 0
        self._all_settled: asyncio.Future[None] | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False
        self._ends: list[asyncio.Future[None]] = []

    async def __aenter__(self) -> SendStream:
        await self._ready()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                await self._settled()
        finally:
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
        request = send_request(id, message, timeout_ms, content_type, correlation)
        attempt = 0
        self._unsettled += 1
        try:
            while True:
                future = await self._start(request)
                try:
                    return await future
                except WebSocketManagerError as error:
                    if error.certainty is None:
                        raise await self._link.explained(error) from None
                    if error.certainty != "not_sent" or not self._link.may_repeat(error, attempt, False):
                        raise
                await asyncio.sleep(pause_before(attempt))
                attempt += 1
        finally:
            self._settle()

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
        self._unsettled += 1
        try:
            future = await self._start(request)
        except BaseException:
            self._settle()
            raise
        future.add_done_callback(self._settle)
        return future

    async def _start(self, request: pb.SendRequest) -> asyncio.Future[pb.SendResponse]:
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
        self._waiting[request.tag] = (future, loop.time() + reply_within(request.timeout_ms))
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
                self._stream = await self._opened()
            return self._stream

    async def _opened(self) -> h2.Http2Stream:
        """A new stream; closing does not wait for a service that does not answer."""
        self._link.streams.add(self)
        self._opener = asyncio.ensure_future(self._open())
        try:
            stream = await self._opener
        except BaseException as error:
            if all(end.done() for end in self._ends):
                self._link.streams.discard(self)
            if isinstance(error, asyncio.CancelledError) and self._closed and not being_cancelled():
                raise self._lost(None) from None
            raise
        finally:
            self._opener = None
        if self._closed:
            stream.abort()
            raise self._lost(None)
        return stream

    async def _open(self) -> h2.Http2Stream:
        link, attempt = self._link, 0
        tls = link.tls.context() if link.tls else None
        name = link.tls.server_name if link.tls else None
        while True:
            try:
                return await asyncio.wait_for(self._connect(tls, name), link.timeout)
            except asyncio.TimeoutError:
                said = f"no connection to {link.target} within {link.timeout} s"
                failure = error_of(_C.DEADLINE_EXCEEDED, said, _NAME)
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
        try:
            result = _parse(message)
        except DecodeError as error:
            if self._stream is not None:
                self._stream.abort()
            return self._ended(error_of(_C.INTERNAL, f"the service's answer is no SendResult: {error}", _NAME))
        waiting = self._waiting.pop(result.tag, None)
        if waiting is None:
            return None
        self._room.release()
        future = waiting[0]
        if future.done():
            return None
        if result.code == 0:
            future.set_result(result.response)
        else:
            future.set_exception(failure_of(result, _NAME))
        return None

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
        if error is not None and error.code() not in (_C.ABORTED, _C.UNAVAILABLE):
            ended = error_of(error.code(), said, _NAME, error.trailing_metadata())
            if written and error.code() not in _NOT_BEGUN:
                # It may be the fault of another Send of this stream.
                ended.certainty = "maybe_sent"
            return ended
        code = _C.ABORTED if written else _C.UNAVAILABLE
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
                future.set_exception(error_of(_C.DEADLINE_EXCEEDED, "the service does not answer", _NAME))
        if late and self._stream is not None:
            self._stream.abort()
            self._ended(error_of(_C.ABORTED, "the service does not answer", _NAME))
        self._sweeper = asyncio.get_running_loop().call_later(1.0, self._sweep) if self._waiting else None

    async def _settled(self) -> None:
        """All Sends have their outcome; errors stay with their futures."""
        # Tasks that were made just now begin.
        await asyncio.sleep(0)
        while self._unsettled:
            self._all_settled = asyncio.get_running_loop().create_future()
            await self._all_settled

    def _settle(self, _: object = None) -> None:
        """One Send has its outcome."""
        self._unsettled -= 1
        if not self._unsettled and self._all_settled is not None and not self._all_settled.done():
            self._all_settled.set_result(None)

    async def close(self) -> None:
        """Ends the stream at once; Sends that wait end with an error. Leaving ``async with`` waits for them first."""
        self._closed = True
        self._link.streams.discard(self)
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        if self._opener is not None:
            self._opener.cancel()
        if self._stream is not None:
            self._stream.abort()
        self._ended(None)
        ends, self._ends = self._ends, []
        with contextlib.suppress(asyncio.TimeoutError):
            for end in ends:
                await asyncio.wait_for(end, 2.0)


def failure_of(result: pb.SendResult, method: str) -> WebSocketManagerError:
    """The failure that a result tells."""
    error = error_of(CODES.get(result.code, _C.UNKNOWN), result.message, method)
    if result.certainty == pb.SEND_CERTAINTY_NOT_SENT:
        error.certainty = "not_sent"
    elif result.certainty == pb.SEND_CERTAINTY_MAYBE_SENT:
        error.certainty = "maybe_sent"
    if error.reason is None and result.outcome == pb.SEND_OUTCOME_TIMED_OUT:
        error.reason = "timed_out"
    return error

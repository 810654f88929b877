"""The way to the service: one channel, its calls with deadlines and safe retries, and errors that say what to do."""

from __future__ import annotations

import asyncio
import random
import sys
import weakref
from collections.abc import AsyncIterable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import grpc
import grpc.aio

from .errors import ClientClosedError, WebSocketManagerError, enrich, error_of
from .probe import explain
from .tls import Tls
from .version import __version__

Q = TypeVar("Q")
R = TypeVar("R")
Token = str | Callable[[], str]

MESSAGE_BYTES_MAX = 128 * 1024 * 1024
# Pauses between attempts: between half of a bound that doubles and all of it. Two of them together are longer
# than the channel itself waits before it tries again, so that a service that is back is found by a call.
RETRY_BASE = 0.3
RETRY_MAX = 2.0
# What the service says for a call that it did not begin.
_NOT_BEGUN = (None, "unavailable", "not_sent")

_OPTIONS: list[tuple[str, int | str]] = [
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    # The service names its own bound.
    ("grpc.max_send_message_length", -1),
    # A service that comes back is found at once, not in two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 300),
    # A follower that hears nothing learns that the other side is gone.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Nobody but us decides what is repeated.
    ("grpc.service_config_disable_resolution", 1),
    # Clients in one process do not share a connection, so that closing one closes its own.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.primary_user_agent", f"virtufin-websocketmanager-python/{__version__}"),
]


@dataclass(frozen=True)
class Method(Generic[Q, R]):
    """One RPC."""

    path: str
    serialize: Callable[[Q], bytes]
    parse: Callable[[bytes], R]

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


_HEALTH: Method[bytes, bytes] = Method("/grpc.health.v1.Health/Check", bytes, bytes)
# HealthCheckResponse: field 1, status, is 1.
_SERVING = b"\x08\x01"


def being_cancelled() -> bool:
    """Whether this task was cancelled by somebody (Python 3.10 cannot tell: then it was not)."""
    task = asyncio.current_task()
    return sys.version_info >= (3, 11) and task is not None and task.cancelling() > 0


def pause_before(attempt: int) -> float:
    """Seconds to wait before the attempt, the first of which is 0."""
    bound = min(RETRY_MAX, RETRY_BASE * 2**attempt)
    return random.uniform(bound / 2, bound)


class Closable(Protocol):
    """What a link closes with itself."""

    async def close(self) -> None: ...


class Link:
    """A channel that is made at the first call, in the event loop of that call."""

    def __init__(
        self,
        host: str,
        port: int,
        tls: Tls | None,
        token: Token | None,
        timeout: float,
        retries: int,
        options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        if not host or "/" in host:
            raise ValueError(f"host: {host!r} is no host name; give the name alone, and the port apart")
        if not isinstance(port, int) or not 0 < port < 65536:
            raise ValueError(f"port: {port!r} is not between 1 and 65535")
        if timeout <= 0:
            raise ValueError(f"timeout: {timeout!r} is not above 0 seconds")
        self.host, self.port, self.tls, self.timeout, self.retries = host, port, tls, timeout, retries
        self.target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.closed = False
        self._token = token
        self._fixed = () if token is None or callable(token) else (("authorization", f"Bearer {token}"),)
        self._options = [*_OPTIONS, *options]
        self._channel: grpc.aio.Channel | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._calls: dict[str, Any] = {}
        # Older grpcio forgets at a close those that wait for their next message. Weakly: who drops one ends it.
        self._streams: weakref.WeakSet[Any] = weakref.WeakSet()
        # What else is open and ends with the link.
        self.streams: set[Closable] = set()

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with each call."""
        return (("authorization", f"Bearer {self._token()}"),) if callable(self._token) else self._fixed

    def check(self, method: str) -> None:
        """Raises when nothing can be called any more, or not from here."""
        if self.closed:
            raise ClientClosedError(method=method)
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise RuntimeError(f"{method}: this client belongs to another event loop; make one in each")

    def _open(self, method: Method[Q, R], kind: str) -> Any:
        self.check(method.name)
        if self._channel is None:
            if self.tls:
                name = self.tls.server_name
                options = [*self._options, *([("grpc.ssl_target_name_override", name)] if name else [])]
                self._channel = grpc.aio.secure_channel(self.target, self.tls.credentials(), options=options)
            else:
                self._channel = grpc.aio.insecure_channel(self.target, options=self._options)
        make = getattr(self._channel, kind)
        call = make(method.path, request_serializer=method.serialize, response_deserializer=method.parse)
        if kind == "unary_unary":
            self._calls[method.path] = call
        return call

    async def unary(self, method: Method[Q, R], request: Q, timeout: float | None = None, repeatable: bool = False) -> R:
        """Calls; again where nothing can have happened, or where once more does no harm (`repeatable`)."""
        call = self._calls.get(method.path)
        loop = asyncio.get_running_loop()
        if call is None or loop is not self._loop:
            call = self._open(method, "unary_unary")
        end = loop.time() + (self.timeout if timeout is None else timeout)
        attempt = 0
        while True:
            try:
                answer: R = await call(request, timeout=end - loop.time(), metadata=self.metadata or None)
                return answer
            except grpc.aio.AioRpcError as error:
                failure = enrich(error, method.name)
            except asyncio.CancelledError:
                if self.closed and not being_cancelled():
                    raise ClientClosedError(method=method.name) from None
                raise
            pause = failure.retry_after or pause_before(attempt)
            if not self.may_repeat(failure, attempt, repeatable) or loop.time() + pause >= end:
                raise await self.explained(failure) from None
            attempt += 1
            await asyncio.sleep(pause)
            if self.closed:
                raise ClientClosedError(method=method.name)

    def may_repeat(self, failure: WebSocketManagerError, attempt: int, repeatable: bool) -> bool:
        """Only what certainly was not done, or may be done twice."""
        if attempt >= self.retries or failure.code() is not grpc.StatusCode.UNAVAILABLE:
            return False
        return failure.certainty == "not_sent" or (repeatable and failure.reason in _NOT_BEGUN)

    def stream(self, method: Method[Q, R], request: Q, timeout: float | None = None) -> grpc.aio.UnaryStreamCall[Q, R]:
        """A call that is answered many times, by default without a deadline."""
        make = self._open(method, "unary_stream")
        call: grpc.aio.UnaryStreamCall[Q, R] = make(request, timeout=timeout, metadata=self.metadata or None)
        self._streams.add(call)
        return call

    def duplex(
        self, method: Method[Q, R], requests: AsyncIterable[Q], timeout: float | None = None
    ) -> grpc.aio.StreamStreamCall[Q, R]:
        """A call with many requests and many answers."""
        make = self._open(method, "stream_stream")
        call: grpc.aio.StreamStreamCall[Q, R] = make(requests, timeout=timeout, metadata=self.metadata or None)
        self._streams.add(call)
        return call

    async def serving(self) -> bool:
        """Whether the service takes new work, by the standard health service; one without that does."""
        try:
            return await self.unary(_HEALTH, b"") == _SERVING
        except WebSocketManagerError as error:
            return error.code() is grpc.StatusCode.UNIMPLEMENTED

    async def explained(self, failure: WebSocketManagerError) -> WebSocketManagerError:
        """The failure, in words that name the way out where gRPC's do not."""
        better = await explain(failure, self.host, self.port, self.tls is not None)
        if better is None:
            return failure
        code = grpc.StatusCode.UNAVAILABLE if failure.code() is grpc.StatusCode.UNKNOWN else failure.code()
        said = error_of(code, better, failure.method, failure.trailing_metadata(), debug=failure.details())
        said.certainty = failure.certainty
        return said

    async def close(self) -> None:
        """Ends all calls. Once is enough, twice does no harm."""
        self.closed = True
        self._calls.clear()
        for call in list(self._streams):
            call.cancel()
        for stream in list(self.streams):
            await stream.close()
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()


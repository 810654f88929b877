"""What goes wrong, as exceptions: the gRPC error, and in plain attributes what its details say."""

from __future__ import annotations

from typing import Any, Literal

import grpc
import grpc.aio

from . import wire

Certainty = Literal["not_sent", "maybe_sent"]

DETAILS = "grpc-status-details-bin"
# Words of gRPC itself for a connection that never came about: no request can have been written to it.
_NEVER_CONNECTED = ("failed to connect to all addresses", "errors resolving", "DNS resolution failed")


class WebSocketManagerError(grpc.aio.AioRpcError):
    """An error of a call; ``except grpc.aio.AioRpcError`` catches it.

    Beside ``code()`` and ``details()`` of gRPC it has, each None where it is not known:

    * ``reason``: the service's own word, such as ``not_found`` or ``fifo_resync``;
    * ``certainty``: ``not_sent`` when nothing was done or written, ``maybe_sent`` when it may have been;
    * ``field``: the argument at fault;
    * ``retry_after``: seconds after which the call may work;
    * ``method``: the call that failed, such as ``Send``.
    """

    reason: str | None
    certainty: Certainty | None
    field: str | None
    retry_after: float | None
    method: str

    def __init__(
        self,
        code: grpc.StatusCode,
        initial_metadata: Any = None,
        trailing_metadata: Any = None,
        details: str | None = None,
        debug_error_string: str | None = None,
        method: str = "",
    ) -> None:
        super().__init__(code, initial_metadata, trailing_metadata, details, debug_error_string)
        self.method = method
        self.reason = self.certainty = self.field = self.retry_after = None
        for key, value in trailing_metadata or ():
            if key == DETAILS and isinstance(value, bytes):
                self._read(value)
        said = details or ""
        # The service says it as the reason, or after another reason in brackets.
        if self.reason == "maybe_sent" or said.endswith("(maybe_sent)"):
            self.certainty = "maybe_sent"
        elif self.reason == "not_sent" or said.endswith("(not_sent)"):
            self.certainty = "not_sent"
        elif code is grpc.StatusCode.UNAVAILABLE and said.startswith(_NEVER_CONNECTED):
            self.certainty = "not_sent"

    def _read(self, details: bytes) -> None:
        try:
            found = wire.Status.FromString(details).details
            for detail in found:
                kind = detail.type_url.rpartition("/")[2]
                if kind == "google.rpc.ErrorInfo":
                    self.reason = wire.ErrorInfo.FromString(detail.value).reason or None
                elif kind == "google.rpc.BadRequest":
                    violations = wire.BadRequest.FromString(detail.value).field_violations
                    self.field = violations[0].field if violations else None
                elif kind == "google.rpc.RetryInfo":
                    delay = wire.RetryInfo.FromString(detail.value).retry_delay
                    self.retry_after = delay.seconds + delay.nanos / 1e9
        except wire.DecodeError:
            # Details of somebody in between, who writes them otherwise: code and text still stand.
            return

    def __str__(self) -> str:
        reason = f" ({self.reason})" if self.reason else ""
        method = f"{self.method}: " if self.method else ""
        return f"{method}{self.code().name}{reason}: {self.details()}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"

    def __reduce__(self) -> tuple[Any, ...]:
        taken = (self.code(), self.initial_metadata(), self.trailing_metadata(), self.details(), self.debug_error_string())
        known = {name: getattr(self, name) for name in ("reason", "certainty", "field", "retry_after")}
        return type(self), (*taken, self.method), known


class InvalidArgumentError(WebSocketManagerError):
    """An argument is wrong; ``field`` names it."""


class NotFoundError(WebSocketManagerError):
    """There is no such connection or tag."""


class AlreadyExistsError(WebSocketManagerError):
    """The id is in use with other settings, or the correlation id is in flight."""


class NotOpenError(WebSocketManagerError):
    """The connection's socket is not open now, or the pairing of replies is in doubt."""


class DeniedError(WebSocketManagerError):
    """The address is not allowed, or the credentials do not suffice."""


class TimedOutError(WebSocketManagerError):
    """No reply came in time, or no answer to the call itself."""


class UnavailableError(WebSocketManagerError):
    """The service, or what it should reach, is not there; see ``certainty``."""


class AbortedError(WebSocketManagerError):
    """It broke in the midst: what was sent may have arrived (``certainty`` is ``maybe_sent``)."""


class FullError(WebSocketManagerError):
    """A queue, a cap or a rate is full; ``retry_after`` may say when it will not be."""


class UnsupportedError(WebSocketManagerError):
    """The service does not know this call or setting; it is of an older version."""


class ClientClosedError(WebSocketManagerError):
    """The client was closed, before the call or while it waited."""

    def __init__(
        self,
        code: grpc.StatusCode = grpc.StatusCode.CANCELLED,
        initial_metadata: Any = None,
        trailing_metadata: Any = None,
        details: str | None = "the client is closed; make a new one",
        debug_error_string: str | None = None,
        method: str = "",
    ) -> None:
        super().__init__(code, initial_metadata, trailing_metadata, details, debug_error_string, method)


_CLASSES: dict[grpc.StatusCode, type[WebSocketManagerError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgumentError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidArgumentError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExistsError,
    grpc.StatusCode.FAILED_PRECONDITION: NotOpenError,
    grpc.StatusCode.PERMISSION_DENIED: DeniedError,
    grpc.StatusCode.UNAUTHENTICATED: DeniedError,
    grpc.StatusCode.DEADLINE_EXCEEDED: TimedOutError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.ABORTED: AbortedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: FullError,
    grpc.StatusCode.UNIMPLEMENTED: UnsupportedError,
}
CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def error_of(
    code: grpc.StatusCode,
    details: str | None,
    method: str,
    trailing: Any = None,
    initial: Any = None,
    debug: str | None = None,
) -> WebSocketManagerError:
    """The error of the class that fits the code."""
    return _CLASSES.get(code, WebSocketManagerError)(code, initial, trailing, details, debug, method)


def enrich(error: grpc.aio.AioRpcError, method: str) -> WebSocketManagerError:
    """gRPC's error as ours."""
    return error_of(
        error.code(), error.details(), method, error.trailing_metadata(), error.initial_metadata(), error.debug_error_string()
    )

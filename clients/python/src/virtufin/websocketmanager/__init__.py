"""A client of the WebSocket Manager.

    async with WebSocketManagerClient() as client:
        connection = await client.connect("wss://example.com/feed")
        print((await client.send(connection.id, "hello")).response)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from virtufin._wsm.errors import (
    AbortedError,
    AlreadyExistsError,
    ClientClosedError,
    DeniedError,
    FullError,
    InvalidArgumentError,
    NotFoundError,
    NotOpenError,
    TimedOutError,
    UnavailableError,
    UnsupportedError,
    WebSocketManagerError,
)
from virtufin._wsm.tls import Tls
from virtufin._wsm.version import __version__

from .client import WebSocketManagerClient
from .protos.websocketmanager_pb2 import (
    CONNECTED,
    CONNECTING,
    DISCONNECTED,
    ERROR,
    RECONNECTING,
    UNKNOWN,
    ConnectionStatus,
)
from .receive import Follow, Received
from .rooms import Rooms
from .send_stream import SendStream
from .sync import SyncWebSocketManagerClient

if TYPE_CHECKING:
    from .messages import UnknownMessage, WebSocketMessage

__all__ = [
    "CONNECTED",
    "CONNECTING",
    "DISCONNECTED",
    "ERROR",
    "RECONNECTING",
    "UNKNOWN",
    "AbortedError",
    "AlreadyExistsError",
    "ClientClosedError",
    "ConnectionStatus",
    "DeniedError",
    "Follow",
    "FullError",
    "InvalidArgumentError",
    "NotFoundError",
    "NotOpenError",
    "Received",
    "Rooms",
    "SendStream",
    "SyncWebSocketManagerClient",
    "TimedOutError",
    "Tls",
    "UnavailableError",
    "UnknownMessage",
    "UnsupportedError",
    "WebSocketManagerClient",
    "WebSocketManagerError",
    "WebSocketMessage",
    "__version__",
]


def __getattr__(name: str) -> Any:
    # Only who uses typed messages needs pydantic.
    if name in ("WebSocketMessage", "UnknownMessage"):
        from . import messages

        return getattr(messages, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

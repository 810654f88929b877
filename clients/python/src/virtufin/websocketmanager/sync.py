"""The client without await: each method of the asynchronous one, blocking, from any thread."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from virtufin._wsm.errors import ClientClosedError
from virtufin._wsm.link import Token
from virtufin._wsm.tls import Tls

from . import client as _client
from ._portal import Portal, SyncFollow, SyncSendStream
from ._sync_methods import RoomsMethods, WebSocketManagerClientMethods
from .rooms import Rooms

__all__ = ["SyncFollow", "SyncRooms", "SyncSendStream", "SyncWebSocketManagerClient"]


class SyncRooms(RoomsMethods):
    """``client.rooms``."""

    def __init__(self, portal: Portal, twin: Rooms) -> None:
        self._portal, self._twin = portal, twin


class SyncWebSocketManagerClient(WebSocketManagerClientMethods):
    """A client of the service's gRPC port that blocks. Use it in ``with``, or end it with ``close()``.

    The arguments are those of `WebSocketManagerClient`. It runs one on a thread of its own, and may be used by
    several threads at the same time.
    """

    rooms: SyncRooms

    def __init__(
        self,
        host: str = "localhost",
        port: int = 5002,
        *,
        tls: bool | Tls | None = None,
        token: Token | None = None,
        timeout: float = 30.0,
        retries: int = 2,
        options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        self._portal = Portal()
        self._twin = _client.WebSocketManagerClient(
            host, port, tls=tls, token=token, timeout=timeout, retries=retries, options=options
        )
        self.rooms = SyncRooms(self._portal, self._twin.rooms)

    def __enter__(self) -> SyncWebSocketManagerClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends all calls, the connection and the thread. A second time does nothing."""
        with contextlib.suppress(ClientClosedError):
            self._portal.run(self._twin.close())
        self._portal.stop()

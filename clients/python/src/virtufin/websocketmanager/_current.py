"""The client that typed messages are sent with when none is named."""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .client import WebSocketManagerClient

# The innermost last.
_around: contextvars.ContextVar[tuple[WebSocketManagerClient, ...]] = contextvars.ContextVar("virtufin_wsm_clients", default=())
# In the order in which they were entered.
_entered: list[WebSocketManagerClient] = []


def enter(client: WebSocketManagerClient) -> None:
    """It is in use from here on, in this context and all that begin in it."""
    _around.set((*(other for other in _around.get() if other in _entered and other is not client), client))
    if client not in _entered:
        _entered.append(client)


def leave(client: WebSocketManagerClient) -> None:
    """It is closed."""
    if client in _entered:
        _entered.remove(client)


def current() -> WebSocketManagerClient:
    """The innermost that is open in this context, or the only one there is."""
    for client in reversed(_around.get()):
        if client in _entered:
            return client
    if len(_entered) == 1:
        return _entered[0]
    what = "none is open" if not _entered else f"{len(_entered)} are open, and none of them here"
    raise LookupError(f"which client sends this? {what}: use `async with WebSocketManagerClient()`, or give client=")

"""Typed messages of rooms, with pydantic (``pip install virtufin-websocketmanager[messages]``)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from . import _current
from .receive import Received

try:
    from pydantic import BaseModel
except ImportError as error:
    raise ImportError("typed messages need pydantic: pip install virtufin-websocketmanager[messages]") from error

if TYPE_CHECKING:
    from .client import WebSocketManagerClient
    from .protos.rooms_pb2 import RoomPosition


class UnknownMessage(ValueError):
    """No class has the MESSAGE_ID of what came, or it has none."""


class WebSocketMessage(BaseModel):
    """A message with a MESSAGE_ID::

        class ChatMessage(WebSocketMessage):
            MESSAGE_ID = "chat.message"
            text: str

        await ChatMessage(text="hello").send("lobby")

    It is sent with the client of the ``async with`` around it, or with ``client=``.
    """

    MESSAGE_ID: ClassVar[str]
    _classes: ClassVar[dict[str, type[WebSocketMessage]]] = {}

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        name = cls.__dict__.get("MESSAGE_ID")
        if name is None:
            return
        if not isinstance(name, str) or not name:
            raise TypeError(f"{cls.__name__}.MESSAGE_ID: a text is needed, not {name!r}")
        other = WebSocketMessage._classes.get(name)
        # The same class again is a reloaded module.
        if other is not None and (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
            raise TypeError(f"{cls.__name__}.MESSAGE_ID: {name!r} is that of {other.__name__} already")
        WebSocketMessage._classes[name] = cls

    async def send(self, *rooms: str, client: WebSocketManagerClient | None = None) -> Sequence[RoomPosition]:
        """Sends it to the members of the rooms; answers its numbers there."""
        if not rooms:
            raise ValueError("rooms: at least one is needed; broadcast() is for all connections")
        return await (client or _current.current()).rooms.send(rooms, self)

    async def broadcast(self, *, client: WebSocketManagerClient | None = None) -> Sequence[RoomPosition]:
        """Sends it to every accepted connection."""
        return await (client or _current.current()).rooms.broadcast(self)

    async def send_to_user(self, user: str, *, client: WebSocketManagerClient | None = None) -> int:
        """Sends it to each of a user's connections; answers how many they are."""
        return await (client or _current.current()).rooms.send_to_user(user, self)

    @staticmethod
    def parse(payload: str | bytes | Received) -> WebSocketMessage:
        """What came, as its own class: that with the MESSAGE_ID of ``{"MESSAGE_ID": ..., "message": ...}``."""
        text = payload.data if isinstance(payload, Received) else payload
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UnknownMessage(f"the message is not JSON: {error}") from None
        name = value.get("MESSAGE_ID") if isinstance(value, dict) else None
        if not isinstance(name, str):
            raise UnknownMessage("the message has no MESSAGE_ID")
        found = WebSocketMessage._classes.get(name)
        if found is None:
            raise UnknownMessage(f"no class has the MESSAGE_ID {name!r}")
        return found.model_validate(value.get("message"))

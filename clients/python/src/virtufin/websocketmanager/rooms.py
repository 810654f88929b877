"""Rooms: named sets of connections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

from virtufin._wsm.link import Link

from ._requests import make, set_payload
from .protos import rooms_pb2
from .protos.methods import Rooms as rpc


class Typed(Protocol):
    """A message that knows its MESSAGE_ID, such as a `WebSocketMessage`."""

    MESSAGE_ID: ClassVar[str]

    def model_dump_json(self) -> str: ...


Payload = str | bytes | Typed


class Rooms:
    """``client.rooms``. A room needs no creation; its name is 1 to 256 bytes without commas.

    Messages are a str (a text frame), bytes (a binary frame) or a `WebSocketMessage`. With ``message_id`` the
    message, which must then be JSON, is wrapped as ``{"MESSAGE_ID": ..., "message": ...}``.
    """

    def __init__(self, link: Link) -> None:
        self._link = link

    async def send(
        self,
        rooms: str | Sequence[str],
        message: Payload,
        *,
        message_id: str = "",
        content_type: str = "",
        timeout: float | None = None,
    ) -> Sequence[rooms_pb2.RoomPosition]:
        """Sends to the members of one or more rooms; a member of several gets it once. Answers its numbers there."""
        names = [rooms] if isinstance(rooms, str) else list(rooms)
        request = make(rooms_pb2.RoomSendRequest, rooms=names, content_type=content_type)
        _fill(request, message, message_id)
        return (await self._link.unary(rpc.Send, request, timeout)).positions

    async def broadcast(
        self, message: Payload, *, message_id: str = "", content_type: str = "", timeout: float | None = None
    ) -> Sequence[rooms_pb2.RoomPosition]:
        """Sends to every accepted connection."""
        request = make(rooms_pb2.BroadcastRequest, content_type=content_type)
        _fill(request, message, message_id)
        return (await self._link.unary(rpc.Broadcast, request, timeout)).positions

    async def send_to_user(
        self, user: str, message: Payload, *, message_id: str = "", content_type: str = "", timeout: float | None = None
    ) -> int:
        """Sends to each of a user's connections; answers how many they are."""
        request = make(rooms_pb2.SendToUserRequest, user=user, content_type=content_type)
        _fill(request, message, message_id)
        return (await self._link.unary(rpc.SendToUser, request, timeout)).connections

    async def kick_user(self, user: str, *, code: int = 0, reason: str = "", timeout: float | None = None) -> int:
        """Closes a user's connections; answers how many they were."""
        request = make(rooms_pb2.KickUserRequest, user=user, code=code, reason=reason)
        return (await self._link.unary(rpc.KickUser, request, timeout)).disconnected

    async def join(self, room: str, id: str, *, timeout: float | None = None) -> rooms_pb2.JoinResponse:
        """Makes an accepted connection a member; answers the last position before what it will get."""
        return await self._link.unary(rpc.Join, make(rooms_pb2.JoinRequest, room=room, id=id), timeout)

    async def leave(self, room: str, id: str, *, timeout: float | None = None) -> rooms_pb2.LeaveResponse:
        """Takes a connection out of a room."""
        return await self._link.unary(rpc.Leave, make(rooms_pb2.LeaveRequest, room=room, id=id), timeout)

    async def list(
        self, prefix: str = "", *, page_size: int = 0, page_token: str = "", timeout: float | None = None
    ) -> rooms_pb2.ListRoomsResponse:
        """Rooms that have members, in ``rooms``, by name."""
        request = make(rooms_pb2.ListRoomsRequest, prefix=prefix, page_size=page_size, page_token=page_token)
        return await self._link.unary(rpc.ListRooms, request, timeout, repeatable=True)

    async def members(
        self, room: str, *, page_size: int = 0, page_token: str = "", timeout: float | None = None
    ) -> rooms_pb2.ListMembersResponse:
        """Connections that are in a room, in ``members``, by id."""
        request = make(rooms_pb2.ListMembersRequest, room=room, page_size=page_size, page_token=page_token)
        return await self._link.unary(rpc.ListMembers, request, timeout, repeatable=True)

    async def history(
        self, room: str, *, epoch: int = 0, offset: int = 0, limit: int = 0, timeout: float | None = None
    ) -> rooms_pb2.HistoryResponse:
        """What a room keeps, oldest first: after a position, or its last messages.

        ``recovered`` is true when nothing is missing between the position and the first of ``messages``.
        """
        request = make(rooms_pb2.HistoryRequest, room=room, epoch=epoch, offset=offset, limit=limit)
        return await self._link.unary(rpc.History, request, timeout, repeatable=True)


def _fill(request: rooms_pb2.RoomSendRequest | rooms_pb2.BroadcastRequest | rooms_pb2.SendToUserRequest, message: Payload, message_id: str) -> None:
    if isinstance(message, (str, bytes, bytearray, memoryview)):
        set_payload(request, message)
    elif hasattr(message, "MESSAGE_ID") and hasattr(message, "model_dump_json"):
        request.message = message.model_dump_json()
        message_id = message_id or message.MESSAGE_ID
    else:
        raise TypeError(f"message: a str, bytes or a WebSocketMessage is needed, not {type(message).__name__}")
    request.message_id = message_id

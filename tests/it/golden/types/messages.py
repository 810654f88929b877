# Made by `websocket-manager types` from JSON Schemas; changes here will be lost.
# Python 3.11 or newer.

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypeAlias, TypedDict, Union

__all__ = [
    "ChatMessage",
    "OrderUpdated",
    "Presence",
    "Tree",
    "ChatMessageUser",
    "ChatMessageId",
    "ChatMessagePlace",
    "OrderUpdatedLinesItem",
    "OrderUpdatedStateOpen",
    "OrderUpdatedStateClosed",
    "PresenceState",
    "ChatMessageEnvelope",
    "OrderUpdatedEnvelope",
    "PresenceEnvelope",
    "TreeEnvelope",
    "WebSocketMessage",
    "WebSocketMessageId",
    "WebSocketMessageMap",
]


class ChatMessage(TypedDict):
    # One line of a chat
    # Sent to everybody in the room.
    # The sender */ sees it too.
    author: ChatMessageUser
    edited: NotRequired[bool]
    kind: Literal["text", "image", "sticker"]
    mentions: NotRequired[list[ChatMessageUser]]
    place: NotRequired[ChatMessagePlace]
    reactions: NotRequired[dict[str, int]]
    reply_to: NotRequired[ChatMessage]
    sent_at: str
    # As it was typed.
    text: str
    thread: NotRequired[Union[str, None]]


OrderUpdated = TypedDict(
    "OrderUpdated",
    {
        "anything": "NotRequired[Any]",
        # Two schemas at once.
        # allOf has no counterpart here.
        "both": "NotRequired[Any]",
        "buyer": "NotRequired[ChatMessageUser]",
        "class": "Literal[\"order\"]",
        # Refers to https://example.com/other.json, which is not followed here.
        "elsewhere": "NotRequired[Any]",
        "lines": "NotRequired[list[OrderUpdatedLinesItem]]",
        "numbers": "NotRequired[list[Union[float, None]]]",
        "order-id": "str",
        # A list whose items differ by place.
        "pair": "NotRequired[list[Any]]",
        "state": "Union[OrderUpdatedStateOpen, OrderUpdatedStateClosed, None]",
        # Values differ by the pattern of their keys.
        "tags": "NotRequired[dict[str, Any]]",
        "version": "NotRequired[Union[Literal[1, 2, True], float, None]]",
        "undescribed": "Any",
        # There may be further keys.
    },
)


# Who is there, by name.
Presence: TypeAlias = "dict[str, PresenceState]"


Tree: TypeAlias = "Union[str, list[Tree]]"


class ChatMessageUser(TypedDict):
    id: ChatMessageId
    name: NotRequired[str]


# Digits, or a name.
ChatMessageId: TypeAlias = "Union[int, str]"


class ChatMessagePlace(TypedDict):
    # Where it was sent from.
    lat: float
    lon: float


OrderUpdatedLinesItem = TypedDict(
    "OrderUpdatedLinesItem",
    {
        "2nd price": "NotRequired[float]",
        "count": "NotRequired[Union[int, str]]",
        "int": "NotRequired[int]",
    },
)


class OrderUpdatedStateOpen(TypedDict):
    # open
    since: str


class OrderUpdatedStateClosed(TypedDict):
    # closed
    reason: NotRequired[Union[str, None]]


PresenceState: TypeAlias = "Literal[\"here\", \"away\"]"


class ChatMessageEnvelope(TypedDict):
    MESSAGE_ID: Literal["chat.message"]
    message: ChatMessage


class OrderUpdatedEnvelope(TypedDict):
    MESSAGE_ID: Literal["order-updated"]
    message: OrderUpdated


class PresenceEnvelope(TypedDict):
    MESSAGE_ID: Literal["presence"]
    message: Presence


class TreeEnvelope(TypedDict):
    MESSAGE_ID: Literal["tree"]
    message: Tree


WebSocketMessageId: TypeAlias = Literal["chat.message", "order-updated", "presence", "tree"]

# Any message as it stands on the wire, to be told apart by MESSAGE_ID.
WebSocketMessage: TypeAlias = Union[ChatMessageEnvelope, OrderUpdatedEnvelope, PresenceEnvelope, TreeEnvelope]

# The message of each MESSAGE_ID.
WebSocketMessageMap = TypedDict(
    "WebSocketMessageMap",
    {
        "chat.message": ChatMessage,
        "order-updated": OrderUpdated,
        "presence": Presence,
        "tree": Tree,
    },
)

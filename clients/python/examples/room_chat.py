"""A chat room: typed messages to everybody who is connected to /ws/{room}.

    python room_chat.py HOST:PORT ROOM TEXT...
"""

import asyncio
import sys

from virtufin.websocketmanager import WebSocketManagerClient, WebSocketMessage

ADDRESS, ROOM, *TEXTS = sys.argv[1:]
HOST, _, PORT = ADDRESS.partition(":")


class ChatMessage(WebSocketMessage):
    MESSAGE_ID = "chat.message"

    author: str
    text: str


async def main() -> None:
    async with WebSocketManagerClient(HOST, int(PORT)) as client:
        for text in TEXTS:
            [position] = await ChatMessage(author="ann", text=text).send(ROOM)
            print("sent:", position.offset, text)
        for member in (await client.rooms.members(ROOM)).members:
            print("member:", member.id)
        for kept in (await client.rooms.history(ROOM, limit=len(TEXTS))).messages:
            message = ChatMessage.parse(kept.text)
            assert isinstance(message, ChatMessage)
            print("kept:", message.author, message.text)


asyncio.run(main())

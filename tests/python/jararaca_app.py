"""A chat as Jararaca's documentation writes it, in a process of its own. Runs in its own virtual environment.

Takes the URL of Redis and the two channels; prints its port, where connections wait until it serves them.
"""

import socket
import sys

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from jararaca import (
    HttpMicroservice,
    Microservice,
    Post,
    RedisWebSocketConnectionBackend,
    RegisterWebSocketMessage,
    RestController,
    WebSocketEndpoint,
    WebSocketInterceptor,
    WebSocketMessage,
    create_http_server,
    use_ws_manager,
)
from pydantic import BaseModel
from redis.asyncio import Redis

URL, SEND, BROADCAST = sys.argv[1:]


class ChatMessage(WebSocketMessage):
    MESSAGE_ID = "chat.message"
    ts: int
    seq: int
    pad: str


class Letter(BaseModel):
    rooms: list[str]
    message: ChatMessage


# A room may hold slashes, hence the paths of it.
@RegisterWebSocketMessage(ChatMessage)
@RestController("/chat")
class Chat:
    @WebSocketEndpoint("/ws/{room_id:path}")
    async def listen(self, websocket: WebSocket, room_id: str) -> None:
        await websocket.accept()
        manager = use_ws_manager()
        await manager.add_websocket(websocket)
        await manager.join([room_id], websocket)
        # It is accepted before it is a member: a client that waits for this misses nothing.
        await websocket.send_text("joined")
        try:
            while True:
                await websocket.receive()
        except (WebSocketDisconnect, RuntimeError):
            pass
        finally:
            await manager.remove_websocket(websocket)

    @Post("/{room_id:path}/message")
    async def send(self, room_id: str, message: ChatMessage) -> None:
        await message.send(room_id)

    @Post("/messages")
    async def send_to_several(self, letter: Letter) -> None:
        await letter.message.send(*letter.rooms)

    @Post("/broadcast")
    async def broadcast(self, message: ChatMessage) -> None:
        await use_ws_manager().broadcast(message.model_dump_json().encode())


def interceptor() -> WebSocketInterceptor:
    """Made when the application starts, not before: it begins to consume in whatever loop runs then."""
    backend = RedisWebSocketConnectionBackend(
        conn=Redis.from_url(URL, decode_responses=False),
        broadcast_pubsub_channel=BROADCAST,
        send_pubsub_channel=SEND,
    )
    return WebSocketInterceptor(backend)


def application() -> FastAPI:
    return create_http_server(HttpMicroservice(Microservice(controllers=[Chat], interceptors=[interceptor])))


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(application, factory=True, log_level="warning")
    uvicorn.Server(config).run(sockets=[listener])

"""A WebSocket server of another make: sends back what comes, as text or as bytes.

Prints its port once it listens. A text `{"burst": N}` is answered with N numbered messages.
"""

import asyncio
import json

from websockets.asyncio.server import serve


async def handle(socket):
    async for message in socket:
        burst = burst_of(message)
        if burst is None:
            await socket.send(message)
        else:
            for number in range(burst):
                await socket.send(json.dumps({"number": number}))


def burst_of(message):
    if not isinstance(message, str):
        return None
    try:
        value = json.loads(message)
    except ValueError:
        return None
    return value.get("burst") if isinstance(value, dict) else None


def choose(_, offered):
    return "echo.v1" if "echo.v1" in offered else None


async def main():
    async with serve(handle, "127.0.0.1", 0, select_subprotocol=choose) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()


asyncio.run(main())

"""A WebSocket server of another make: sends back what comes, as text or as bytes.

Prints its port once it listens. A text `{"burst": N}` is answered with N numbered messages, `{"close": CODE}`
closes the WebSocket, `{"drop": true}` breaks off the connection, `{"garbage": true}` breaks the protocol, and
an OCPP call, `[2, ID, ...]`, is answered with `[3, ID, {}]`.
"""

import asyncio
import json

from websockets.asyncio.server import serve


async def handle(socket):
    async for message in socket:
        order = order_in(message)
        if "burst" in order:
            for number in range(order["burst"]):
                await socket.send(json.dumps({"number": number}))
        elif "close" in order:
            await socket.close(order["close"])
        elif "drop" in order:
            socket.transport.abort()
        elif "garbage" in order:
            # A text frame with all reserved bits set.
            socket.transport.write(b"\xf1\x00")
        elif "call" in order:
            await socket.send(json.dumps([3, order["call"], {}]))
        else:
            await socket.send(message)


def order_in(message):
    """What a message asks for beside its echo."""
    if not isinstance(message, str):
        return {}
    try:
        value = json.loads(message)
    except ValueError:
        return {}
    if isinstance(value, list) and len(value) > 1 and value[0] == 2:
        return {"call": value[1]}
    return value if isinstance(value, dict) else {}


def choose(_, offered):
    return "echo.v1" if "echo.v1" in offered else None


async def main():
    async with serve(handle, "127.0.0.1", 0, select_subprotocol=choose) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()


asyncio.run(main())

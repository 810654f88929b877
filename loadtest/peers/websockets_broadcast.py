"""A broadcast as the documentation of Python's `websockets` writes it. Prints its port, and serves until it is ended.

/members gets every message; what /publish sends goes to all members; what /sink sends is counted and forgotten.
"""

import asyncio

import uvloop
from websockets.asyncio.server import broadcast, serve

members = set()
received = 0


async def handle(connection):
    global received
    path = connection.request.path
    if path == "/publish":
        async for message in connection:
            broadcast(members, message)
    elif path == "/sink":
        async for _ in connection:
            received += 1
    else:
        members.add(connection)
        try:
            await connection.send("joined")
            await connection.wait_closed()
        finally:
            members.discard(connection)


async def main():
    async with serve(handle, "127.0.0.1", 0, compression=None, backlog=4096) as server:
        print("port", server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())

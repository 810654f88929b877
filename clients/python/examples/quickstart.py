"""Quick start: connect, send, get the reply, look at what is there.

    python quickstart.py [HOST:PORT] [URL]     a running `websocket-manager demo` needs neither
"""

import asyncio
import sys

from virtufin.websocketmanager import WebSocketManagerClient, WebSocketManagerError

HOST, _, PORT = (sys.argv[1] if len(sys.argv) > 1 else "localhost:5002").partition(":")
URL = sys.argv[2] if len(sys.argv) > 2 else None


async def main() -> None:
    async with WebSocketManagerClient(HOST, int(PORT)) as client:
        if URL:
            connection = await client.connect(URL, tags={"example": "quickstart"})
            id = connection.id
        else:
            id = "demo-echo"
        answer = await client.send(id, "hello")
        print("reply:", answer.response)
        for found in (await client.list()).connections:
            print("connection:", found.id, found.url, found.status)
        try:
            await client.send("nobody", "hello")
        except WebSocketManagerError as error:
            print("error:", error.code().name, error.reason)
        if URL:
            await client.disconnect(id)


asyncio.run(main())

"""Requests and replies over one WebSocket: many at the same time, each with its own outcome.

    python request_reply.py HOST:PORT URL COUNT
"""

import asyncio
import json
import sys

from virtufin.websocketmanager import WebSocketManagerClient, WebSocketManagerError

ADDRESS, URL, COUNT = sys.argv[1:4]
HOST, _, PORT = ADDRESS.partition(":")


async def main() -> None:
    async with WebSocketManagerClient(HOST, int(PORT)) as client:
        # Replies are told by `req_id`; where a request has none, one is put in.
        rule = {"json": {"request_path": "/req_id", "inject": True}}
        connection = await client.connect(URL, correlation=rule)
        async with client.send_stream() as stream:
            requests = [json.dumps({"op": "square", "n": number}) for number in range(int(COUNT))]
            replies = await asyncio.gather(*(stream.send(connection.id, request) for request in requests))
            print("replies:", len(replies), "last:", json.loads(replies[-1].response)["n"])
            try:
                # {"burst": 0} is what this upstream never answers.
                await stream.send(connection.id, json.dumps({"burst": 0}), timeout_ms=100)
            except WebSocketManagerError as error:
                print("no reply:", error.code().name, error.certainty)
        await client.disconnect(connection.id)


asyncio.run(main())

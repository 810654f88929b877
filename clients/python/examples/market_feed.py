"""A market feed to a topic: one connection that dials again by itself, published from its first message on.

    python market_feed.py HOST:PORT URL TOPIC COUNT

The upstream here sends COUNT prices when it is asked with {"burst": COUNT}; a venue has its own way to subscribe.
"""

import asyncio
import json
import sys

from virtufin.websocketmanager import WebSocketManagerClient

ADDRESS, URL, TOPIC, COUNT = sys.argv[1:5]
HOST, _, PORT = ADDRESS.partition(":")


async def main() -> None:
    async with WebSocketManagerClient(HOST, int(PORT)) as client:
        feed = await client.connect(
            URL,
            auto_reconnect=True,
            tags={"venue": "example"},
            reconnect={"base_ms": 500, "max_ms": 10_000},
            idle={"data_ms": 60_000},
            publish={"topic": TOPIC, "format": "PUBLISH_FORMAT_FRAMES"},
        )
        await client.send_raw(feed.id, json.dumps({"burst": int(COUNT)}))
        seen = 0
        async for item in client.receive(topic=TOPIC, from_start=True):
            if item.gap:
                print("missed:", item.gap.cause)
                continue
            print("price:", item.seq, item.text)
            seen += 1
            if seen == int(COUNT):
                break
        await client.disconnect(feed.id)


asyncio.run(main())

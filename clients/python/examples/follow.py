"""Follows a topic, and goes on where it stopped the last time: the cursor is kept in a file.

    python follow.py HOST:PORT TOPIC CURSOR_FILE COUNT
"""

import pathlib
import sys

from virtufin.websocketmanager import SyncWebSocketManagerClient

ADDRESS, TOPIC, FILE, COUNT = sys.argv[1:5]
HOST, _, PORT = ADDRESS.partition(":")
kept = pathlib.Path(FILE)

# Without await: the synchronous twin.
with SyncWebSocketManagerClient(HOST, int(PORT)) as client:
    cursor = kept.read_text() if kept.exists() else ""
    seen = 0
    for item in client.receive(topic=TOPIC, cursor=cursor, from_start=not cursor):
        if item.kind == "message":
            print("message:", item.text)
            seen += 1
        else:
            print(item.kind)
        # After the item was dealt with: what is done twice after a crash is at most one.
        kept.write_text(item.cursor)
        if seen == int(COUNT):
            break

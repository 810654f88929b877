"""Generated Python types are clean to mypy, and take what the schemas describe."""

import os
import subprocess
import sys

from conftest import BINARY, DEADLINE, ROOT

SCHEMAS = ROOT / "tests/it/golden/types/schemas"
USES = """
from messages import ChatMessageEnvelope, WebSocketMessage, WebSocketMessageMap


def told(message: WebSocketMessage) -> str:
    if message["MESSAGE_ID"] == "chat.message":
        return message["message"]["text"]
    return ""


line: ChatMessageEnvelope = {
    "MESSAGE_ID": "chat.message",
    "message": {"text": "hello", "author": {"id": 7}, "sent_at": "2026-01-01T00:00:00Z", "kind": "text"},
}
presence: WebSocketMessageMap = {
    "chat.message": line["message"],
    "order-updated": {"order-id": "1", "class": "order", "state": None, "undescribed": 1},
    "presence": {"ann": "here"},
    "tree": ["a", ["b"]],
}
assert told(line) == "hello"
"""
MISUSE = """
from messages import ChatMessage

line: ChatMessage = {"text": 7}
"""


def check(folder, name):
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(folder / "cache"), name]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=10 * DEADLINE)


def test_generated_types_are_clean_and_say_what_is_wrong(tmp_path):
    command = [BINARY, "types", "--schemas", str(SCHEMAS), "--lang", "python", "--out", str(tmp_path / "messages.py")]
    # Without the variables of the tests, which are no settings.
    subprocess.run(command, check=True, timeout=DEADLINE, env={"PATH": os.environ["PATH"]})
    (tmp_path / "uses.py").write_text(USES)
    (tmp_path / "misuse.py").write_text(MISUSE)
    clean = check(tmp_path, "uses.py")
    assert clean.returncode == 0, clean.stdout
    subprocess.run([sys.executable, "-W", "error", "uses.py"], cwd=tmp_path, check=True, timeout=DEADLINE)
    wrong = check(tmp_path, "misuse.py")
    assert wrong.returncode == 1 and "misuse.py:4" in wrong.stdout, wrong.stdout

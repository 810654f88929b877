"""What is checked in is what the generators write; types; the packages that are built; the examples."""

import asyncio
import inspect
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile

import pytest
from websockets.asyncio.client import connect

from conftest import CLIENT, DEADLINE, ROOT, SOURCE, _load
from help import fresh
from virtufin.websocketmanager import SyncWebSocketManagerClient, WebSocketManagerClient
from virtufin.websocketmanager.protos import rooms_pb2
from virtufin.websocketmanager.protos import websocketmanager_pb2 as pb
from virtufin.websocketmanager.rooms import Rooms
from virtufin.websocketmanager.sync import SyncRooms

OLDEST = ROOT / ".cache/venv-oldest"


def run(command, **settings):
    settings = {"capture_output": True, "text": True, "timeout": 6 * DEADLINE, **settings}
    done = subprocess.run([str(word) for word in command], **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_generated_code_is_what_the_protos_say(tmp_path):
    run([sys.executable, CLIENT / "generate.py", tmp_path])
    package = SOURCE / "virtufin/websocketmanager"
    made = [path.relative_to(tmp_path) for path in tmp_path.rglob("*.py*")]
    assert len(made) == 6
    stale = [str(path) for path in made if (tmp_path / path).read_text() != (package / path).read_text()]
    assert not stale, f"run clients/python/generate.py: {stale}"


ARGUMENTS = {
    "ConnectRequest": WebSocketManagerClient.connect,
    "ListRequest": WebSocketManagerClient.list,
    "UpdateRequest": WebSocketManagerClient.update,
    "DisconnectRequest": WebSocketManagerClient.disconnect,
    "StartPublishRequest": WebSocketManagerClient.start_publish,
    "SendRequest": WebSocketManagerClient.send,
    "SendRawRequest": WebSocketManagerClient.send_raw,
    "ReceiveRequest": WebSocketManagerClient.receive,
    "WatchRequest": WebSocketManagerClient.watch,
    "RoomSendRequest": Rooms.send,
    "HistoryRequest": Rooms.history,
    "ListRoomsRequest": Rooms.list,
    "KickUserRequest": Rooms.kick_user,
}
# `message` takes bytes too; a stream makes its own tags; filters of a follow are one dictionary.
COVERED = {"data": "message", "tag": "message", "filters": "filter"}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_every_field_of_a_request_can_be_given(name):
    fields = getattr(rooms_pb2 if hasattr(rooms_pb2, name) else pb, name).DESCRIPTOR.fields_by_name
    parameters = inspect.signature(ARGUMENTS[name]).parameters
    missing = [field for field in fields if field not in parameters and COVERED.get(field) not in parameters]
    assert not missing


def test_the_twin_has_every_method():
    for mine, other in [(SyncWebSocketManagerClient, WebSocketManagerClient), (SyncRooms, Rooms)]:
        for name, method in inspect.getmembers(other, inspect.isfunction):
            if not name.startswith("_"):
                twin = getattr(mine, name)
                assert not inspect.iscoroutinefunction(twin) and twin.__doc__
                assert list(inspect.signature(twin).parameters) == list(inspect.signature(method).parameters)


USES = """
from virtufin.api.client import ApiClient
from virtufin.websocketmanager import Received, SyncWebSocketManagerClient, WebSocketManagerClient, WebSocketMessage
from virtufin.websocketmanager.client import WebSocketManagerClient as Same


class ChatMessage(WebSocketMessage):
    MESSAGE_ID = "chat.message"
    text: str


async def use() -> str:
    async with WebSocketManagerClient(host="localhost", port=5002) as client, ApiClient() as api:
        made = await client.connect("ws://x/", True, reconnect={"base_ms": 1})
        async for item in client.receive(made.id):
            taken: Received = item
            print(taken.text)
        await ChatMessage(text="x").send("a", "b")
        listed: dict[str, object] = await api.gateway.websocketmanager.List()
        tag: str | None = await client.get_tag(made.id, "a")
        print(listed, tag)
        return (await client.send(made.id, "x")).response


def use_twin(client: SyncWebSocketManagerClient, same: Same) -> str:
    for event in client.watch():
        print(event.type)
    return client.send("a", b"x").response
"""
MISUSE = """
from virtufin.websocketmanager import SyncWebSocketManagerClient

answer: int = SyncWebSocketManagerClient().send("a", "x").response
"""


def test_types_are_strict(tmp_path):
    (tmp_path / "uses.py").write_text(USES)
    (tmp_path / "misuse.py").write_text(MISUSE)
    command = [sys.executable, "-m", "mypy", "--strict", "--python-version", "3.10", "--cache-dir", ROOT / ".cache/mypy-clients"]
    command += ["--config-file", CLIENT / "pyproject.toml"]
    environment = {**os.environ, "MYPYPATH": str(SOURCE)}
    examples = sorted((CLIENT / "examples").glob("*.py"))
    run([*command, "-p", "virtufin"], cwd=SOURCE, env=environment)
    for example in [*examples, tmp_path / "uses.py"]:
        run([*command, example], cwd=tmp_path, env=environment)
    wrong = subprocess.run([str(word) for word in [*command, "misuse.py"]], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert wrong.returncode == 1 and "misuse.py:4" in wrong.stdout, wrong.stdout


# ---------------------------------------------------------------- packages


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A fresh environment with the wheel in it, made from the sdist, and the oldest libraries that it asks for."""
    folder = tmp_path_factory.mktemp("package")
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, CLIENT])
    [wheel] = folder.glob("*.whl")
    [sdist] = folder.glob("*.tar.gz")
    assert sdist.name == "virtufin_websocketmanager-0.1.0.tar.gz"
    names = zipfile.ZipFile(wheel).namelist()
    assert "virtufin/__init__.py" not in names and "virtufin/websocketmanager/py.typed" in names
    assert {"virtufin/api/client.py", "virtufin/websocketmanager/protos/rooms_pb2.pyi"} <= set(names)
    environment = folder / "venv"
    venv.create(environment, with_pip=False)
    run([sys.executable, "-m", "pip", "--python", environment, "install", "--quiet", "--no-deps", "--no-index", wheel])
    # What tests/run has installed; without it, what these tests themselves use.
    own = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    libraries = OLDEST / own if (OLDEST / own).is_dir() else sysconfig.get_paths()["purelib"]
    [site] = environment.glob("lib/python*/site-packages")
    (site / "libraries.pth").write_text(f"{libraries}\n")
    return environment / "bin/python"


def test_the_quick_start_runs_from_the_wheel(installed, service, upstream):
    said = run([installed, "-W", "error", CLIENT / "examples/quickstart.py", service.grpc, upstream], env={})
    assert "reply: hello" in said and "error: NOT_FOUND not_found" in said
    where = run([installed, "-c", "import virtufin.websocketmanager as it; print(it.__file__, it.__version__)"], env={})
    assert "site-packages" in where and where.strip().endswith("0.1.0")


def test_the_namespace_is_shared_with_other_distributions(installed, tmp_path):
    other = tmp_path / "virtufin/other"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("name = 'other'")
    code = "import virtufin.websocketmanager, virtufin.other, virtufin.api.client; print(virtufin.other.name)"
    assert run([installed, "-c", code], env={"PYTHONPATH": str(tmp_path)}) == "other\n"


def test_the_follower_runs_from_the_wheel_with_its_twin(installed, service, upstream, tmp_path):
    topic = fresh("wheel")
    feed = run([installed, CLIENT / "examples/market_feed.py", service.grpc, upstream, topic, "5"], env={})
    assert feed.count("price:") == 5
    follow = [installed, CLIENT / "examples/follow.py", service.grpc, topic, tmp_path / "cursor"]
    first, second = run([*follow, "2"], env={}), run([*follow, "3"], env={})
    numbers = [line.partition("message: ")[2] for line in (first + second).splitlines() if "message: " in line]
    assert numbers == [f'{{"number": {number}}}' for number in range(5)]


# ---------------------------------------------------------------- the other examples


def example(name, *arguments):
    return run([sys.executable, "-W", "error", CLIENT / f"examples/{name}.py", *arguments], env={"PYTHONPATH": str(SOURCE)})


def test_request_reply(service, upstream):
    said = example("request_reply", service.grpc, upstream, "50")
    assert "replies: 50 last: 49" in said and "no reply: DEADLINE_EXCEEDED maybe_sent" in said


async def test_room_chat(service):
    room = fresh("chat")
    url = f"{service.http.replace('http://', 'ws://')}/ws/{room}"
    async with connect(url, open_timeout=DEADLINE, proxy=None) as browser:
        said = await asyncio.to_thread(example, "room_chat", service.grpc, room, "hello", "you")
        assert "sent: 2 you" in said and "member: ~" in said and "kept: ann hello" in said
        assert "chat.message" in await asyncio.wait_for(browser.recv(), DEADLINE)


def test_the_table_of_cases_judges():
    table = _load("contract_table", ROOT / "clients/contract_table.py")
    cases, excused = table.read_page((ROOT / "clients/contract.md").read_text())
    assert list(cases) == [f"C{number}" for number in range(1, len(cases) + 1)]
    assert all(case in cases and reason for (case, _), reason in excused.items())
    few, free = {"C1": "one", "C2": "two"}, {("C2", "b"): "why"}
    good = {"a": {"C1": "passed", "C2": "passed"}, "b": {"C1": "passed"}}
    assert table.judge(few, free, good) == ({("C1", "a"): "passed", ("C2", "a"): "passed", ("C1", "b"): "passed", ("C2", "b"): "n/a"}, [])
    for bad in ({"a": {"C1": "failed", "C2": "passed"}}, {"a": {"C1": "passed"}}, {"a": {}}, {"a": {"C1": "passed", "C2": "passed", "C9": "passed"}}):
        assert len(table.judge(few, free, bad)[1]) == 1

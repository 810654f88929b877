"""Starts the real binary (its path in WSM_BIN) and an upstream of another make beside it."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import grpc
import limits
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("WSM_BIN", str(ROOT / "target/debug/websocket-manager"))
DEADLINE = 20.0


def pytest_configure(config):
    limits.keep(config)


class Service:
    def __init__(self, process, line):
        pairs = dict(word.split("=", 1) for word in line.split()[1:])
        self.process = process
        self.http = "http://" + pairs["http"]
        self.grpc = pairs["grpc"]
        self.admin = "http://" + pairs["admin"]

    def request(self, path, body=None, headers=None, method=None):
        """Status, headers and body, whatever the status is."""
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
            headers = {"content-type": "application/json", **(headers or {})}
        request = urllib.request.Request(self.http + path, data=body, headers=headers or {}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()


def first_line(process, having=""):
    """The first line of standard output with this in it, or None when there is none in time."""
    lines = []
    reader = threading.Thread(
        target=lambda: lines.append(next((line for line in process.stdout if having in line), "")), daemon=True
    )
    reader.start()
    reader.join(DEADLINE)
    return lines[0].strip() if lines and lines[0] else None


def end(process):
    process.terminate()
    try:
        return process.wait(DEADLINE)
    except subprocess.TimeoutExpired:
        kill(process)
        raise


def kill(process):
    """Ends it for certain, whether it still runs or not."""
    process.kill()
    process.wait(DEADLINE)


@contextlib.contextmanager
def serving(folder, *flags, http_port=0, grpc_port=0, admin_port=0):
    """The service, with these settings as well; its data stay in the folder. It must end in good order."""
    ports = ["--http-port", str(http_port), "--grpc-port", str(grpc_port), "--admin-port", str(admin_port)]
    fixed = [*ports, "--shards", "2", "--backend", "embedded", "--data-dir", str(folder / "data")]
    # Nobody has to look elsewhere.
    fixed += ["--drain-lame-duck", "0s"]
    with open(folder / "log", "ab") as log:
        process = subprocess.Popen(
            [BINARY, "serve", *fixed, *flags],
            stdout=subprocess.PIPE,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"]},
            text=True,
        )
    with process.stdout:
        try:
            line = first_line(process)
            if not line or not line.startswith("ready "):
                pytest.fail(f"no ready line but {line!r}:\n{(folder / 'log').read_text()}")
            yield Service(process, line)
        except BaseException:
            kill(process)
            raise
        assert end(process) == 0, (folder / "log").read_text()


@pytest.fixture(scope="session")
def service(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("service"), "--egress-allow", "127.0.0.0/8") as service:
        yield service


@pytest.fixture(scope="session")
def upstream():
    """The URL of an echo server."""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "tests/upstreams/echo.py")], stdout=subprocess.PIPE, text=True
    )
    with process.stdout:
        try:
            port = first_line(process)
            assert port, "the echo server prints its port"
            yield f"ws://127.0.0.1:{port}/"
        finally:
            kill(process)


@pytest.fixture
def channel(service):
    with grpc.insecure_channel(service.grpc) as channel:
        yield channel


@pytest.fixture
def connection(service, upstream):
    """The id of a connection that echoes."""
    status, _, body = service.request("/v1/connections", {"url": upstream})
    assert status == 200, body
    name = json.loads(body)["id"]
    yield name
    service.request(f"/v1/connections/{name}", method="DELETE")

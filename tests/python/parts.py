"""A real Redis and real sidecars, for the tests that need them. The sidecars take the component files of deploy/dapr."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest

from conftest import DEADLINE, ROOT, kill

DAPR = ROOT / "deploy/dapr"
# Below the ports that the kernel gives to connections.
PORTS = iter(range(11000 + os.getpid() % 200 * 10, 13990))
CLAIMS = []


def free_port():
    """One that nobody uses, and that no other process of tests gets before it is used here."""
    for port in PORTS:
        # A name that the kernel gives to one process, for as long as that one lives.
        claim = socket.socket(socket.AF_UNIX)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                claim.bind(f"\0wsm-tests-{port}")
                probe.bind(("127.0.0.1", port))
            except OSError:
                claim.close()
                continue
        CLAIMS.append(claim)
        return port
    raise AssertionError("no free port")


def required(what):
    """tests/run has installed it: a test that does not find it fails."""
    return f"WSM_REQUIRE_{what}" in os.environ


def installed(name, variables, places=(), what="PARTS"):
    for variable in variables:
        if os.environ.get(variable):
            return os.environ[variable]
    path = shutil.which(name) or next((str(place) for place in places if place.is_file()), None)
    if not path:
        assert not required(what), f"{name} is not installed: run tests/run"
        pytest.skip(f"{name} is not installed: run tests/run once")
    return path


def redis_server():
    return installed("redis-server", ["WSM_REDIS_SERVER"])


def daprd():
    home = pathlib.Path.home() / ".dapr/bin/daprd"
    return installed("daprd", ["DAPRD_BIN", "WSM_DAPRD"], [home, ROOT / ".cache/daprd/v1.18.2/daprd"])


def wait_for(what, ask, process=None):
    """Asks again and again until there is an answer. The one place of these tests that pauses."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        answer = ask()
        if answer:
            return answer
        assert process is None or process.poll() is None, f"the process ended: {what}"
        time.sleep(0.02)
    raise AssertionError(f"waited in vain for: {what}")


def get(url):
    """Status and body; None when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=DEADLINE) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return None


@contextlib.contextmanager
def running(arguments, folder, log):
    with open(log, "wb") as output:
        process = subprocess.Popen(
            arguments,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={"PATH": os.environ["PATH"]},
        )
    try:
        yield process
    finally:
        kill(process)


@contextlib.contextmanager
def redis(folder):
    """Its address."""
    port = free_port()
    flags = ["--bind", "127.0.0.1", "--port", str(port), "--appendonly", "yes", "--save", ""]
    with running([redis_server(), *flags], folder, folder / "redis.log") as process:

        def answers():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), DEADLINE) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")

        wait_for("Redis to answer", answers, process)
        yield f"127.0.0.1:{port}"


class Sidecar:
    def __init__(self, http_port, grpc_port):
        self.http_port, self.grpc_port = http_port, grpc_port
        self.url = f"http://127.0.0.1:{http_port}"

    def publish_raw(self, pubsub, topic, event):
        """As it is: how the service publishes."""
        request = urllib.request.Request(
            f"{self.url}/v1.0/publish/{pubsub}/{topic}?metadata.rawPayload=true",
            data=json.dumps(event).encode(),
            headers={"content-type": "application/cloudevents+json"},
        )
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
            assert answer.status == 204

    def components(self):
        status, body = get(f"{self.url}/v1.0/metadata")
        assert status == 200
        return {component["name"]: component for component in json.loads(body)["components"]}


@contextlib.contextmanager
def sidecar(app_id, redis_address, folder, optional=False):
    """With the files of deploy/dapr, and this Redis in them."""
    folder = folder / app_id
    resources = folder / "resources"
    resources.mkdir(parents=True)
    files = [*DAPR.glob("components/*.yaml"), *(DAPR.glob("optional/*.yaml") if optional else [])]
    for file in files:
        text = file.read_text()
        (resources / file.name).write_text(re.sub(r'"127\.0\.0\.1:6379"', f'"{redis_address}"', text))
    http, grpc, internal, metrics, profile = (free_port() for _ in range(5))
    ports = {"dapr-http": http, "dapr-grpc": grpc, "dapr-internal-grpc": internal, "metrics": metrics, "profile": profile}
    arguments = [daprd(), "--mode", "standalone", "--app-id", app_id, "--resources-path", str(resources)]
    arguments += ["--config", str(DAPR / "config.yaml"), "--dapr-listen-addresses", "127.0.0.1"]
    arguments += ["--dapr-internal-grpc-listen-address", "127.0.0.1", "--enable-metrics=false"]
    for name, port in ports.items():
        arguments += [f"--{name}-port", str(port)]
    with running(arguments, folder, folder / "log") as process:
        made = Sidecar(http, grpc)
        ready = lambda: (get(f"{made.url}/v1.0/healthz/outbound") or [0])[0] == 204
        try:
            wait_for("the sidecar to be ready", ready, process)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{(folder / 'log').read_text()}") from None
        yield made

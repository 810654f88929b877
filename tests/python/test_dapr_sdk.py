"""A subscriber that is written with Dapr's own SDK, behind a sidecar of its own, reads our events."""

import contextlib
import json
import os
import queue
import subprocess
import threading

import pytest
from dapr.clients import DaprClient
from dapr.clients.grpc._response import TopicEventResponse
from dapr.conf import settings

import parts
from conftest import BINARY, DEADLINE, Service, end, first_line, kill

PUBSUB = "pubsub"
SOURCE = "urn:com.virtufin.websocketmanager"
MESSAGE = "com.virtufin.websocketmanager.message"


@contextlib.contextmanager
def subscribed(sidecar, topic):
    """A queue of what comes."""
    came = queue.Queue()

    def handle(message):
        came.put(message)
        return TopicEventResponse("success")

    settings.DAPR_HTTP_PORT = sidecar.http_port
    with DaprClient(f"127.0.0.1:{sidecar.grpc_port}") as client:
        opened = queue.Queue()

        def subscribe():
            opened.put(client.subscribe_with_handler(pubsub_name=PUBSUB, topic=topic, handler_fn=handle))

        # The SDK asks without a deadline, and reads in a thread that inherits from this one that nobody waits for it
        # at the end.
        threading.Thread(target=subscribe, daemon=True).start()
        close = opened.get(timeout=DEADLINE)
        try:
            yield came
        finally:
            close()


def data_of(message):
    data = message.data()
    return json.loads(data) if isinstance(data, (bytes, str)) else data


@pytest.fixture
def redis(tmp_path):
    parts.daprd()
    with parts.redis(tmp_path) as address:
        yield address


def test_an_event_that_is_published_raw_reaches_a_plain_subscriber_as_it_is(redis, tmp_path):
    event = {
        "specversion": "1.0",
        "type": MESSAGE,
        "source": SOURCE,
        "subject": "feed",
        "datacontenttype": "application/json",
        "id": "feed/1/1",
        "time": "2026-01-02T03:04:05.678Z",
        "data": {"websocketId": "feed", "epoch": 1, "seq": 1, "payload": '{"price": 1}'},
    }
    with (
        parts.sidecar("wsmgr", redis, tmp_path) as ours,
        parts.sidecar("reader", redis, tmp_path) as theirs,
        subscribed(theirs, "prices") as came,
    ):
        ours.publish_raw(PUBSUB, "prices", event)
        message = came.get(timeout=DEADLINE)
    assert (message.id(), message.type(), message.source()) == (event["id"], MESSAGE, SOURCE)
    assert data_of(message) == event["data"]


@contextlib.contextmanager
def service_on_dapr(sidecar, folder):
    flags = [word for port in ("http", "grpc", "admin") for word in (f"--{port}-port", "0")]
    flags += ["--shards", "2", "--data-dir", str(folder / "data"), "--egress-allow", "127.0.0.0/8"]
    flags += ["--drain-lame-duck", "0s", "--backend", "dapr", "--dapr-grpc-port", str(sidecar.grpc_port)]
    flags += ["--dapr-http-port", str(sidecar.http_port)]
    environment = {"PATH": os.environ["PATH"]}
    command = [BINARY, "check", *flags]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, env=environment)
    if "is not supported by this version" in checked.stderr:
        pytest.skip(f"no backend dapr in this binary: {checked.stderr.strip()}")
    assert checked.returncode == 0, checked.stderr
    with open(folder / "service.log", "wb") as log:
        process = subprocess.Popen(
            [BINARY, "serve", *flags], stdout=subprocess.PIPE, stderr=log, text=True, env=environment
        )
    try:
        line = first_line(process)
        assert line and line.startswith("ready "), (folder / "service.log").read_text()
        yield Service(process, line)
        assert end(process) == 0, (folder / "service.log").read_text()
    finally:
        kill(process)


def test_a_subscriber_of_another_app_receives_what_the_service_publishes(redis, tmp_path, upstream):
    with (
        parts.sidecar("wsmgr", redis, tmp_path, optional=True) as ours,
        service_on_dapr(ours, tmp_path) as service,
        parts.sidecar("reader", redis, tmp_path) as theirs,
        subscribed(theirs, "echoes") as came,
    ):
        status, _, body = service.request("/v1/connections", {"url": upstream})
        assert status == 200, body
        name = json.loads(body)["id"]
        status, _, body = service.request(f"/v1/connections/{name}/publish", {"topic": "echoes"})
        assert status == 200, body
        said = [f'{{"number": {number}}}' for number in range(5)]
        for text in said:
            status, _, body = service.request(f"/v1/connections/{name}/sendraw", {"message": text})
            assert status == 200, body
        # At least once: one that comes again has the id it had. And in any order: the sidecar hands
        # several over at a time, and a reader puts them in theirs by seq.
        read = {}
        while len(read) < len(said):
            message = came.get(timeout=DEADLINE)
            assert message.source() == SOURCE
            if message.type() == MESSAGE:
                read[message.id()] = data_of(message)
    data = sorted(read.values(), key=lambda one: one["seq"])
    assert [one["payload"] for one in data] == said
    assert [one["seq"] for one in data] == [1, 2, 3, 4, 5]
    assert {one["websocketId"] for one in data} == {name}

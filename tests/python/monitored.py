"""A service alone, a fleet on Redis and an instance beside a Dapr sidecar, all busy, and a Prometheus that watches."""

import contextlib
import dataclasses
import json
import os
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import busy
import parts
from conftest import BINARY, DEADLINE, Service, first_line, kill

# As the dashboards' source names what feeds a panel.
ALONE, FLEET, RELAY, DAPR = "alone", "fleet", "relay", "dapr"


@dataclasses.dataclass
class World:
    prometheus: str
    services: dict
    load: busy.Load

    def ask(self, path, **query):
        """What Prometheus answers; an error of its is one of the test's."""
        body = urllib.parse.urlencode(query).encode() if query else None
        try:
            with urllib.request.urlopen(f"{self.prometheus}/api/v1/{path}", body, timeout=DEADLINE) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{query.get('query')}: {error.read().decode()}") from None

    def instant(self, query, at):
        return self.ask("query", query=query, time=at)["result"]

    def scraped(self):
        """How often each was, at least."""
        [least] = self.instant("min(count_over_time(up[5m]))", time.time()) or [{"value": (0, "0")}]
        everybody = sum(map(len, self.services.values()))
        return int(least["value"][1]) if len(self.instant("up", time.time())) == everybody else 0

    def scrape(self, service):
        status, page = parts.get(f"{service.admin}/metrics")
        assert status == 200
        return page


def configuration(services, rules):
    """Every second, so that half a minute is a history."""
    jobs = [
        {"job_name": job, "static_configs": [{"targets": [one.admin.removeprefix("http://") for one in ours]}]}
        for job, ours in services.items()
    ]
    every = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    return {"global": every, "rule_files": [str(path) for path in rules], "scrape_configs": jobs}


def prometheus_server():
    return parts.installed("prometheus", ["WSM_PROMETHEUS"], what="PROMETHEUS")


@contextlib.contextmanager
def prometheus(folder, services, rules):
    """Its address, once it has scraped everybody."""
    port = parts.free_port()
    # JSON is YAML.
    (folder / "prometheus.yml").write_text(json.dumps(configuration(services, rules)))
    flags = [f"--web.listen-address=127.0.0.1:{port}", f"--storage.tsdb.path={folder / 'tsdb'}", "--log.level=warn"]
    flags.append(f"--config.file={folder / 'prometheus.yml'}")
    with parts.running([prometheus_server(), *flags], folder, folder / "log") as process:
        url = f"http://127.0.0.1:{port}"
        parts.wait_for("Prometheus to be ready", lambda: (parts.get(f"{url}/-/ready") or [0])[0] == 200, process)
        yield url


@contextlib.contextmanager
def instance(folder, *flags):
    """One of the service, with ports and a folder of its own."""
    folder.mkdir()
    ports = [word for port in ("http", "grpc", "admin") for word in (f"--{port}-port", "0")]
    common = ["--drain-lame-duck", "0", "--shards", "2", "--egress-allow", "127.0.0.0/8", "--log-level", "error"]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            [BINARY, "serve", *ports, *common, "--data-dir", str(folder / "data"), *flags],
            stdout=subprocess.PIPE,
            stderr=log,
            stdin=subprocess.DEVNULL,
            text=True,
            env={"PATH": os.environ["PATH"]},
        )
    try:
        line = first_line(process)
        assert line and line.startswith("ready "), (folder / "log").read_text()
        yield Service(process, line)
        assert process.poll() is None, (folder / "log").read_text()
    finally:
        # How instances leave in good order is a matter of other tests.
        kill(process)


@contextlib.contextmanager
def everything(folder, rules):
    for what in (parts.daprd, prometheus_server):
        what()
    key = folder / "key"
    key.write_text("00" * 32)
    key.chmod(0o600)
    load = busy.Load()
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        stack.callback(load.wait)
        url, redis = enter(busy.Upstream()), enter(parts.redis(folder))
        schemas = folder / "schemas"
        schemas.mkdir()
        (schemas / "chat.message.json").write_text('{"type": "object"}')
        alone = enter(
            instance(
                folder / "alone",
                "--backend",
                "embedded",
                "--reader-bytes-max",
                "64KiB",
                "--ping-interval",
                "1s",
                "--pong-timeout",
                "5s",
                "--room-rule",
                "patient slow=drop_oldest",
                "--schemas",
                str(schemas),
                "--bind",
                "topic=chat.in room=lobby",
                "--rest-route",
                "POST /chat/{room}/message room={room} message-id=chat.message topic=chat.in",
            )
        )
        shared = ["--backend", "redis", "--redis-url", f"redis://{redis}/3", "--secret-key-file", str(key)]
        one = enter(instance(folder / "one", "--instance-id", "one", *shared))
        other = enter(instance(folder / "other", "--instance-id", "other", *shared))
        channels = "jararaca:websocket:send,jararaca:websocket:broadcast"
        relay = enter(
            instance(
                folder / "relay",
                "--backend",
                "embedded",
                "--redis-url",
                f"redis://{redis}/5",
                "--jararaca-channels",
                channels,
            )
        )
        sidecar = enter(parts.sidecar("wsmgr", redis, folder))
        ports = ["--dapr-grpc-port", str(sidecar.grpc_port), "--dapr-http-port", str(sidecar.http_port)]
        beside = enter(instance(folder / "beside", "--backend", "dapr", *ports))
        services = {ALONE: [alone], FLEET: [one, other], RELAY: [relay], DAPR: [beside]}
        (folder / "prometheus").mkdir()
        address = enter(prometheus(folder / "prometheus", services, rules))
        stack.callback(load.over.set)
        busy.alone(load, alone, url)
        busy.fleet(load, one, other, url)
        busy.rooms(load, relay, relay)
        busy.dapr(load, beside, sidecar, url)
        yield World(address, services, load)

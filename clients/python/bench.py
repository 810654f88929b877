"""How fast the client is, in ratios of one run: against the sequential `send`, and against a bare grpcio stub.

    python clients/python/bench.py [--core N] [--rounds N] [--check]     --check: fail when a goal is missed

Starts `websocket-manager demo` (WSM_BIN, or target/release) and sends to its echo. Client and all its threads run on
one core; the rounds of what is compared alternate, and the medians are compared.
"""

import argparse
import asyncio
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "src"))

import grpc.aio  # noqa: E402

from virtufin.websocketmanager import CONNECTED, WebSocketManagerClient  # noqa: E402
from virtufin.websocketmanager.protos import websocketmanager_pb2 as pb  # noqa: E402
from virtufin.websocketmanager.protos.methods import WebSocketManager as rpc  # noqa: E402

BINARY = os.environ.get("WSM_BIN", str(HERE.parents[1] / "target/release/websocket-manager"))
SENDS, STREAMED = 1000, 10_000
ID = "demo-echo"
GOALS = {"stream": 5.0, "cpu": 1.2}
# Seconds for the service to be ready, to have its connection, and to end.
PATIENCE = 30.0


def text(number):
    return '{"id": %d}' % number


class Meter:
    """Time and processor time of one item."""

    def __init__(self):
        self.wall, self.cpu = [], []

    async def measure(self, work, count):
        wall, cpu = time.perf_counter(), time.process_time()
        await work(count)
        self.wall.append((time.perf_counter() - wall) / count)
        self.cpu.append((time.process_time() - cpu) / count)

    def medians(self):
        return statistics.median(self.wall), statistics.median(self.cpu)


async def connected(client):
    """When the demo's echo can be sent to."""
    while not any(found.id == ID and found.status == CONNECTED for found in (await client.list()).connections):
        await asyncio.sleep(0.02)


async def compare(port, rounds):
    bare, sequential, streamed = Meter(), Meter(), Meter()
    async with WebSocketManagerClient("127.0.0.1", port) as client, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = channel.unary_unary(
            rpc.Send.path, request_serializer=pb.SendRequest.SerializeToString, response_deserializer=pb.SendResponse.FromString
        )

        async def of_stub(count):
            for number in range(count):
                await stub(pb.SendRequest(id=ID, message=text(number), timeout_ms=5000), timeout=10.0)

        async def of_client(count):
            for number in range(count):
                await client.send(ID, text(number))

        async def of_stream(count):
            numbers = iter(range(count))
            async with client.send_stream() as stream:

                async def sender():
                    for number in numbers:
                        await stream.send(ID, text(number))

                await asyncio.gather(*(sender() for _ in range(200)))

        await asyncio.wait_for(connected(client), PATIENCE)
        for _ in range(rounds):
            await bare.measure(of_stub, SENDS)
            await sequential.measure(of_client, SENDS)
            await streamed.measure(of_stream, STREAMED)
    return bare.medians(), sequential.medians(), streamed.medians()


def report(bare, sequential, streamed):
    for name, (wall, cpu) in {"bare stub": bare, "client.send": sequential, "send_stream": streamed}.items():
        print(f"{name:<12} {wall * 1e6:7.1f} us each ({1 / wall:8.0f}/s), {cpu * 1e6:6.1f} us of the client's processor time")
    ratios = {"stream": sequential[0] / streamed[0], "cpu": sequential[1] / bare[1]}
    print(f"send_stream is {ratios['stream']:.1f} times the rate of sequential send (goal: at least {GOALS['stream']})")
    print(f"client.send takes {ratios['cpu']:.2f} times the processor time of the bare stub (goal: at most {GOALS['cpu']})")
    return ratios["stream"] >= GOALS["stream"] and ratios["cpu"] <= GOALS["cpu"]


def end(service):
    service.terminate()
    try:
        service.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        service.kill()
        service.wait(PATIENCE)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--check", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--http-port", "0", "--grpc-port", "0", "--admin-port", "0", "--shards", "1", "--data-dir", folder]
        # WSM_BIN is no setting of the service.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("WSM_")}
        service = subprocess.Popen([BINARY, "demo", *flags], stdout=subprocess.PIPE, stderr=sys.stderr, text=True, env=environment)
        # A service that says nothing is ended; then its output ends as well.
        late = threading.Timer(PATIENCE, service.kill)
        with service.stdout:
            try:
                late.start()
                ready = service.stdout.readline()
                late.cancel()
                if not ready.startswith("ready "):
                    sys.exit(f"{BINARY} did not start")
                port = int(dict(word.split("=", 1) for word in ready.split()[1:])["grpc"].rpartition(":")[2])
                os.sched_setaffinity(0, {chosen.core})
                met = report(*asyncio.run(compare(port, chosen.rounds)))
            finally:
                late.cancel()
                end(service)
    sys.exit(1 if chosen.check and not met else 0)


if __name__ == "__main__":
    main()

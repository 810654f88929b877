"""Traces as a collector of another make reads them: OTLP over gRPC, by the official messages."""

import concurrent.futures
import contextlib
import json
import threading
import time

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2

from conftest import DEADLINE, serving

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self):
        self.spans, self.resources = [], []
        self.came = threading.Condition()

    def Export(self, request, context):
        with self.came:
            for of in request.resource_spans:
                self.resources.append({it.key: it.value.string_value for it in of.resource.attributes})
                for scope in of.scope_spans:
                    self.spans.extend(scope.spans)
            self.came.notify_all()
        return trace_service_pb2.ExportTraceServiceResponse()

    def wait(self, name, that=lambda span: True):
        """The spans of this name that are so, once there is one."""
        until = time.monotonic() + DEADLINE
        with self.came:
            while True:
                if found := [span for span in self.spans if span.name == name and that(span)]:
                    return found
                names = [span.name for span in self.spans]
                assert self.came.wait(until - time.monotonic()), f"no such {name!r} in {names}"


@contextlib.contextmanager
def collecting():
    collector = Collector()
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield collector, f"http://127.0.0.1:{port}"
    finally:
        server.stop(0)


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    """A service and its collector."""
    with collecting() as (collector, endpoint):
        folder = tmp_path_factory.mktemp("traced")
        with serving(folder, "--egress-allow", "127.0.0.0/8", "--otlp-endpoint", endpoint) as service:
            yield service, collector


def attributes(span):
    return {it.key: it.value.string_value or it.value.int_value for it in span.attributes}


def test_a_call_is_a_span_of_its_callers_trace_and_its_dial_is_below_it(traced, upstream):
    service, collector = traced
    body = {"url": upstream, "connectionId": "traced-1"}
    assert service.request("/v1/connections", body, {"traceparent": TRACEPARENT})[0] == 200
    [connect] = collector.wait("Connect", lambda span: span.trace_id.hex() == TRACE)
    assert (connect.trace_id.hex(), connect.parent_span_id.hex()) == (TRACE, PARENT)
    assert connect.kind == trace_pb2.Span.SPAN_KIND_SERVER
    assert len(connect.span_id) == 8 and connect.span_id.hex() != PARENT
    told = attributes(connect)
    assert (told["rpc.system"], told["rpc.method"]) == ("rest", "Connect")
    assert connect.status.code == trace_pb2.Status.STATUS_CODE_UNSET
    [dial] = collector.wait("dial", lambda span: attributes(span).get("wsm.connection.id") == "traced-1")
    assert (dial.trace_id.hex(), dial.parent_span_id) == (TRACE, connect.span_id)
    assert dial.kind == trace_pb2.Span.SPAN_KIND_CLIENT
    assert attributes(dial)["wsm.connection.id"] == "traced-1"
    assert attributes(dial)["server.address"] == "127.0.0.1"
    # A dial lies within its call, as well as one clock tells.
    assert connect.start_time_unix_nano <= connect.end_time_unix_nano
    assert 0 < dial.end_time_unix_nano - dial.start_time_unix_nano
    assert abs(time.time_ns() - connect.end_time_unix_nano) < 600 * 10**9
    resource = collector.resources[0]
    assert resource["service.name"] == "websocket-manager" and resource["service.instance.id"]


def test_what_fails_says_why_and_what_nobody_samples_is_not_sent(traced, upstream):
    service, collector = traced
    unsampled = {"traceparent": TRACEPARENT[:-1] + "0"}
    assert service.request("/v1/connections/nobody", headers=unsampled)[0] == 404
    assert service.request("/v1/connect", {"url": "ws://127.0.0.1:1/"})[0] == 503
    [failed] = collector.wait("Connect", lambda span: span.status.code)
    assert failed.status.code == trace_pb2.Status.STATUS_CODE_ERROR
    assert attributes(failed)["rpc.grpc.status_code"] == grpc.StatusCode.UNAVAILABLE.value[0]
    assert attributes(failed)["error.type"] == "dial_failed"
    assert not failed.parent_span_id and len(failed.trace_id) == 16
    # What the caller got wrong is no error of the service.
    assert service.request("/v1/connections/nobody")[0] == 404
    [refused] = collector.wait("Get")
    assert refused.status.code == trace_pb2.Status.STATUS_CODE_UNSET
    assert attributes(refused)["error.type"] == "not_found"
    assert refused.trace_id.hex() != TRACE


def test_grpc_carries_the_context_and_batches_are_spans(traced, upstream):
    service, collector = traced
    with grpc.insecure_channel(service.grpc) as channel:
        send = channel.unary_unary("/virtufin.WebSocketManager/List")
        send(b"", metadata=[("traceparent", TRACEPARENT)], timeout=DEADLINE)
    [listed] = collector.wait("List")
    assert (listed.trace_id.hex(), listed.parent_span_id.hex()) == (TRACE, PARENT)
    assert attributes(listed)["rpc.system"] == "grpc"
    batch = collector.wait("publish")[0]
    assert batch.kind == trace_pb2.Span.SPAN_KIND_PRODUCER
    assert attributes(batch)["messaging.batch.message_count"] >= 1
    assert attributes(batch)["wsm.batch.bytes"] > 0


def test_one_in_many_is_kept_of_traces_that_begin_here(tmp_path):
    with collecting() as (collector, endpoint):
        with serving(tmp_path, "--otlp-endpoint", endpoint, "--trace-one-in", "1000000000") as service:
            for _ in range(50):
                assert service.request("/v1/connections")[0] == 200
            assert service.request("/v1/connections", headers={"traceparent": TRACEPARENT})[0] == 200
            [listed] = collector.wait("List")
            assert listed.trace_id.hex() == TRACE


def test_a_collector_that_goes_and_comes_back_harms_nothing(tmp_path):
    collector, server, port = Collector(), None, 0

    def listen():
        nonlocal server, port
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
        port = server.add_insecure_port(f"127.0.0.1:{port}")
        server.start()

    def said(text):
        lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
        return sum(text in line["message"] for line in lines)

    listen()
    try:
        endpoint = f"http://127.0.0.1:{port}"
        with serving(tmp_path, "--otlp-endpoint", endpoint, "--log-format", "json") as service:
            assert service.request("/v1/connections")[0] == 200
            collector.wait("List")
            assert server.stop(0).wait(DEADLINE)
            until = time.monotonic() + DEADLINE
            while not said("takes no traces"):
                assert time.monotonic() < until
                assert service.request("/v1/connections")[0] == 200
            listen()
            while not said("takes traces again"):
                assert time.monotonic() < until
                assert service.request("/v1/connections")[0] == 200
            assert said("takes no traces") == 1
    finally:
        server.stop(0)

"""The standard health service, and the routes that orchestrators ask."""

import json

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

SERVING = health_pb2.HealthCheckResponse.SERVING
DEADLINE = 20.0


@pytest.mark.parametrize("name", ["", "virtufin.WebSocketManager"])
def test_ready_is_serving(channel, name):
    stub = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service=name)
    assert stub.Check(request, timeout=DEADLINE).status == SERVING
    changes = stub.Watch(request, timeout=DEADLINE)
    assert next(iter(changes)).status == SERVING
    changes.cancel()


def test_an_unknown_name_is_not_found(channel):
    stub = health_pb2_grpc.HealthStub(channel)
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="nothing"), timeout=DEADLINE)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("path", ["/health", "/livez", "/readyz"])
def test_the_routes_say_so_in_json(service, path):
    status, headers, body = service.request(path)
    assert status == 200 and headers.get_content_type() == "application/json"
    assert json.loads(body)["status"] in {"healthy", "alive", "ready"}


def test_metrics_are_not_on_the_public_port(service):
    assert service.request("/metrics")[0] == 404

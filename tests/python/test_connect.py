"""The Connect protocol, unary, as curl would speak it."""

import base64
import json

import pytest

BASE = "/virtufin.WebSocketManager/"


def call(service, method, body, **headers):
    status, answer, data = service.request(BASE + method, body, headers)
    return status, answer, json.loads(data)


def test_json_in_json_out(service, connection):
    status, headers, body = call(service, "Get", {"id": connection})
    assert status == 200 and headers.get_content_type() == "application/json"
    assert body["connection"]["status"] == "CONNECTED"
    status, _, body = call(service, "Send", {"id": connection, "message": '{"id": 5}'})
    assert (status, body["response"]) == (200, '{"id": 5}')
    status, _, body = call(service, "Send", {"id": connection, "data": base64.b64encode(b"\x00\xff").decode()})
    assert (status, base64.b64decode(body["data"])) == (200, b"\x00\xff")


def test_binary_in_binary_out(service, connection):
    # GetRequest: field 1, a string.
    request = b"\x0a" + bytes([len(connection)]) + connection.encode()
    status, headers, body = service.request(BASE + "Get", request, {"content-type": "application/proto"})
    assert status == 200 and headers.get_content_type() == "application/proto"
    assert connection.encode() in body


@pytest.mark.parametrize(
    ("method", "body", "http", "code", "reason"),
    [
        ("Get", {"id": "nobody"}, 404, "not_found", "not_found"),
        ("Connect", {}, 400, "invalid_argument", "invalid"),
        ("Connect", {"url": "ws://169.254.169.254/"}, 403, "permission_denied", "egress_denied"),
        ("Connect", {"url": "ws://127.0.0.1:1/"}, 503, "unavailable", "dial_failed"),
    ],
)
def test_errors_are_the_protocols_own(service, method, body, http, code, reason):
    status, headers, error = call(service, method, body)
    assert (status, error["code"]) == (http, code), error
    assert headers.get_content_type() == "application/json"
    info = next(detail for detail in error["details"] if detail["type"] == "google.rpc.ErrorInfo")
    value = info["value"] + "=" * (-len(info["value"]) % 4)
    assert reason.encode() in base64.b64decode(value)


def test_a_deadline_of_the_protocol_is_kept(service, upstream):
    # The echo server answers {"burst": 0} with nothing.
    _, _, made = call(service, "Connect", {"url": upstream})
    request = {"id": made["id"], "message": '{"burst": 0, "id": 1}'}
    status, _, error = call(service, "Send", request, **{"connect-timeout-ms": "50"})
    assert (status, error["code"]) == (504, "deadline_exceeded")


def test_what_is_no_connect_call_is_refused(service):
    assert service.request(BASE + "Get", b"x", {"content-type": "text/plain"})[0] == 415
    assert service.request(BASE + "Nothing", {})[0] == 404
    assert service.request(BASE + "Get", {"id": "x"}, {"connect-protocol-version": "2"})[0] == 400

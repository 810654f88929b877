"""gRPC-Web as a browser speaks it: frames in the body of a POST over HTTP/1.1."""

import base64
import struct

import pytest

BASE = "/virtufin.WebSocketManager/"
TRAILERS = 0x80


def text(number, value):
    """A string field of a message."""
    data = value.encode()
    assert len(data) < 128
    return bytes([number << 3 | 2, len(data)]) + data


def frames(data):
    """(flag, payload) for each frame."""
    found = []
    while data:
        flag, size = struct.unpack(">BI", data[:5])
        found.append((flag, data[5 : 5 + size]))
        data = data[5 + size :]
    return found


def call(service, method, message, kind="application/grpc-web+proto"):
    body = struct.pack(">BI", 0, len(message)) + message
    if "text" in kind:
        body = base64.b64encode(body)
    status, headers, answer = service.request(
        BASE + method, body, {"content-type": kind, "accept": kind, "x-grpc-web": "1"}
    )
    assert status == 200, answer
    if "text" in kind:
        # Each part of the stream is padded by itself.
        answer = b"".join(base64.b64decode(answer[at : at + 4]) for at in range(0, len(answer), 4))
    parts = frames(answer)
    lines = b"".join(payload for flag, payload in parts if flag == TRAILERS).decode().splitlines()
    trailers = {**{name.lower(): value for name, value in headers.items()}}
    trailers.update(line.split(":", 1) for line in lines)
    trailers = {name.strip().lower(): value.strip() for name, value in trailers.items()}
    return [payload for flag, payload in parts if flag == 0], trailers


@pytest.mark.parametrize("kind", ["application/grpc-web+proto", "application/grpc-web-text+proto"])
def test_a_call_and_its_trailers(service, connection, kind):
    messages, trailers = call(service, "Get", text(1, connection), kind)
    assert trailers["grpc-status"] == "0"
    assert len(messages) == 1 and connection.encode() in messages[0]
    messages, trailers = call(service, "Send", text(1, connection) + text(2, '{"id": 1}'), kind)
    assert trailers["grpc-status"] == "0" and messages[0].startswith(text(1, '{"id": 1}'))


def test_an_error_comes_with_its_details(service):
    messages, trailers = call(service, "Get", text(1, "nobody"))
    assert (trailers["grpc-status"], messages) == ("5", [])
    details = trailers["grpc-status-details-bin"]
    assert b"not_found" in base64.b64decode(details + "=" * (-len(details) % 4))


def test_native_grpc_by_http1_is_told_where_to_go(service):
    status, _, body = service.request(BASE + "Get", b"", {"content-type": "application/grpc"})
    assert status in {400, 415}, body


def test_a_preflight_of_a_foreign_page_gets_no_leave(service):
    headers = {"origin": "https://elsewhere.example", "access-control-request-method": "POST"}
    _, answer, _ = service.request(BASE + "Get", headers=headers, method="OPTIONS")
    assert answer.get("access-control-allow-origin") is None

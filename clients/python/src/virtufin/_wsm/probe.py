"""Finds out what stands behind a port that does not speak as expected, to say so in the error."""

from __future__ import annotations

import asyncio
import contextlib

import grpc

from .errors import WebSocketManagerError

PATIENCE = 1.0
_PORTS = "the gRPC port is 5002 unless it was configured otherwise (5001 is the HTTP port)"
_NO_HTTP2 = ("Socket closed", "Failed parsing HTTP/2", "http1.x", "Connection reset", "Broken pipe", "not HTTP/2", "Stream removed")


async def explain(failure: WebSocketManagerError, host: str, port: int, tls: bool) -> str | None:
    """Better words for what happened; None where the service's own are as good."""
    said, place = failure.details() or "", f"{host}:{port}"
    if failure.code() is grpc.StatusCode.UNIMPLEMENTED:
        if "Received http2 header with status" in said:
            return f"{place} speaks HTTP, but it is not the service's gRPC port ({said}): {_PORTS}"
        if failure.reason is None:
            return f"the service at {place} does not know {failure.method}: it is of an older version ({said or 'no details'})"
    # Older grpcio says UNKNOWN for a connection that was closed at once.
    if failure.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN) or failure.reason is not None:
        return None
    if "Connection refused" in said:
        return f"nobody listens at {place}: is the service running there? {_PORTS}"
    if "CERTIFICATE_VERIFY_FAILED" in said or "certificate verify failed" in said:
        return f"the certificate of {place} is not trusted: give its authority with tls=Tls(ca=...) ({said})"
    if "Hostname" in said and "heck" in said:
        return f"the certificate of {place} is for another name: give that with tls=Tls(server_name=...) ({said})"
    if tls and ("WRONG_VERSION_NUMBER" in said or "handshake failed" in said.lower()):
        return f"{place} does not speak TLS: leave tls out, or give the service a certificate ({said})"
    if not tls and any(word in said for word in _NO_HTTP2):
        return await _look(host, port, said)
    return None


async def _look(host: str, port: int, said: str) -> str | None:
    place = f"{host}:{port}"
    answer = await _answer(host, port)
    if answer.startswith(b"HTTP/"):
        return f"{place} speaks HTTP/1.1, not gRPC: {_PORTS}"
    if answer[:2] == b"\x15\x03":
        return f"{place} speaks TLS: connect with tls=True, or tls=Tls(ca=...) for an authority of your own"
    if "Failed parsing" in said or "http1.x" in said or "not HTTP/2" in said:
        return f"{place} does not speak gRPC: {_PORTS}"
    return None


async def _answer(host: str, port: int) -> bytes:
    """The first bytes that the port says to a plain HTTP request."""
    with contextlib.suppress(OSError, asyncio.TimeoutError):
        reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port), PATIENCE)
        try:
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return await asyncio.wait_for(reader.read(16), PATIENCE)
        finally:
            writer.close()
            with contextlib.suppress(OSError, asyncio.TimeoutError):
                await asyncio.wait_for(writer.wait_closed(), PATIENCE)
    return b""

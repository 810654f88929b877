"""One gRPC stream on an HTTP/2 connection of its own, for very many small messages.

gRPC's Python library pays some 25 microseconds of processor time for every message it writes and for every
one it reads: two trips through a queue between threads. Here all messages that are ready leave in one write, and
all that have come are taken from one read. Only what a single stream needs is implemented; headers are read
and written by the hpack library.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import errno
import ssl
import urllib.parse
from collections.abc import Callable, Sequence

import grpc
import hpack

from .errors import CODES, DETAILS, WebSocketManagerError, error_of
from .link import MESSAGE_BYTES_MAX
from .version import __version__

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, HAS_PRIORITY = 0x4, 0x8, 0x20
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
STREAM = 1
FRAME_BYTES_MAX = 16_384
HEADER_BYTES_MAX = 64 * 1024
WINDOW_DEFAULT = 65_535
# What the other side may send before it hears from us again.
WINDOW = 4 * 1024 * 1024


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


class Http2Stream(asyncio.Protocol):
    """Give `write` whole messages; `on_message` gets whole messages, and `on_end` once what it ended with."""

    def __init__(
        self, method: str, on_message: Callable[[bytes], None], on_end: Callable[[WebSocketManagerError | None], None]
    ) -> None:
        self._method, self._on_message, self._on_end = method, on_message, on_end
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._read, self._messages, self._out = bytearray(), bytearray(), bytearray()
        self._header_block: bytearray | None = None
        self._header_ends = False
        self._headers_seen = False
        self._decoder = hpack.Decoder(max_header_list_size=HEADER_BYTES_MAX)
        self._flushing = self._finishing = self.ended = False
        self._paused = False
        # What it ended with.
        self.error: WebSocketManagerError | None = None
        self._window = self._stream_window = WINDOW_DEFAULT
        self._initial_window = WINDOW_DEFAULT
        self._unacknowledged = 0
        # Done when the other side has shown that it speaks HTTP/2.
        self.greeted: asyncio.Future[None] = self._loop.create_future()
        # Done when the transport is closed: nothing of it is left.
        self.closed: asyncio.Future[None] = self._loop.create_future()

    # ------------------------------------------------------------ opening

    def begin(self, path: str, authority: str, tls: bool, metadata: Sequence[tuple[str, str]]) -> None:
        """Opens the stream. Nothing has to be waited for: what is written goes after it."""
        headers = [
            (":method", "POST"),
            (":scheme", "https" if tls else "http"),
            (":path", path),
            (":authority", authority),
            ("te", "trailers"),
            ("content-type", "application/grpc+proto"),
            ("user-agent", f"virtufin-websocketmanager-python/{__version__}"),
            *metadata,
        ]
        block = hpack.Encoder().encode(headers)
        # No pushes, and a window that many answers fit into.
        settings = b"\x00\x02" + bytes(4) + b"\x00\x04" + WINDOW.to_bytes(4, "big")
        self._send(
            PREFACE
            + frame(SETTINGS, 0, 0, settings)
            + frame(WINDOW_UPDATE, 0, 0, (WINDOW - WINDOW_DEFAULT).to_bytes(4, "big"))
            + frame(HEADERS, END_HEADERS, STREAM, block)
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    # ------------------------------------------------------------ writing

    def write(self, message: bytes) -> None:
        """The message goes out with all others that are written in this turn of the loop."""
        self._out += b"\0" + len(message).to_bytes(4, "big") + message
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    @property
    def waiting(self) -> int:
        """Bytes that the other side does not take yet."""
        return len(self._out)

    def finish(self) -> None:
        """No more messages; the answers to those before still come."""
        self._finishing = True
        self._flush()

    def abort(self) -> None:
        """Ends it at once."""
        transport = self._transport
        if transport is not None and not transport.is_closing():
            if not self.ended:
                self._send(frame(RST_STREAM, 0, STREAM, (8).to_bytes(4, "big")))
            # What the other side does not take would keep the connection open.
            if transport.get_write_buffer_size():
                transport.abort()
            else:
                transport.close()
        self.ended = True

    def _flush(self) -> None:
        self._flushing = False
        if self.ended or self._paused:
            return
        out, frames = self._out, []
        while out:
            size = min(len(out), FRAME_BYTES_MAX, self._window, self._stream_window)
            if size <= 0:
                break
            frames.append(frame(DATA, 0, STREAM, bytes(out[:size])))
            del out[:size]
            self._window -= size
            self._stream_window -= size
        if self._finishing and not out:
            self._finishing = False
            frames.append(frame(DATA, END_STREAM, STREAM, b""))
        self._send(b"".join(frames))

    def _send(self, octets: bytes) -> None:
        if octets and self._transport is not None and not self._transport.is_closing():
            self._transport.write(octets)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._flush()

    # ------------------------------------------------------------ reading

    def data_received(self, data: bytes) -> None:
        read = self._read
        read += data
        at = 0
        while len(read) - at >= 9 and not self.ended:
            length = int.from_bytes(read[at : at + 3], "big")
            if length > FRAME_BYTES_MAX:
                return self._end_with(grpc.StatusCode.UNAVAILABLE, "not HTTP/2: a frame that is too large")
            if len(read) - at - 9 < length:
                break
            kind, flags = read[at + 3], read[at + 4]
            payload = bytes(read[at + 9 : at + 9 + length])
            stream = int.from_bytes(read[at + 5 : at + 9], "big") & 0x7FFF_FFFF
            at += 9 + length
            self._take(kind, flags, stream, payload)
        del read[:at]
        if not self.ended:
            self._deliver()
            if self._unacknowledged > WINDOW // 4:
                update = self._unacknowledged.to_bytes(4, "big")
                self._send(frame(WINDOW_UPDATE, 0, 0, update) + frame(WINDOW_UPDATE, 0, STREAM, update))
                self._unacknowledged = 0

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == DATA:
            self._unacknowledged += len(payload)
            self._messages += self._unpadded(flags, payload)
            if flags & END_STREAM:
                self._deliver()
                self._end_with(grpc.StatusCode.INTERNAL, "the stream ended without a status")
        elif kind in (HEADERS, CONTINUATION):
            self._take_headers(kind, flags, payload)
        elif kind == SETTINGS and not flags & ACK:
            self._take_settings(payload)
        elif kind == WINDOW_UPDATE and len(payload) == 4:
            more = int.from_bytes(payload, "big") & 0x7FFF_FFFF
            if stream:
                self._stream_window += more
            else:
                self._window += more
            self._flush()
        elif kind == PING and not flags & ACK:
            self._send(frame(PING, ACK, 0, payload))
        elif kind == RST_STREAM:
            self._deliver()
            code = int.from_bytes(payload[:4], "big")
            # 7: refused before anything was done with it.
            status = grpc.StatusCode.UNAVAILABLE if code == 7 else grpc.StatusCode.ABORTED
            self._end_with(status, f"the stream was reset by the other side (HTTP/2 code {code})")
        elif kind == GOAWAY and int.from_bytes(payload[:4], "big") & 0x7FFF_FFFF < STREAM:
            self._end_with(grpc.StatusCode.UNAVAILABLE, "the service takes no new calls")

    def _take_settings(self, payload: bytes) -> None:
        for at in range(0, len(payload) - 5, 6):
            name, value = int.from_bytes(payload[at : at + 2], "big"), int.from_bytes(payload[at + 2 : at + 6], "big")
            if name == 4:
                self._stream_window += value - self._initial_window
                self._initial_window = value
        self._send(frame(SETTINGS, ACK, 0, b""))
        if not self.greeted.done():
            self.greeted.set_result(None)
        self._flush()

    @staticmethod
    def _unpadded(flags: int, payload: bytes) -> bytes:
        return payload[1 : len(payload) - payload[0]] if flags & PADDED and payload else payload

    def _take_headers(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == HEADERS:
            payload = self._unpadded(flags, payload)
            self._header_block = bytearray(payload[5:] if flags & HAS_PRIORITY else payload)
            self._header_ends = bool(flags & END_STREAM)
        elif self._header_block is not None:
            self._header_block += payload
        if self._header_block is None or len(self._header_block) > HEADER_BYTES_MAX:
            return self._end_with(grpc.StatusCode.INTERNAL, "not HTTP/2: headers that are too large or out of place")
        if not flags & END_HEADERS:
            return None
        block, self._header_block = bytes(self._header_block), None
        try:
            headers = {_text(name): _text(value) for name, value in self._decoder.decode(block)}
        except hpack.HPACKError as error:
            return self._end_with(grpc.StatusCode.INTERNAL, f"not HTTP/2: {error}")
        self._deliver()
        status = headers.get(":status", "200")
        if not self._headers_seen and (status != "200" or "grpc" not in headers.get("content-type", "")):
            return self._end_with(grpc.StatusCode.UNIMPLEMENTED, f"Received http2 header with status: {status}")
        self._headers_seen = True
        if self._header_ends:
            self._take_status(headers)
        return None

    def _take_status(self, headers: dict[str, str]) -> None:
        code = headers.get("grpc-status", "")
        if code == "0":
            return self._end(None)
        details = headers.get(DETAILS, "")
        try:
            trailing = ((DETAILS, base64.b64decode(details + "=" * (-len(details) % 4))),) if details else ()
        except binascii.Error:
            trailing = ()
        number = int(code) if code.isdigit() else 2
        said = urllib.parse.unquote(headers.get("grpc-message", ""))
        return self._end(error_of(CODES.get(number, grpc.StatusCode.UNKNOWN), said, self._method, trailing))

    def _deliver(self) -> None:
        messages, at = self._messages, 0
        while len(messages) - at >= 5:
            length = int.from_bytes(messages[at + 1 : at + 5], "big")
            if messages[at] or length > MESSAGE_BYTES_MAX:
                return self._end_with(grpc.StatusCode.INTERNAL, "a message is compressed or too large")
            if len(messages) - at - 5 < length:
                break
            self._on_message(bytes(messages[at + 5 : at + 5 + length]))
            at += 5 + length
        del messages[:at]
        return None

    # ------------------------------------------------------------ ending

    def _end_with(self, code: grpc.StatusCode, details: str) -> None:
        self._end(error_of(code, details, self._method))

    def _end(self, error: WebSocketManagerError | None) -> None:
        if not self.ended:
            self.ended, self.error = True, error
            if self.greeted.done():
                self._on_end(error)
            else:
                self.greeted.set_exception(error or error_of(grpc.StatusCode.UNAVAILABLE, "Socket closed", self._method))
        if self._transport is not None:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended:
            why = str(exc) if exc else "Socket closed"
            self._end_with(grpc.StatusCode.ABORTED if self._headers_seen else grpc.StatusCode.UNAVAILABLE, why)
        if not self.closed.done():
            self.closed.set_result(None)


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


async def connect(
    host: str, port: int, tls: ssl.SSLContext | None, server_name: str | None, make: Callable[[], Http2Stream], method: str
) -> Http2Stream:
    """A connection, not yet begun; what goes wrong is told in gRPC's words."""
    try:
        name = (server_name or host) if tls else None
        loop = asyncio.get_running_loop()
        transport, stream = await loop.create_connection(make, host, port, ssl=tls, server_hostname=name)
    except ssl.SSLError as error:
        said = f"failed to connect to all addresses; last error: Tls handshake failed: {error}"
        raise error_of(grpc.StatusCode.UNAVAILABLE, said, method) from None
    except OSError as error:
        # Of several addresses, all of which refused, it is one error without a number of its own.
        refused = isinstance(error, ConnectionRefusedError) or f"[Errno {errno.ECONNREFUSED}]" in str(error)
        said = f"Connection refused: {error}" if refused else str(error)
        raise error_of(grpc.StatusCode.UNAVAILABLE, f"failed to connect to all addresses; last error: {said}", method) from None
    chosen = transport.get_extra_info("ssl_object")
    if chosen is not None and chosen.selected_alpn_protocol() != "h2":
        stream.abort()
        raise error_of(grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses; the server does not speak HTTP/2", method)
    return stream

"""The asynchronous client of the WebSocket Manager."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any

import grpc
from google.protobuf.field_mask_pb2 import FieldMask

from virtufin._wsm.errors import NotFoundError, UnsupportedError, WebSocketManagerError
from virtufin._wsm.link import Link, Token
from virtufin._wsm.tls import Tls

from . import _current
from ._connect import Options, connect_request, patience
from ._requests import Correlating, batched, enum_of, filled, filters_of, list_of, make, send_request, set_payload
from .protos import websocketmanager_pb2 as pb
from .protos.methods import WebSocketManager as rpc
from .receive import Follow, Received, lost_item, receive_request
from .rooms import Rooms
from .send_stream import MARGIN, SendStream, reply_within

Statuses = Sequence[str | int]


class WebSocketManagerClient:
    """A client of the service's gRPC port, for one event loop.

    Use it in ``async with``, or end it with ``close()``. Errors are `WebSocketManagerError`, which
    ``except grpc.aio.AioRpcError`` catches. Every call takes ``timeout``, in seconds, instead of the client's.

    Args:
        host: Where the service is.
        port: Its gRPC port.
        tls: True for TLS with the platform's authorities, or a `Tls`.
        token: Sent with each call as ``authorization: Bearer``; a function is asked anew each time.
        timeout: Seconds that a call may take.
        retries: How often a call is repeated that certainly had no effect. 0: never.
        options: Further options of the gRPC channel.
    """

    rooms: Rooms

    def __init__(
        self,
        host: str = "localhost",
        port: int = 5002,
        *,
        tls: bool | Tls | None = None,
        token: Token | None = None,
        timeout: float = 30.0,
        retries: int = 2,
        options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        self._link = Link(host, port, Tls() if tls is True else tls or None, token, timeout, retries, options)
        self.rooms = Rooms(self._link)

    async def __aenter__(self) -> WebSocketManagerClient:
        self._link.check("open")
        _current.enter(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends all calls and the connection. A second time does nothing."""
        _current.leave(self)
        await self._link.close()

    async def connect(
        self,
        url: str = "",
        auto_reconnect: bool = False,
        *,
        tags: Mapping[str, str] | None = None,
        connection_id: str = "",
        headers: Mapping[str, str] | None = None,
        subprotocols: Sequence[str] = (),
        tls: Options | pb.TlsOptions | None = None,
        proxy: str | Options | pb.ProxyOptions | None = None,
        source_ip: str = "",
        fallback_urls: Sequence[str] = (),
        connect_timeout_ms: int = 0,
        open_messages: Sequence[str | bytes | Options | pb.OpenMessage] = (),
        heartbeat: Options | pb.Heartbeat | None = None,
        ignore: Sequence[Options | pb.MessageRule] = (),
        idle: Options | pb.IdleOptions | None = None,
        reconnect: Options | pb.ReconnectOptions | None = None,
        rotate: Options | pb.RotateOptions | None = None,
        limits: Options | pb.SendLimits | None = None,
        correlation: Correlating | None = None,
        publish: str | Options | pb.PublishOptions | None = None,
        rooms: Sequence[str] = (),
        sequence: Options | pb.SequenceRule | None = None,
        max_message_bytes: int = 0,
        profile: str = "",
        variables: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> pb.ConnectResponse:
        """Opens a connection to a WebSocket server; the answer has ``id`` (and ``connection_id``) and ``status``.

        With a ``connection_id`` of your own it can be repeated: the same Connect again answers the existing
        connection. Groups of settings are dictionaries, or the proto messages: ``reconnect={"base_ms": 500}``.

        Args:
            url: ``ws://`` or ``wss://``; may be empty with a profile.
            auto_reconnect: Dial again after a loss, and after a restart of the service.
            tags: To find it by.
            publish: A topic, or ``{"topic": ..., "format": ...}``: publish from the first message on.
            correlation: How replies are told: ``"json_rpc"``, or ``{"json": {"request_path": "/req_id"}}``.
            rooms: What it receives goes to these rooms.
            profile: The name of a profile that fills in the rest; ``variables`` go into its templates.
        """
        request = connect_request(
            url, auto_reconnect, tags, connection_id, headers, subprotocols, tls, proxy, source_ip, fallback_urls,
            connect_timeout_ms, open_messages, heartbeat, ignore, idle, reconnect, rotate, limits, correlation, publish,
            rooms, sequence, max_message_bytes, profile, variables,
        )  # fmt: skip
        wait = patience(request, self._link.timeout) if timeout is None else timeout
        return await self._link.unary(rpc.Connect, request, wait, repeatable=bool(connection_id))

    async def list(
        self,
        filters: Mapping[str, str] | None = None,
        *,
        status: Statuses = (),
        direction: str | int | None = None,
        instance: str = "",
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> pb.ListResponse:
        """Connections, in ``connections``: all, or those with these tags, states and direction (``in``, ``out``)."""
        request = make(
            pb.ListRequest,
            filters=filters_of(filters),
            status=[enum_of("status", name, "", pb.ConnectionStatus) for name in list_of("status", status)],
            direction=enum_of("direction", direction, "DIRECTION_", pb.Direction),
            instance=instance,
            page_size=page_size,
            page_token=page_token,
        )
        return await self._link.unary(rpc.List, request, timeout, repeatable=True)

    async def get(self, id: str, *, timeout: float | None = None) -> pb.WebSocketConnection:
        """One connection, with its counters."""
        answer = await self._link.unary(rpc.Get, make(pb.GetRequest, id=id), timeout, repeatable=True)
        return answer.connection

    async def update(
        self,
        id: str,
        settings: Options | pb.ConnectRequest,
        *,
        update_mask: Sequence[str] = (),
        timeout: float | None = None,
    ) -> pb.UpdateResponse:
        """Changes settings of a living connection; the answer says which work at once and which from the next dial on.

        Without ``update_mask`` those in ``settings`` that are not zero are changed.
        """
        filled_in = filled(pb.ConnectRequest, settings, "settings")
        mask = FieldMask(paths=list_of("update_mask", update_mask)) if update_mask else None
        request = make(pb.UpdateRequest, id=id, settings=filled_in, update_mask=mask)
        return await self._link.unary(rpc.Update, request, timeout)

    async def disconnect(
        self, id: str, *, code: int = 0, reason: str = "", timeout: float | None = None
    ) -> pb.DisconnectResponse:
        """Closes a connection and forgets it."""
        return await self._link.unary(rpc.Disconnect, make(pb.DisconnectRequest, id=id, code=code, reason=reason), timeout)

    async def send(
        self,
        id: str,
        message: str | bytes,
        timeout_ms: int = 5000,
        *,
        content_type: str = "",
        correlation: Correlating | None = None,
        timeout: float | None = None,
    ) -> pb.SendResponse:
        """Sends a message and waits for its reply: ``response`` when that is text, ``data`` when it is binary.

        A str goes as text, bytes go as a binary message. ``timeout_ms`` 0 is the service's default.
        """
        request = send_request(id, message, timeout_ms, content_type, correlation)
        wait = reply_within(timeout_ms) if timeout is None else timeout
        return await self._link.unary(rpc.Send, request, wait)

    async def send_raw(
        self, id: str, message: str | bytes, *, content_type: str = "", timeout: float | None = None
    ) -> pb.SendRawResponse:
        """Sends a message without waiting for a reply; it was written to the socket when this returns."""
        request = make(pb.SendRawRequest, id=id, content_type=content_type)
        set_payload(request, message)
        return await self._link.unary(rpc.SendRaw, request, timeout)

    async def send_batch(
        self, requests: Sequence[pb.SendRequest | Options], *, timeout: float | None = None
    ) -> Sequence[pb.SendResult]:
        """Many Sends in one call; the results are in the order of the requests, each with its own code."""
        made = [batched(request) if isinstance(request, Mapping) else request for request in requests]
        longest = max((reply_within(request.timeout_ms) for request in made), default=MARGIN)
        wait = longest if timeout is None else timeout
        answer = await self._link.unary(rpc.SendBatch, make(pb.SendBatchRequest, requests=made), wait)
        return answer.results

    def send_stream(self, *, max_in_flight: int = 1000) -> SendStream:
        """Many Sends at once on one call, several times the rate of ``send``::

            async with client.send_stream() as stream:
                replies = await asyncio.gather(*(stream.send(id, text) for text in texts))
        """
        return SendStream(self._link, max_in_flight)

    async def start_publish(
        self,
        id: str,
        topic: str,
        *,
        format: str | int | None = None,
        ordering: str | int | None = None,
        overflow: str | int | None = None,
        overflow_key: str = "",
        gaps: str | int | None = None,
        timeout: float | None = None,
    ) -> pb.StartPublishResponse:
        """Publishes what a connection receives to a topic, from the answer's ``next_seq`` on.

        ``format`` is envelope, payload or frames; ``ordering`` ordered or relaxed; ``overflow`` spill, pause,
        drop_oldest, drop_newest or keep_latest (of each value at ``overflow_key``); ``gaps`` in_band or lifecycle.
        """
        request = make(
            pb.StartPublishRequest,
            id=id,
            topic=topic,
            format=enum_of("format", format, "PUBLISH_FORMAT_", pb.PublishFormat),
            ordering=enum_of("ordering", ordering, "PUBLISH_ORDERING_", pb.PublishOrdering),
            overflow=enum_of("overflow", overflow, "PUBLISH_OVERFLOW_", pb.PublishOverflow),
            gaps=enum_of("gaps", gaps, "PUBLISH_GAPS_", pb.PublishGaps),
            overflow_key=overflow_key,
        )
        return await self._link.unary(rpc.StartPublish, request, timeout)

    async def stop_publish(self, id: str, *, timeout: float | None = None) -> pb.StopPublishResponse:
        """Ends the publishing."""
        return await self._link.unary(rpc.StopPublish, make(pb.StopPublishRequest, id=id), timeout)

    async def set_tag(self, id: str, key: str, value: str, *, timeout: float | None = None) -> pb.SetTagResponse:
        """Sets one tag; an empty value deletes it."""
        return await self._link.unary(rpc.SetTag, make(pb.SetTagRequest, id=id, key=key, value=value), timeout)

    async def get_tag(self, id: str, key: str, *, timeout: float | None = None) -> str | None:
        """One tag's value; None when the connection has no such tag. An unknown connection is an error."""
        request = make(pb.GetTagRequest, id=id, key=key)
        try:
            return (await self._link.unary(rpc.GetTag, request, timeout, repeatable=True)).value
        except NotFoundError:
            # One code for both: the connection's own answer tells which it was.
            with contextlib.suppress(KeyError):
                return (await self.get_tags(id, timeout=timeout))[key]
            return None

    async def set_tags(self, id: str, tags: Mapping[str, str], *, timeout: float | None = None) -> pb.SetTagsResponse:
        """Sets several tags and leaves the others; an empty value deletes one."""
        return await self._link.unary(rpc.SetTags, make(pb.SetTagsRequest, id=id, tags=tags), timeout)

    async def get_tags(self, id: str, *, timeout: float | None = None) -> dict[str, str]:
        """All tags."""
        return dict((await self._link.unary(rpc.GetTags, make(pb.GetTagsRequest, id=id), timeout, repeatable=True)).tags)

    def receive(
        self,
        id: str | None = None,
        *,
        filter: Mapping[str, str] | None = None,
        topic: str | None = None,
        room: str | None = None,
        cursor: str = "",
        from_start: bool = False,
        give_up_after: float | None = None,
    ) -> Follow[Received]:
        """Follows one connection, those with some tags, a topic or a room::

            async for message in client.receive("feed-1"):
                print(message.text)

        Begins now, after ``cursor``, or with the oldest that is kept. Items are messages, and gaps that say what was
        missed. A broken connection to the service is opened again after the last cursor, until the service has
        been away for ``give_up_after`` seconds (None: for ever; 0: the first break is an error). The loop ends with the
        connection that is followed by id, after its end marker.
        """
        filters = None if filter is None else filters_of(filter)
        request = receive_request(id, filters, topic, room, cursor, from_start)
        ends = None if id is None else partial(self._has_ended, id)
        return Follow(self._link, rpc.Receive, request, Received, give_up_after, lost_item, ends)

    async def _has_ended(self, id: str) -> bool:
        """Whether a connection whose stream ended is gone, and does not just wait for the service to come back.

        A service that shuts down has given its connections away already, and says that there is none: only
        what one says after it was found serving counts.
        """
        return await self._is_gone(id) and await self._link.serving() and await self._is_gone(id)

    async def _is_gone(self, id: str) -> bool:
        try:
            found = await self.get(id)
            return found.status == pb.DISCONNECTED and not found.auto_reconnect
        except UnsupportedError:
            return True
        except WebSocketManagerError as error:
            return error.code() is grpc.StatusCode.NOT_FOUND

    def watch(
        self,
        id: str = "",
        *,
        filter: Mapping[str, str] | None = None,
        cursor: str = "",
        give_up_after: float | None = None,
    ) -> Follow[pb.LifecycleEvent]:
        """Lifecycle events of all connections, of one, or of those with some tags::

            async for event in client.watch():
                print(event.type, event.connection_id)
        """
        request = make(pb.WatchRequest, id=id, filters=filters_of(filter), cursor=cursor)
        return Follow(self._link, rpc.Watch, request, _itself, give_up_after)


def _itself(event: pb.LifecycleEvent) -> pb.LifecycleEvent:
    return event


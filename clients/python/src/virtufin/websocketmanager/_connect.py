"""Everything that Connect takes, as keyword arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ._requests import Correlating, correlation_of, filled, list_of, make
from .protos import websocketmanager_pb2 as pb

Options = Mapping[str, Any]
# Dials may take this long when nothing is said about it.
DIAL_MS = 10_000
MARGIN = 5.0


def connect_request(
    url: str,
    auto_reconnect: bool,
    tags: Mapping[str, str] | None,
    connection_id: str,
    headers: Mapping[str, str] | None,
    subprotocols: Sequence[str],
    tls: Options | pb.TlsOptions | None,
    proxy: str | Options | pb.ProxyOptions | None,
    source_ip: str,
    fallback_urls: Sequence[str],
    connect_timeout_ms: int,
    open_messages: Sequence[str | bytes | Options | pb.OpenMessage],
    heartbeat: Options | pb.Heartbeat | None,
    ignore: Sequence[Options | pb.MessageRule],
    idle: Options | pb.IdleOptions | None,
    reconnect: Options | pb.ReconnectOptions | None,
    rotate: Options | pb.RotateOptions | None,
    limits: Options | pb.SendLimits | None,
    correlation: Correlating | None,
    publish: str | Options | pb.PublishOptions | None,
    rooms: Sequence[str],
    sequence: Options | pb.SequenceRule | None,
    max_message_bytes: int,
    profile: str,
    variables: Mapping[str, str] | None,
) -> pb.ConnectRequest:
    """The request that these arguments mean."""
    if isinstance(proxy, str):
        proxy = {"url": proxy}
    if isinstance(publish, str):
        publish = {"topic": publish}
    inner = {
        "tls": (pb.TlsOptions, tls),
        "proxy": (pb.ProxyOptions, proxy),
        "heartbeat": (pb.Heartbeat, heartbeat),
        "idle": (pb.IdleOptions, idle),
        "reconnect": (pb.ReconnectOptions, reconnect),
        "rotate": (pb.RotateOptions, rotate),
        "limits": (pb.SendLimits, limits),
        "publish": (pb.PublishOptions, publish),
        "sequence": (pb.SequenceRule, sequence),
    }
    given: dict[str, Any] = {name: filled(kind, value, name) for name, (kind, value) in inner.items() if value is not None}
    if correlation is not None:
        given["correlation"] = correlation_of(correlation)
    return make(
        pb.ConnectRequest,
        url=url,
        auto_reconnect=auto_reconnect,
        tags=tags,
        connection_id=connection_id,
        headers=headers,
        subprotocols=list_of("subprotocols", subprotocols),
        source_ip=source_ip,
        fallback_urls=list_of("fallback_urls", fallback_urls),
        connect_timeout_ms=connect_timeout_ms,
        open_messages=[_open_message(message) for message in list_of("open_messages", open_messages)],
        ignore=[filled(pb.MessageRule, rule, "ignore") for rule in list_of("ignore", ignore)],
        rooms=list_of("rooms", rooms),
        max_message_bytes=max_message_bytes,
        profile=profile,
        variables=variables,
        **given,
    )


def _open_message(message: str | bytes | Options | pb.OpenMessage) -> pb.OpenMessage:
    if isinstance(message, str):
        return pb.OpenMessage(text=message)
    if isinstance(message, bytes):
        return pb.OpenMessage(data=message)
    return filled(pb.OpenMessage, message, "open_messages")


def patience(request: pb.ConnectRequest, timeout: float) -> float:
    """Seconds to wait for a Connect: what it may take by its own settings, if that is more than usual."""
    dials = (request.connect_timeout_ms or DIAL_MS) * (1 + len(request.fallback_urls))
    opening = sum(message.ack_timeout_ms + message.pace_ms for message in request.open_messages)
    return max(timeout, (dials + opening) / 1000 + MARGIN)

"""The gateway's way of calling: dictionaries in, dictionaries out, by server reflection alone.

    async with ApiClient() as client:
        wsm = client.gateway.websocketmanager
        made = await wsm.Connect({"url": "wss://example.com/feed", "auto_reconnect": True})
        for connection in (await wsm.List())["connections"]:
            print(connection["id"], connection["status"])
        async for message in wsm.Receive({"id": made["id"]}):
            print(message.get("text"))

Keys may be in snake_case or camelCase; answers are proto3 JSON: camelCase, 64-bit numbers as text, bytes in
base64 (bytes given are encoded). No generated code is used: what the service can do is asked of the service.
"""

from __future__ import annotations

import asyncio
import base64
import difflib
import inspect
from collections.abc import AsyncIterable, AsyncIterator, Generator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

import grpc
from google.protobuf import json_format

from virtufin._wsm.errors import ClientClosedError, WebSocketManagerError, enrich
from virtufin._wsm.link import Link, Method, Token, being_cancelled
from virtufin._wsm.tls import Tls

from ._reflection import Catalogue, message_class

__all__ = ["ApiClient", "ClientClosedError", "Gateway", "Service", "Tls", "UnknownNameError", "WebSocketManagerError"]

Json = dict[str, Any]
# Empty lists and zeros are said too: who asks for ["connections"] gets a list. The flag has had two names.
_SAY_ALL: dict[str, Any] = next(
    {name: True}
    for name in ("always_print_fields_with_no_presence", "including_default_value_fields")
    if name in inspect.signature(json_format.MessageToDict).parameters
)


class UnknownNameError(LookupError):
    """There is no such service, method or field; the text names the nearest."""


class ApiClient:
    """A client of the platform's services, for one event loop. Use it in ``async with``.

    Args:
        host: Where the service is.
        port: Its gRPC port.
        tls: True for TLS with the platform's authorities, or a `Tls`.
        token: Sent with each call as ``authorization: Bearer``; a function is asked anew each time.
        timeout: Seconds that a unary call may take.
        retries: How often a call is repeated that certainly had no effect.
    """

    gateway: Gateway

    def __init__(
        self,
        host: str = "localhost",
        port: int = 5002,
        *,
        tls: bool | Tls | None = None,
        token: Token | None = None,
        timeout: float = 30.0,
        retries: int = 2,
    ) -> None:
        self._link = Link(host, port, Tls() if tls is True else tls or None, token, timeout, retries)
        self.gateway = Gateway(self._link)

    async def __aenter__(self) -> ApiClient:
        self._link.check("open")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends all calls and the connection. A second time does nothing."""
        await self._link.close()


class Gateway:
    """``client.gateway``: each attribute is a service, by its name in any case: ``gateway.websocketmanager``."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._catalogue = Catalogue(link)

    def __getattr__(self, name: str) -> Service:
        if name.startswith("_"):
            raise AttributeError(name)
        return Service(self._link, self._catalogue, name)

    async def services(self) -> list[str]:
        """Full names of the services there are."""
        return list(await self._catalogue.names())


class Service:
    """One service: each attribute is an RPC, ``service.StartPublish`` or ``service.start_publish``."""

    def __init__(self, link: Link, catalogue: Catalogue, name: str) -> None:
        self._link, self._catalogue, self._name = link, catalogue, name

    def __getattr__(self, name: str) -> Rpc:
        if name.startswith("_"):
            raise AttributeError(name)
        return Rpc(self, name)

    async def methods(self) -> list[str]:
        """Names of the RPCs there are."""
        return list(await self._methods())

    async def _methods(self) -> dict[str, Any]:
        names = await self._catalogue.names()
        short = {name.rpartition(".")[2]: name for name in names}
        found = _find(self._name, short)
        if found is None:
            raise UnknownNameError(f"there is no service {self._name!r}{_nearest(self._name, short)}")
        return await self._catalogue.methods(short[found])

    async def _method(self, name: str) -> Any:
        methods = await self._methods()
        found = _find(name, methods)
        if found is None:
            raise UnknownNameError(f"{self._name} has no method {name!r}{_nearest(name, methods)}")
        return methods[found]


class Rpc:
    """One RPC, to be called with a dictionary, with keyword arguments, or with both."""

    def __init__(self, service: Service, name: str) -> None:
        self._service, self._name = service, name

    def __call__(
        self, request: Mapping[str, Any] | Iterable[Any] | AsyncIterable[Any] | None = None, /, *, timeout: float | None = None,
        **fields: Any,
    ) -> Call:  # fmt: skip
        """``timeout`` is in seconds; for a stream it bounds the whole of it."""
        if fields:
            if request is not None and not isinstance(request, Mapping):
                raise TypeError(f"{self._name}: keyword arguments go with a dict, not with {type(request).__name__}")
            request = {**(request or {}), **fields}
        return Call(self._service, self._name, request if request is not None else {}, timeout)


class Call:
    """``await`` it where one answer comes, ``async for`` where many do."""

    def __init__(self, service: Service, name: str, request: Any, timeout: float | None) -> None:
        self._service, self._name, self._request, self._timeout = service, name, request, timeout

    def __await__(self) -> Generator[Any, None, Json]:
        return self._one().__await__()

    async def _one(self) -> Json:
        descriptor = await self._service._method(self._name)
        if descriptor.server_streaming:
            raise TypeError(f"{descriptor.name} answers many times: use `async for item in {self._service._name}.{descriptor.name}(...)`")
        if descriptor.client_streaming:
            raise TypeError(f"{descriptor.name} takes many requests and answers once, which this client does not do")
        answer = await self._service._link.unary(_method(descriptor), _request(descriptor, self._request), self._timeout)
        return _answer(answer)

    async def __aiter__(self) -> AsyncIterator[Json]:
        descriptor = await self._service._method(self._name)
        if not descriptor.server_streaming:
            raise TypeError(f"{descriptor.name} answers once: use `await {self._service._name}.{descriptor.name}(...)`")
        link = self._service._link
        call: Any
        # What is wrong with a request of the stream: gRPC itself would just cancel the call.
        wrong: list[Exception] = []
        if descriptor.client_streaming:
            call = link.duplex(_method(descriptor), _requests(descriptor, self._request, wrong), self._timeout)
        else:
            call = link.stream(_method(descriptor), _request(descriptor, self._request), self._timeout)
        try:
            while (item := await call.read()) is not grpc.aio.EOF:
                yield _answer(item)
            if await call.code() is not grpc.StatusCode.OK:
                raise grpc.aio.AioRpcError(await call.code(), None, await call.trailing_metadata(), await call.details())
        except grpc.aio.AioRpcError as error:
            if wrong:
                raise wrong[0] from None
            if link.closed:
                raise ClientClosedError(method=descriptor.name) from None
            raise await link.explained(enrich(error, descriptor.name)) from None
        except asyncio.CancelledError:
            if wrong and not being_cancelled():
                raise wrong[0] from None
            if link.closed and not being_cancelled():
                raise ClientClosedError(method=descriptor.name) from None
            raise
        finally:
            call.cancel()


def _method(descriptor: Any) -> Method[Any, Any]:
    path = f"/{descriptor.containing_service.full_name}/{descriptor.name}"
    taken, given = message_class(descriptor.input_type), message_class(descriptor.output_type)
    return Method(path, taken.SerializeToString, given.FromString)


def _request(descriptor: Any, value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise TypeError(f"{descriptor.name}: a dict is needed, not {type(value).__name__}")
    _check(value, descriptor.input_type, descriptor.name)
    made = message_class(descriptor.input_type)()
    try:
        json_format.ParseDict(_plain(value), made)
    except json_format.ParseError as error:
        raise ValueError(f"{descriptor.name}: {error}") from None
    return made


async def _requests(descriptor: Any, values: Any, wrong: list[Exception]) -> AsyncIterator[Any]:
    try:
        if isinstance(values, AsyncIterable):
            async for value in values:
                yield _request(descriptor, value)
            return
        for value in [values] if isinstance(values, Mapping) else values:
            yield _request(descriptor, value)
    except Exception as error:
        wrong.append(error)
        raise


def _check(value: Mapping[str, Any], descriptor: Any, where: str) -> None:
    fields = {name: field for field in descriptor.fields for name in (field.name, field.json_name)}
    for key, inner in value.items():
        if key not in fields:
            raise UnknownNameError(f"{where}: there is no field {key!r}{_nearest(str(key), [field.name for field in descriptor.fields])}")
        described = fields[key].message_type
        # Well-known types have a JSON form of their own.
        if described is None or described.GetOptions().map_entry or described.full_name.startswith("google.protobuf."):
            continue
        for item in inner if isinstance(inner, Sequence) and not isinstance(inner, str) else [inner]:
            if isinstance(item, Mapping):
                _check(item, described, f"{where}.{key}")


def _plain(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value


def _answer(message: Any) -> Json:
    answer: Json = json_format.MessageToDict(message, **_SAY_ALL)
    return answer


def _find(name: str, known: Iterable[str]) -> str | None:
    """The name as it is written, or in another case or with underscores."""
    plain = name.replace("_", "").lower()
    return next((other for other in known if other == name), None) or next(
        (other for other in known if other.lower() == plain), None
    )


def _nearest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    lower = {other.lower(): other for other in names}
    close = difflib.get_close_matches(name.replace("_", "").lower(), lower, 1, 0.5)
    guess = f"; did you mean {lower[close[0]]!r}?" if close else ""
    return f"{guess}; there are {', '.join(names)}"

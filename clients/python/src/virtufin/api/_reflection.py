"""What a service offers, asked of the service itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from virtufin._wsm import wire
from virtufin._wsm.errors import ClientClosedError, error_of
from virtufin._wsm.link import Link, Method, being_cancelled

# The same messages in both; services of some years ago know only the second.
_VERSIONS = ("v1", "v1alpha")
FILES_MAX = 1000


class Catalogue:
    """The services of one server, each read once, when it is first used."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._pool = descriptor_pool.DescriptorPool()
        self._added: set[str] = set()
        self._names: list[str] | None = None
        self._services: dict[str, dict[str, Any]] = {}

    async def names(self) -> list[str]:
        """Full names of all services."""
        if self._names is None:
            answer = await self._ask(list_services=[""])
            self._names = [service.name for service in answer.list_services_response.service]
        return self._names

    async def methods(self, service: str) -> dict[str, Any]:
        """A service's methods, by name, as descriptors."""
        if service not in self._services:
            answer = await self._ask(file_containing_symbol=service)
            await self._add(answer.file_descriptor_response.file_descriptor_proto)
            found = self._pool.FindServiceByName(service)
            self._services[service] = {method.name: method for method in found.methods}
        return self._services[service]

    async def _add(self, serialized: Any) -> None:
        """Puts files into the pool, after all that they need."""
        known: dict[str, descriptor_pb2.FileDescriptorProto] = {}
        waiting = [descriptor_pb2.FileDescriptorProto.FromString(file) for file in serialized]
        while waiting:
            file = waiting.pop()
            known[file.name] = file
            if len(known) > FILES_MAX:
                raise error_of(grpc.StatusCode.INTERNAL, f"reflection names more than {FILES_MAX} files", "reflection")
            here = {*known, *self._added, *(other.name for other in waiting)}
            for name in file.dependency:
                if name not in here:
                    answer = await self._ask(file_by_filename=name)
                    files = answer.file_descriptor_response.file_descriptor_proto
                    waiting += [descriptor_pb2.FileDescriptorProto.FromString(more) for more in files]
        for name in list(known):
            self._add_one(name, known)

    def _add_one(self, name: str, known: dict[str, descriptor_pb2.FileDescriptorProto]) -> None:
        if name in self._added or name not in known:
            return
        self._added.add(name)
        for dependency in known[name].dependency:
            self._add_one(dependency, known)
        self._pool.Add(known[name])

    async def _ask(self, **question: Any) -> Any:
        """One question; of the newer reflection service, then of the older one."""
        request = wire.ReflectionRequest(**question)
        for version in _VERSIONS:
            method: Method[Any, Any] = Method(
                f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
                wire.ReflectionRequest.SerializeToString,
                wire.ReflectionResponse.FromString,
            )
            call = self._link.duplex(method, _once(request), self._link.timeout)
            try:
                answer = await call.read()
                call.cancel()
            except grpc.aio.AioRpcError as error:
                failure = error_of(error.code(), error.details(), "reflection", error.trailing_metadata())
                if failure.code() is grpc.StatusCode.UNIMPLEMENTED and version != _VERSIONS[-1]:
                    continue
                raise await self._link.explained(failure) from None
            except asyncio.CancelledError:
                if self._link.closed and not being_cancelled():
                    raise ClientClosedError(method="reflection") from None
                raise
            if answer is grpc.aio.EOF:
                raise error_of(grpc.StatusCode.INTERNAL, "reflection ended without an answer", "reflection")
            refused = getattr(answer, "error_response")
            if refused.error_message or refused.error_code:
                raise error_of(grpc.StatusCode.NOT_FOUND, f"reflection: {refused.error_message}", "reflection")
            return answer
        raise AssertionError("the last version raises")


async def _once(request: Any) -> AsyncIterator[Any]:
    yield request


def message_class(descriptor: Any) -> Any:
    """The class of a message that reflection described."""
    return message_factory.GetMessageClass(descriptor)

"""The few messages of others that both clients need: error details and server reflection.

They are described here instead of taken from packages, because those packages bind the versions of
grpcio and protobuf that can be installed beside us. The pool is our own, so nothing can collide.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError as DecodeError

_Field = descriptor_pb2.FieldDescriptorProto
_KINDS = {"string": _Field.TYPE_STRING, "bytes": _Field.TYPE_BYTES, "int32": _Field.TYPE_INT32, "int64": _Field.TYPE_INT64}

# Field: number, type, and * where there may be many. Numbers are those of google.rpc and grpc.reflection.v1.
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "Any": {"type_url": (1, "string"), "value": (2, "bytes")},
    "Status": {"code": (1, "int32"), "message": (2, "string"), "details": (3, "Any*")},
    "ErrorInfo": {"reason": (1, "string"), "domain": (2, "string")},
    "FieldViolation": {"field": (1, "string"), "description": (2, "string")},
    "BadRequest": {"field_violations": (1, "FieldViolation*")},
    "Duration": {"seconds": (1, "int64"), "nanos": (2, "int32")},
    "RetryInfo": {"retry_delay": (1, "Duration")},
    "ReflectionRequest": {
        "file_by_filename": (3, "string"),
        "file_containing_symbol": (4, "string"),
        "list_services": (7, "string*"),
    },
    "ReflectionFiles": {"file_descriptor_proto": (1, "bytes*")},
    "ReflectionService": {"name": (1, "string")},
    "ReflectionServices": {"service": (1, "ReflectionService*")},
    "ReflectionError": {"error_code": (1, "int32"), "error_message": (2, "string")},
    "ReflectionResponse": {
        "file_descriptor_response": (4, "ReflectionFiles"),
        "list_services_response": (6, "ReflectionServices"),
        "error_response": (7, "ReflectionError"),
    },
}


def _describe() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="virtufin/_wsm.proto", package="virtufin.wsm.wire", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            label = _Field.LABEL_REPEATED if kind.endswith("*") else _Field.LABEL_OPTIONAL
            kind = kind.rstrip("*")
            added = message.field.add(name=field, number=number, label=label)
            if kind in _KINDS:
                added.type = _KINDS[kind]
            else:
                added.type = _Field.TYPE_MESSAGE
                added.type_name = f".{file.package}.{kind}"
    return file


_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_describe())


def _class(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"virtufin.wsm.wire.{name}"))


Status = _class("Status")
ErrorInfo = _class("ErrorInfo")
BadRequest = _class("BadRequest")
RetryInfo = _class("RetryInfo")
ReflectionRequest = _class("ReflectionRequest")
ReflectionResponse = _class("ReflectionResponse")

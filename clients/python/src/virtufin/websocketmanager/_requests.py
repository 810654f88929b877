"""Makes requests of what callers give: texts and bytes, plain dictionaries, or the proto messages themselves."""

from __future__ import annotations

import base64
import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from .protos import rooms_pb2
from .protos import websocketmanager_pb2 as pb

M = TypeVar("M", bound=Message)
Correlating = str | Mapping[str, Any] | pb.Correlation

_TYPES = {
    FieldDescriptor.CPPTYPE_STRING: "a str",
    FieldDescriptor.CPPTYPE_BOOL: "a bool",
    FieldDescriptor.CPPTYPE_INT32: "an int",
    FieldDescriptor.CPPTYPE_INT64: "an int",
    FieldDescriptor.CPPTYPE_UINT32: "an int",
    FieldDescriptor.CPPTYPE_UINT64: "an int",
}
_RULES = [field.name for field in pb.Correlation.DESCRIPTOR.fields]


def make(kind: type[M], **fields: Any) -> M:
    """The message with these fields. One that cannot be is told by its name, which protobuf does not say."""
    try:
        return kind(**fields)
    except (TypeError, ValueError, AttributeError):
        for name, value in fields.items():
            _check_field(kind, name, value)
        raise


def _check_field(kind: type[Message], name: str, value: Any) -> None:
    try:
        kind(**{name: value})
    except UnicodeError as error:
        raise ValueError(f"{name}: {error}") from None
    except (TypeError, ValueError, AttributeError) as error:
        field = kind.DESCRIPTOR.fields_by_name[name]
        if isinstance(error, ValueError) and isinstance(value, int):
            raise ValueError(f"{name}: {error}") from None
        # Not the value itself: it may be secret.
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            raise TypeError(f"{name}: a dict of str to str is needed") from None
        needed = _TYPES.get(field.cpp_type, "a message")
        if isinstance(value, (list, tuple)):
            raise TypeError(f"{name}: each must be {needed}") from None
        raise TypeError(f"{name}: {needed} is needed, not {type(value).__name__}") from None


def send_request(
    id: str, message: str | bytes, timeout_ms: int, content_type: str = "", correlation: Correlating | None = None
) -> pb.SendRequest:
    """A Send; a text goes as text, bytes go as a binary message."""
    if isinstance(message, str):
        request = make(pb.SendRequest, id=id, message=message, timeout_ms=timeout_ms, content_type=content_type)
    elif isinstance(message, (bytes, bytearray, memoryview)):
        request = make(pb.SendRequest, id=id, data=bytes(message), timeout_ms=timeout_ms, content_type=content_type)
    else:
        raise TypeError(f"message: a str or bytes is needed, not {type(message).__name__}")
    if correlation is not None:
        request.correlation.CopyFrom(correlation_of(correlation))
    return request


def batched(request: Mapping[str, Any]) -> pb.SendRequest:
    """A Send of a batch; its message is told by its Python type, as that of ``send``."""
    check_keys(request, pb.SendRequest.DESCRIPTOR, "requests")
    names = {field.json_name: field.name for field in pb.SendRequest.DESCRIPTOR.fields}
    given = {"id": "", "timeout_ms": 5000, **{names.get(key, key): value for key, value in request.items()}}
    if "message" in given and "data" in given:
        raise ValueError("requests: message and data exclude each other; a message of bytes is sent as they are")
    message = given.pop("message", None)
    data, tag = given.pop("data", ""), given.pop("tag", 0)
    made = send_request(message=data if message is None else message, **given)
    made.MergeFrom(make(pb.SendRequest, tag=tag))
    return made


def set_payload(
    request: pb.SendRawRequest | rooms_pb2.RoomSendRequest | rooms_pb2.BroadcastRequest | rooms_pb2.SendToUserRequest,
    message: str | bytes,
) -> None:
    """Puts a text into `message` and bytes into `data`."""
    if isinstance(message, str):
        try:
            request.message = message
        except ValueError:
            _check_field(type(request), "message", message)
            raise
    elif isinstance(message, (bytes, bytearray, memoryview)):
        request.data = bytes(message)
    else:
        raise TypeError(f"message: a str or bytes is needed, not {type(message).__name__}")


def correlation_of(rule: Correlating) -> pb.Correlation:
    """A rule by its name (``"json_rpc"``), with settings (``{"json": {"request_path": "/id"}}``), or as the message."""
    if isinstance(rule, str):
        if rule not in _RULES:
            raise ValueError(f"correlation: {rule!r} is no rule{nearest(rule, _RULES)}; the rules are {', '.join(_RULES)}")
        rule = {rule: {}}
    return filled(pb.Correlation, rule, "correlation")


def filled(kind: type[M], value: Mapping[str, Any] | M, name: str) -> M:
    """The message that a dictionary means; its keys may be in snake_case or camelCase."""
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping):
        raise TypeError(f"{name}: a dict or {kind.__name__} is needed, not {type(value).__name__}")
    made = kind()
    check_keys(value, kind.DESCRIPTOR, name)
    try:
        json_format.ParseDict(_plain(value), made)
    except json_format.ParseError as error:
        raise ValueError(f"{name}: {error}") from None
    return made


def check_keys(value: Mapping[str, Any], descriptor: Any, name: str) -> None:
    """Raises for a key that is no field, and names the nearest."""
    fields = {known: field for field in descriptor.fields for known in (field.name, field.json_name)}
    for key, inner in value.items():
        field = fields.get(key)
        if field is None:
            names = [field.name for field in descriptor.fields]
            raise ValueError(f"{name}: {key!r} is not known{nearest(key, names)}; there are {', '.join(names)}")
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        for item in inner if _is_list(inner) else [inner]:
            if isinstance(item, Mapping):
                check_keys(item, field.message_type, f"{name}.{key}")


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def nearest(word: str, known: Iterable[str]) -> str:
    """A question that names the known word that was probably meant."""
    found = difflib.get_close_matches(word, list(known), 1, 0.6)
    return f"; did you mean {found[0]!r}?" if found else ""


def _plain(value: Any) -> Any:
    """JSON knows no bytes and no tuples; messages inside become what they say."""
    if isinstance(value, Message):
        return json_format.MessageToDict(value)
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if _is_list(value):
        return [_plain(item) for item in value]
    return value


def filters_of(tags: Mapping[str, str] | None) -> list[pb.TagFilter]:
    """Tags that must all be there."""
    if not isinstance(tags, (Mapping, type(None))):
        raise TypeError(f"filter: a dict of tags is needed, not {type(tags).__name__}")
    return [make(pb.TagFilter, key=key, value=value) for key, value in (tags or {}).items()]


def enum_of(name: str, value: str | int | None, prefix: str, numbers: Any) -> Any:
    """The number of an enum's value, which may be named without its prefix, in any case."""
    if value is None:
        return 0
    if isinstance(value, int):
        return value
    if not isinstance(value, str):
        raise TypeError(f"{name}: a name is needed, not {type(value).__name__}")
    known = [key.removeprefix(prefix).lower() for key in numbers.keys()]
    if value.lower().removeprefix(prefix.lower()) not in known:
        raise ValueError(f"{name}: {value!r} is not known{nearest(value.lower(), known)}; there are {', '.join(known)}")
    return numbers.Value(prefix + value.upper().removeprefix(prefix))


def list_of(name: str, value: Iterable[Any]) -> list[Any]:
    """A list, not a single text that would be taken letter by letter."""
    if isinstance(value, (str, bytes)):
        raise TypeError(f"{name}: a list is needed, not one {type(value).__name__}")
    return list(value)

"""The record of the contract (tests/it/golden/contract.txt) against the descriptors that this client carries, and against
every kind of break: each has to show as a line that is gone."""

import pytest
from google.protobuf import descriptor_pb2

from conftest import ROOT
from virtufin.websocketmanager.protos import rooms_pb2
from virtufin.websocketmanager.protos import websocketmanager_pb2 as pb

RECORD = ROOT / "tests/it/golden/contract.txt"
Field = descriptor_pb2.FieldDescriptorProto
KINDS = {number: name.removeprefix("TYPE_").lower() for name, number in Field.Type.items()}


def files():
    return [descriptor_pb2.FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb) for module in (pb, rooms_pb2)]


def lines(described):
    """What the record says of these files."""
    found = set()
    for file in described:
        found.add(f"file {file.name} package {file.package} csharp {file.options.csharp_namespace}")
        for message in file.message_type:
            add_message(message, f"{file.package}.{message.name}", found)
        for enum in file.enum_type:
            found |= {f"enum {file.package}.{enum.name}.{value.name} = {value.number}" for value in enum.value}
        for service in file.service:
            for method in service.method:
                taken = ("stream " if method.client_streaming else "") + method.input_type[1:]
                given = ("stream " if method.server_streaming else "") + method.output_type[1:]
                found.add(f"rpc {file.package}.{service.name}.{method.name}({taken}) returns ({given})")
    return found


def add_message(message, name, found):
    entries = {f".{name}.{inner.name}": inner for inner in message.nested_type if inner.options.map_entry}
    found.add(f"message {name}")
    for field in message.field:
        kind = field.type_name[1:] or KINDS[field.type]
        if field.type_name in entries:
            key, value = (part.type_name[1:] or KINDS[part.type] for part in entries[field.type_name].field)
            kind = f"map<{key}, {value}>"
        elif field.label == Field.LABEL_REPEATED:
            kind = f"repeated {kind}"
        elif field.proto3_optional:
            kind = f"optional {kind}"
        within = f" in {message.oneof_decl[field.oneof_index].name}" if field.HasField("oneof_index") and not field.proto3_optional else ""
        found.add(f"field {name}.{field.name} = {field.number} {kind}{within}")


def recorded():
    return set(RECORD.read_text().splitlines())


def test_the_record_is_what_this_client_speaks():
    assert lines(files()) == recorded()


def message(described, name):
    return next(found for file in described for found in file.message_type if found.name == name)


def field(described, name, of="SendRequest"):
    return next(found for found in message(described, of).field if found.name == name)


def without(items, name):
    kept = [item for item in items if item.name != name]
    assert len(kept) == len(items) - 1
    del items[:]
    items.extend(kept)


BREAKS = {
    "a field is renumbered": lambda found: setattr(field(found, "timeout_ms"), "number", 33),
    "a field is renamed": lambda found: setattr(field(found, "timeout_ms"), "name", "timeout"),
    "a field is removed": lambda found: without(message(found, "SendRequest").field, "timeout_ms"),
    "a field is retyped": lambda found: setattr(field(found, "timeout_ms"), "type", Field.TYPE_STRING),
    "a field becomes a list": lambda found: setattr(field(found, "timeout_ms"), "label", Field.LABEL_REPEATED),
    "a map's value is retyped": lambda found: setattr(message(found, "ConnectRequest").nested_type[0].field[1], "type", Field.TYPE_BYTES),
    "a field leaves its oneof": lambda found: field(found, "topic", "ReceiveRequest").ClearField("oneof_index"),
    "a message is removed": lambda found: without(found[0].message_type, "Gap"),
    "an enum value is removed": lambda found: without(found[0].enum_type[0].value, "RECONNECTING"),
    "an enum value is renumbered": lambda found: setattr(found[0].enum_type[0].value[1], "number", 9),
    "an RPC is removed": lambda found: without(found[0].service[0].method, "SendRaw"),
    "an RPC streams": lambda found: setattr(found[0].service[0].method[0], "server_streaming", True),
    "an RPC takes something else": lambda found: setattr(found[1].service[0].method[0], "input_type", ".virtufin.JoinRequest"),
    "the C# namespace changes": lambda found: setattr(found[0].options, "csharp_namespace", "Other"),
}


@pytest.mark.parametrize("what", BREAKS)
def test_a_break_shows(what):
    described = files()
    BREAKS[what](described)
    assert recorded() - lines(described), what


def test_growth_is_no_break():
    described = files()
    message(described, "SendRequest").field.add(name="later", number=100, type=Field.TYPE_STRING, label=Field.LABEL_OPTIONAL)
    assert not recorded() - lines(described) and len(lines(described) - recorded()) == 1

"""A gateway's way: no generated code, everything by server reflection."""

import grpc
import pytest
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SERVICE = "virtufin.WebSocketManager"
V1 = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
V1ALPHA = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
DEADLINE = 20.0


def ask(channel, method, **question):
    """One question to reflection; v1 and v1alpha have the same messages on the wire."""
    call = channel.stream_stream(
        method,
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    request = reflection_pb2.ServerReflectionRequest(**question)
    return next(iter(call(iter([request]), timeout=DEADLINE)))


@pytest.mark.parametrize("version", [V1, V1ALPHA])
def test_services_are_listed(channel, version):
    answer = ask(channel, version, list_services="")
    names = {service.name for service in answer.list_services_response.service}
    assert {SERVICE, "grpc.health.v1.Health"} <= names


@pytest.mark.parametrize("version", [V1, V1ALPHA])
def test_a_symbol_is_described_with_what_it_needs(channel, version):
    pool = DescriptorPool()
    waiting, known = [f"{SERVICE}.Connect"], {}
    files = ask(channel, version, file_containing_symbol=waiting[0]).file_descriptor_response.file_descriptor_proto
    queue = [descriptor_pb2.FileDescriptorProto.FromString(file) for file in files]
    while queue:
        file = queue.pop()
        if file.name in known:
            continue
        known[file.name] = file
        for name in file.dependency:
            found = ask(channel, version, file_by_filename=name).file_descriptor_response.file_descriptor_proto
            queue += [descriptor_pb2.FileDescriptorProto.FromString(file) for file in found]
    added = set()

    def add(name):
        if name not in added:
            added.add(name)
            for dependency in known[name].dependency:
                add(dependency)
            pool.Add(known[name])

    for name in list(known):
        add(name)
    fields = pool.FindMessageTypeByName("virtufin.ConnectRequest").fields_by_name
    assert (fields["url"].number, fields["auto_reconnect"].number, fields["tags"].number) == (1, 2, 3)


@pytest.mark.parametrize("version", [V1, V1ALPHA])
def test_what_is_unknown_is_not_found(channel, version):
    # As an answer of the stream, or as the end of it: servers of both habits are in use.
    try:
        answer = ask(channel, version, file_containing_symbol="virtufin.Nothing")
        assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND


class Dynamic:
    """Every method by its name, with dicts in and out."""

    def __init__(self, channel):
        self.channel = channel
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        self.service = pool.FindServiceByName(SERVICE)

    def __call__(self, name, **fields):
        method = self.service.FindMethodByName(name)
        request = json_format.ParseDict(fields, message_factory.GetMessageClass(method.input_type)())
        call = self.channel.unary_unary(
            f"/{SERVICE}/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
        )
        return json_format.MessageToDict(call(request, timeout=DEADLINE))


def test_the_service_is_driven_by_reflection_alone(channel, upstream):
    call = Dynamic(channel)
    made = call("Connect", url=upstream, tags={"by": "reflection"}, subprotocols=["echo.v1"])
    assert made["id"] == made["connectionId"] and made["status"] == "CONNECTED"
    assert made["subprotocol"] == "echo.v1"
    listed = call("List", filters=[{"key": "by", "value": "reflection"}])
    assert [connection["id"] for connection in listed["connections"]] == [made["id"]]
    reply = call("Send", id=made["id"], message='{"id": 1, "text": "grüße"}')
    assert reply["response"] == '{"id": 1, "text": "grüße"}'
    call("SetTag", id=made["id"], key="k", value="v")
    assert call("GetTag", id=made["id"], key="k") == {"value": "v"}
    call("Disconnect", id=made["id"])
    with pytest.raises(grpc.RpcError) as caught:
        call("Get", id=made["id"])
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND

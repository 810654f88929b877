"""gRPC servers that play what the service does not: older, newer, deaf or refusing ones."""

import contextlib

import grpc.aio

from virtufin._wsm import wire


@contextlib.asynccontextmanager
async def fake(handlers, service="virtufin.WebSocketManager"):
    """The port of a server. A handler takes the request's bytes (an iterator of them) and the context, and gives bytes
    (or yields them); a method without one is UNIMPLEMENTED."""
    made = {}
    for name, (kind, handler) in handlers.items():
        made[name] = getattr(grpc, f"{kind}_rpc_method_handler")(handler)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, made),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


def details(code, reason, message=""):
    """The trailing metadata that says a reason."""
    status = wire.Status(code=code.value[0], message=message)
    status.details.add(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=wire.ErrorInfo(reason=reason).SerializeToString())
    return (("grpc-status-details-bin", status.SerializeToString()),)


def refusing(code, reason=None, times=None, then=b""):
    """A unary handler that refuses (the first times), and counts its calls."""

    async def handle(request, context):
        handle.calls += 1
        if times is not None and handle.calls > times:
            return then
        trailing = details(code, reason) if reason else ()
        await context.abort(code, "refused", trailing)

    handle.calls = 0
    return "unary_unary", handle

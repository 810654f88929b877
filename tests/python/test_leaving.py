"""How a client's socket ends. A client that says goodbye waits until the server ends the stream."""

import time

import pytest
from websockets.sync.client import connect


@pytest.mark.parametrize("protocols", [None, ["wsm.rooms.v1"]])
def test_a_client_that_says_goodbye_is_let_go_at_once(service, protocols):
    with connect(service.http.replace("http", "ws", 1) + "/ws/lobby", proxy=None, subprotocols=protocols) as client:
        begun = time.monotonic()
        client.close(4000, "goodbye")
        # Less than the service's patience with a peer that does not end the stream.
        assert time.monotonic() - begun < 1
    assert client.close_code == 4000

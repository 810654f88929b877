"""Rooms in a browser, as a page's own script has them: WebSocket and EventSource of Chromium."""

import base64
import contextlib
import http.server
import json
import threading

import pytest

from clients import Lines, asking_for_tokens, node_script, post, send, token
from conftest import DEADLINE, serving
from parts import free_port, installed

# What every page gets: sockets and event sources by name, and what they were told so far.
PAGE = """() => {
  window.told = {};
  window.kept = {};
  const tell = (name, what) => {
    told[name].push(what);
    document.dispatchEvent(new Event('told'));
  };
  window.connect = (name, url, subprotocols) => {
    told[name] = [];
    const socket = new WebSocket(url, subprotocols);
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => tell(name, {open: socket.protocol, extensions: socket.extensions});
    socket.onclose = ({code, reason, wasClean}) => tell(name, {close: code, reason, wasClean});
    socket.onmessage = ({data}) =>
      tell(name, typeof data === 'string' ? {text: data} : {bytes: Array.from(new Uint8Array(data))});
    kept[name] = socket;
  };
  window.follow = (name, url) => {
    told[name] = [];
    const source = new EventSource(url);
    source.onopen = () => tell(name, {open: source.readyState});
    source.onerror = () => tell(name, {error: source.readyState});
    for (const type of ['message', 'gap', 'end'])
      source.addEventListener(type, (event) => tell(name, {type, id: event.lastEventId, data: JSON.parse(event.data)}));
    kept[name] = source;
  };
  // The next thing that this one is told.
  window.next = async (name) => {
    while (!told[name].length) await new Promise((go) => document.addEventListener('told', go, {once: true}));
    return told[name].shift();
  };
}"""


class Page:
    def __init__(self, lines):
        self.lines = lines
        self.origin = lines.next()["ready"]
        self.run(PAGE)

    def run(self, function, argument=None):
        self.lines.say({"evaluate": function, "argument": argument})
        answer = self.lines.next()
        assert "error" not in answer, answer
        return answer["value"]

    def connect(self, name, url, *subprotocols):
        self.run("([name, url, subprotocols]) => connect(name, url, subprotocols)", [name, url, subprotocols])

    def follow(self, name, path):
        self.run("([name, path]) => follow(name, path)", [name, path])

    def say(self, name, text):
        self.run("([name, text]) => kept[name].send(text)", [name, text])

    def close(self, name, *how):
        self.run("([name, how]) => kept[name].close(...how)", [name, how])

    def next(self, name):
        return self.run("(name) => next(name)", name)

    def json(self, name):
        """The next text, which is JSON."""
        return self.run("async (name) => JSON.parse((await next(name)).text)", name)


@contextlib.contextmanager
def browsing(url):
    chromium = installed("chromium", ["WSM_CHROMIUM"], what="BROWSER")
    lines = Lines([*node_script("browser.mjs"), chromium, url])
    try:
        yield Page(lines)
    finally:
        # A browser takes its files with it.
        lines.end(DEADLINE)


def ws(service, path):
    return service.http.replace("http://", "ws://") + path


@contextlib.contextmanager
def another_site():
    """The URL of a page of another origin."""

    class Pages(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = b"<!DOCTYPE html><title>another site</title>"
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()


@pytest.fixture(scope="module")
def page(service):
    """On the service's own origin."""
    with browsing(service.http + "/health") as page:
        assert page.origin == service.http
        yield page


def test_text_and_bytes_arrive_and_compression_is_not_taken(service, page):
    page.connect("plain", ws(service, "/ws/browser-plain"))
    assert page.next("plain") == {"open": "", "extensions": ""}
    send(service, "browser-plain", "h\u00e9llo \U0001f642")
    post(service, "/v1/rooms/browser-plain/messages", data=base64.b64encode(bytes(range(256))).decode())
    send(service, "browser-plain", "x" * 900_000)
    post(service, "/v1/broadcast", message="to all")
    assert page.next("plain") == {"text": "h\u00e9llo \U0001f642"}
    assert page.next("plain") == {"bytes": list(range(256))}
    assert page.next("plain") == {"text": "x" * 900_000}
    assert page.next("plain") == {"text": "to all"}
    page.close("plain", 4000, "seen enough")
    assert page.next("plain") == {"close": 4000, "reason": "", "wasClean": True}


def test_numbers_requests_and_an_end_by_the_application(service, page):
    page.connect("numbered", ws(service, "/ws/browser-numbered"), "other.v1", "wsm.rooms.v1")
    assert page.next("numbered")["open"] == "wsm.rooms.v1"
    for nth, text in enumerate(["one", '{"two": 2}']):
        epoch, offset = send(service, "browser-numbered", text)
        data = text if nth == 0 else {"two": 2}
        assert page.json("numbered") == {"room": "browser-numbered", "epoch": epoch, "offset": offset, "data": data}
    page.say("numbered", '{"ping": 1}')
    assert page.json("numbered") == {"pong": 1}
    page.say("numbered", '{"join": "browser \u623f", "id": "j"}')
    assert page.json("numbered")["joined"] == "browser \u623f"
    send(service, "browser%20%E6%88%BF", "in the other room")
    assert page.json("numbered")["data"] == "in the other room"
    page.connect("back", ws(service, f"/ws/browser-numbered?epoch={epoch}&offset={offset - 1}"), "wsm.rooms.v1")
    assert page.next("back")["open"] == "wsm.rooms.v1"
    assert page.json("back")["recovered"] is True
    assert page.json("back")["data"] == {"two": 2}
    page.close("back")
    # No code of the page's: the service answers with one of its own.
    assert page.next("back")["wasClean"] is True
    status, _, body = service.request("/v1/rooms/browser-numbered/members")
    assert status == 200
    for member in json.loads(body)["members"]:
        service.request(f"/v1/connections/{member['id']}?code=4002&reason=enough", method="DELETE")
    assert page.next("numbered") == {"close": 4002, "reason": "enough", "wasClean": True}


def test_an_event_source_follows_a_room(service, page):
    send(service, "browser-events", "before")
    page.follow("events", "/v1/rooms/browser-events/events?fromStart=true")
    assert page.next("events") == {"open": 1}
    send(service, "browser-events", "after")
    first, second = page.next("events"), page.next("events")
    assert [(event["type"], event["data"]["text"]) for event in (first, second)] == [
        ("message", "before"),
        ("message", "after"),
    ]
    assert first["id"] and first["id"] != second["id"]
    page.close("events")


def test_a_page_shows_a_token_as_a_subprotocol(tmp_path):
    # Scripts of pages can set no other header.
    with serving(tmp_path, *asking_for_tokens(tmp_path)) as service, browsing(service.http + "/health") as page:
        for name, subprotocols in [("nobody", ["wsm.rooms.v1"]), ("liar", ["wsm.rooms.v1", "bearer.a.b.c"])]:
            page.connect(name, ws(service, "/ws/news"), *subprotocols)
            assert page.next(name)["close"] == 1006
        credentials = f"bearer.{token(sub='ada', rooms=['news'])}"
        page.connect("ada", ws(service, "/ws/news"), "wsm.rooms.v1", credentials)
        assert page.next("ada")["open"] == "wsm.rooms.v1"
        post(service, "/v1/users/ada/messages", message="just you")
        assert page.json("ada") == {"user": "ada", "data": "just you"}
        page.close("ada")
        assert page.next("ada")["wasClean"] is True


def test_pages_of_other_sites_stay_outside_unless_let_in(service, tmp_path):
    with another_site() as site, browsing(site) as page:
        assert page.origin + "/" == site
        page.connect("refused", ws(service, "/ws/browser-foreign"))
        ended = page.next("refused")
        assert (ended["close"], ended["wasClean"]) == (1006, False)
        for nth, origin in enumerate(["*", page.origin]):
            (tmp_path / str(nth)).mkdir()
            with serving(tmp_path / str(nth), "--ws-origin", origin) as open_to_it:
                page.connect("let in", ws(open_to_it, "/ws/a"))
                assert page.next("let in")["open"] == ""
                send(open_to_it, "a", "welcome")
                assert page.next("let in") == {"text": "welcome"}
            assert page.next("let in")["close"] == 1012


def test_a_page_outlives_a_restart_and_is_told_what_it_cannot_get(tmp_path):
    port = free_port()
    with contextlib.ExitStack() as stack:
        with serving(tmp_path, http_port=port) as service:
            page = stack.enter_context(browsing(service.http + "/swagger"))
            page.connect("first", ws(service, "/ws/a"), "wsm.rooms.v1")
            assert page.next("first")["open"] == "wsm.rooms.v1"
            page.follow("events", "/v1/rooms/a/events")
            assert page.next("events") == {"open": 1}
            epoch, offset = send(service, "a", "before the restart")
            assert page.json("first")["data"] == "before the restart"
            assert page.next("events")["data"]["text"] == "before the restart"
        ended = page.next("first")
        assert (ended["close"], ended["wasClean"]) == (1012, True)
        assert "error" in page.next("events")
        with serving(tmp_path, http_port=port) as service:
            page.connect("second", ws(service, f"/ws/a?epoch={epoch}&offset={offset}"), "wsm.rooms.v1")
            assert page.next("second")["open"] == "wsm.rooms.v1"
            told = page.json("second")
            assert (told["recovered"], told["room"]) == (False, "a") and told["epoch"] > epoch, told
            # The browser comes back to its events by itself, with the last place it saw.
            event = page.next("events")
            while "type" not in event:
                event = page.next("events")
            gap = event["data"]["gap"]
            assert (event["type"], gap["cause"]) == ("gap", "new_epoch")
            assert (int(gap["fromEpoch"]), int(gap["fromSeq"]), int(gap["toEpoch"])) == (epoch, offset, told["epoch"])
            again = send(service, "a", "after the restart")
            frame = page.json("second")
            assert ((frame["epoch"], frame["offset"]), frame["data"]) == (again, "after the restart")
            assert page.next("events")["data"]["text"] == "after the restart"
            page.close("events")

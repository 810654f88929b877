"""The live view of loadtest/watch: its numbers are those of /metrics, and the terminal is given back."""

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading

import pytest

from clients import metrics
from conftest import DEADLINE, ROOT, kill, serving
from loadtools import environment, loadtest, run
from parts import free_port, get, wait_for

SENDS = 30
PATIENCE = 20
PICTURE_BEGINS, PICTURE_ENDS = "\x1b[?2026h\x1b[H", "\x1b[?2026l"
PAGE_OPENS, PAGE_CLOSES = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


def admin(service):
    return service.admin.removeprefix("http://")


def send(service, connection, nth):
    body = {"message": json.dumps({"id": f"watched-{nth}"})}
    status, _, answer = service.request(f"/v1/connections/{connection}/send", body)
    assert status == 200, answer


def row(text, name):
    """The cells of a line, at least two spaces apart, that begins so."""
    for line in text.splitlines():
        cells = re.split(r"\s{2,}", line.strip())
        if cells[0] == name:
            return cells[1:]
    raise AssertionError(f"no row {name} in:\n{text}")


def number(cell):
    return float(cell.replace(",", ""))


def samples(service, name):
    """The labels and the value of each sample."""
    lines = get(service.admin + "/metrics")[1].decode().splitlines()
    series = (line.rsplit(" ", 1) for line in lines if line.startswith(name + "{"))
    return [(dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(value)) for labels, value in series]


def total(service, name, **labels):
    return sum(value for its, value in samples(service, name) if labels.items() <= its.items())


def quantile(service, name, share):
    """As Prometheus tells it, over all shards and since the start."""
    buckets = {}
    for labels, value in samples(service, name + "_bucket"):
        bound = float(labels["le"])
        buckets[bound] = buckets.get(bound, 0.0) + value
    floor = under = 0.0
    for bound, below in sorted(buckets.items()):
        if below >= share * buckets[float("inf")]:
            return floor + (bound - floor) * (share * buckets[float("inf")] - under) / (below - under)
        floor, under = bound, below
    raise AssertionError("the last bucket holds everything")


def test_one_table_says_what_the_metrics_say(service, connection):
    for nth in range(SENDS):
        send(service, connection, nth)
    shown = run("watch", "--admin", admin(service), "--every", "100ms", "--once")
    assert shown.returncode == 0, shown.stderr
    text = shown.stdout
    assert "\x1b" not in text
    sends = total(service, "wsm_sends_accepted_total")
    assert sends >= SENDS and number(row(text, "sends")[-1]) == sends
    for name, metric, labels in [
        ("messages in", "wsm_messages_total", {"direction": "in"}),
        ("messages out", "wsm_messages_total", {"direction": "out"}),
        ("replies", "wsm_sends_ended_total", {"outcome": "replied"}),
        ("dials", "wsm_dials_total", {}),
        ("connected", "wsm_connections", {"status": "connected"}),
        ("sends in flight", "wsm_sends_in_flight", {}),
    ]:
        assert number(row(text, name)[-1]) == total(service, metric, **labels), name
    for shard in ("0", "1"):
        assert number(row(text, f"shard {shard}")[3]) == total(service, "wsm_connections", shard=shard)
    value, unit = row(text, "send")[-1].split(" ")
    assert float(value) * UNITS[unit] == pytest.approx(quantile(service, "wsm_send_seconds", 0.99), rel=0.01)


def test_every_metric_that_is_shown_is_there(service):
    """A metric that got another name would just be missing from the view, and count as 0 in the books."""
    lines = get(service.admin + "/metrics")[1].decode().splitlines()
    there = {line.split()[2] for line in lines if line.startswith("# TYPE ")}
    sources = [path for path in (ROOT / "loadtest/src").rglob("*.rs") if path.name != "tests.rs"]
    sources.append(ROOT / "loadtest/ghz/thresholds.json")
    # What stands behind this is made up for a test.
    texts = [source.read_text().partition("#[cfg(test)]\nmod tests {")[0] for source in sources]
    named = {name for text in texts for name in re.findall(r'"(wsm_[a-z_]+[a-z])"', text)}
    shown = {re.sub("_(bucket|count|sum)$", "", name) for name in named}
    assert len(shown) > 40 and shown <= there, shown - there


def test_rates_are_those_of_the_time_between_two_looks(service, connection):
    over = threading.Event()
    failed = []

    def load():
        try:
            nth = SENDS
            while not over.is_set():
                send(service, connection, nth)
                nth += 1
        except Exception as error:
            failed.append(error)

    before = total(service, "wsm_sends_accepted_total")
    sender = threading.Thread(target=load, daemon=True)
    sender.start()
    try:
        text = run("watch", "--admin", admin(service), "--every", "500ms", "--once").stdout
    finally:
        over.set()
        sender.join(DEADLINE)
    assert not failed and not sender.is_alive()
    rate, until = map(number, row(text, "sends"))
    after = total(service, "wsm_sends_accepted_total")
    assert before < until <= after
    # It counted from before the first look to the second one, half a second later at the earliest.
    assert 0 < rate * 0.5 <= until - before
    assert number(row(text, "send")[0]) == pytest.approx(rate, rel=0.05, abs=2)
    by_shard = sum(number(row(text, f"shard {shard}")[-1]) for shard in ("0", "1"))
    assert by_shard == pytest.approx(number(row(text, "messages out")[0]), rel=0.05, abs=2)


def test_what_cannot_be_is_said():
    for words, said in [
        (["--admin", "5003"], "--admin"),
        (["--every", "soon"], "--every"),
        (["--colour"], "--colour"),
        ([], "--once"),
    ]:
        refused = run("watch", *words)
        assert refused.returncode == 64 and said in refused.stderr, refused
    nobody = f"127.0.0.1:{free_port()}"
    missing = run("watch", "--once", "--admin", nobody)
    assert missing.returncode == 69 and nobody in missing.stderr and "--admin" in missing.stderr, missing


class Terminal:
    """A pseudo terminal with a program in it."""

    def __init__(self, command, width, height):
        self.master, slave = pty.openpty()
        self.resize(width, height)
        self.text = ""
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment(TERM="xterm-256color"),
            # Its controlling terminal: Ctrl-C is a key.
            preexec_fn=lambda: os.login_tty(slave),
        )
        os.close(slave)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        # A terminal whose other side is closed is an error to read from.
        with contextlib.suppress(OSError):
            while piece := os.read(self.master, 65536):
                self.text += piece.decode()

    def resize(self, width, height):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def key(self, key):
        os.write(self.master, key)

    def picture(self):
        """The last whole one, without its colours; empty before the first."""
        text = self.text
        stop = text.rfind(PICTURE_ENDS)
        start = text.rfind(PICTURE_BEGINS, 0, max(stop, 0))
        if start < 0:
            return ""
        return re.sub(r"\x1b\[[0-9;]*[mKJ]", "", text[start + len(PICTURE_BEGINS) : stop]).replace("\r", "")

    def shows(self, what, condition):
        def seen():
            picture = self.picture()
            return picture if picture and condition(picture) else None

        return wait_for(what, seen, self.process)

    def close(self):
        kill(self.process)
        os.close(self.master)


@contextlib.contextmanager
def watching(*addresses, width=100, height=60):
    command = [loadtest(), "watch", "--every", "100ms"]
    for address in addresses:
        command += ["--admin", address]
    terminal = Terminal(command, width, height)
    try:
        yield terminal
    finally:
        terminal.close()


def count_of(text, name):
    with contextlib.suppress(AssertionError):
        return number(row(text, name)[-1])
    return None


def test_the_view_lives_fits_its_window_and_gives_the_terminal_back(service, connection):
    with watching(admin(service)) as terminal:
        for round in range(2):
            for nth in range(SENDS):
                send(service, connection, nth)
            sends = metrics(service)["wsm_sends_accepted_total"]
            terminal.shows(f"the Sends of round {round}", lambda text: count_of(text, "sends") == sends)
        terminal.resize(40, 8)
        small = terminal.shows("a small picture", lambda text: len(text.splitlines()) == 8)
        assert "more lines" in small.splitlines()[-1]
        assert max(map(len, small.splitlines())) <= 40
        terminal.resize(200, 50)
        wide = terminal.shows("two columns", lambda text: re.search(r"flow .*in all .*dropped", text))
        assert len(wide.splitlines()) <= 50 and "more lines" not in wide
        assert terminal.text.startswith(PAGE_OPENS)
        terminal.key(b"\x03")
        assert terminal.process.wait(PATIENCE) == 0
        wait_for("the terminal to be put back", lambda: terminal.text.endswith(PAGE_CLOSES))


def test_a_service_that_is_away_is_asked_again(tmp_path, service):
    port = free_port()
    address = f"127.0.0.1:{port}"
    with watching(address, admin(service), width=140) as terminal:
        terminal.shows("nobody there", lambda text: f"{address}  not there" in text)
        # The other one is shown meanwhile.
        assert f"{admin(service)}  ready" in terminal.picture()
        with serving(tmp_path, admin_port=port):
            text = terminal.shows("the service", lambda text: f"{address}  ready" in text)
            assert "not there" not in text
            terminal.shows("a column each", lambda text: re.search(rf"flow +{address} +{admin(service)}", text))
        terminal.shows("nobody there again", lambda text: f"{address}  not there" in text)
        # Whatever ends it, the terminal is put back.
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.process.wait(PATIENCE) == 0
        wait_for("the terminal to be put back", lambda: terminal.text.endswith(PAGE_CLOSES))

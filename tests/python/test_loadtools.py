"""k6 and ghz, which know nothing of us, against the real service: every call is counted, and a threshold fails a run."""

import json
import pathlib
import signal
import socket
import subprocess

import pytest

from conftest import ROOT, kill
from loadtools import PATIENCE, environment, loadtest, run
from parts import installed, wait_for

SECONDS = 1
# Little is asked for, and time is no reason to fail, for slow machines run these tests as well.
SLOW = ["--seconds", SECONDS, "P99_MS=60000"]
NEVER = "P99_MS=0.0001"


def start(name, folder, *words):
    """A run of one of the tools, which must be there."""
    needs(name)
    return run(name, "--json", "--out", folder, *words)


def needs(name):
    tool = name.split("-")[0]
    installed(tool, [f"WSM_{tool.upper()}"], [ROOT / ".cache/bin" / tool], what="LOADTOOLS")


def told(text):
    [outcome] = json.loads(text)["scenarios"]
    return outcome


def table(outcome, title):
    return next(table["rows"] for table in outcome["tables"] if table["title"] == title)


def passes(folder, name, *words):
    """What a run told that was well, to the end of all that it started."""
    ran = start(name, folder, *SLOW, *words)
    assert ran.returncode == 0, ran.stderr + ran.stdout
    outcome = told(ran.stdout)
    assert outcome["failures"] == [] and not outcome["partial"]
    assert all(book["balance"] for book in outcome["books"]), outcome["books"]
    thresholds = table(outcome, "thresholds")
    assert len(thresholds) >= 3 and all(row[-1] == "yes" for row in thresholds), thresholds
    nobody_is_left(outcome["facts"])
    return outcome


def nobody_is_left(facts):
    listened = [value for name, value in facts.items() if name in ("service", "upstream", "WSM_GRPC")]
    assert listened
    for address in listened:
        host, port = address.split(":")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)))


def accepted(outcome, book):
    return next(it["left"] for it in outcome["books"] if it["name"] == book)


def counted_by_k6(outcome):
    return {name: float(count) for name, count in table(outcome, "counted by k6")}


@pytest.mark.parametrize(("script", "checks"), [("send", 2), ("connect", 3), ("list", 2), ("rooms-send", 2)])
def test_k6_calls_on_a_schedule(tmp_path, script, checks):
    rate = 40
    outcome = passes(tmp_path, f"k6-{script}", "--rate", rate)
    counted = counted_by_k6(outcome)
    assert counted["iterations"] + counted["dropped_iterations"] >= rate * SECONDS
    assert counted["checks passed"] == checks * counted["iterations"] and counted["checks failed"] == 0
    # The service counted the same calls.
    assert accepted(outcome, "Sends") == (counted["iterations"] if script == "send" else 0)


def test_k6_sends_on_streams(tmp_path):
    outcome = passes(tmp_path, "k6-send-stream", "--rate", 200, "--connections", 10, "STREAMS=2")
    counted = counted_by_k6(outcome)
    assert counted["stream_sends"] == counted["stream_replies"] == 200 * SECONDS == accepted(outcome, "Sends")


@pytest.mark.parametrize("way", ["grpc", "rest"])
def test_k6_members_of_a_room_see_every_number_once(tmp_path, way):
    members, rate = 60, 20
    outcome = passes(tmp_path, "k6-rooms", "--connections", members, "--rate", rate, f"POST={way}")
    counted = counted_by_k6(outcome)
    posts = rate * SECONDS
    assert counted["room_posts"] == posts and counted["room_deliveries"] == members * posts
    assert counted["room_holes"] == 0 and counted["ws_sessions"] == members
    # The last one tells that it is the last.
    assert accepted(outcome, "deliveries of rooms") == members * (posts + 1)


@pytest.mark.parametrize(
    ("config", "rate", "each"),
    [("send", 100, 1), ("connect", 20, 1), ("disconnect", 20, 1), ("list", 50, None), ("send-stream", 5, 100)]
    + [("rooms-send", 100, 1)],
)
def test_ghz_makes_every_call(tmp_path, config, rate, each):
    outcome = passes(tmp_path, f"ghz-{config}", "--rate", rate, "RATE_SHARE=0.01")
    calls = rate * SECONDS
    assert table(outcome, "calls by ghz") == [["OK", str(calls)]]
    assert each is None or outcome["facts"]["counted by the service"] == str(calls * each)
    sends = {"send": calls, "send-stream": calls * 100}
    assert accepted(outcome, "Sends") == sends.get(config, 0)


@pytest.mark.parametrize("name", ["k6-send", "k6-rooms", "ghz-send"])
def test_a_threshold_that_cannot_hold_fails_the_run(tmp_path, name):
    ran = start(name, tmp_path, "--seconds", 1, NEVER)
    assert ran.returncode == 1, ran.stderr
    outcome = told(ran.stdout)
    crossed = [wanted for _, wanted, _, held in table(outcome, "thresholds") if held == "NO"]
    assert any("0.0001" in wanted for wanted in crossed), crossed
    assert any("0.0001" in failure for failure in outcome["failures"])
    nobody_is_left(outcome["facts"])


@pytest.mark.parametrize("name", ["k6-send", "ghz-send", "ghz-connect"])
def test_a_service_that_runs_is_used_and_left_as_it_was(tmp_path, service, name):
    def connections():
        return json.loads(service.request("/v1/connections")[2]).get("total", "0")

    before = connections()
    addresses = [service.grpc, *(address.removeprefix("http://") for address in (service.http, service.admin))]
    rate = ["--rate", 10] + (["RATE_SHARE=0.01"] if name.startswith("ghz") else [])
    ran = start(name, tmp_path, "--address", ",".join(addresses), *SLOW, "--seconds", 1, *rate)
    assert ran.returncode == 0, ran.stderr + ran.stdout
    assert service.grpc in told(ran.stdout)["facts"].values()
    assert connections() == before


def test_calls_that_fail_fail_the_run(tmp_path):
    # A service that may not dial this machine.
    strict = tmp_path / "strict"
    strict.write_text(f'#!/bin/sh\nexec "{environment()["WSM_BIN"]}" "$@" --egress-deny 127.0.0.0/8\n')
    strict.chmod(0o755)
    for name, said in [("k6-connect", "checks rate==1"), ("ghz-connect", "calls that are OK")]:
        ran = start(name, tmp_path, "--service", strict, *SLOW, "--seconds", 1, "--rate", 5)
        assert ran.returncode == 1, ran.stderr
        assert any(said in failure for failure in told(ran.stdout)["failures"]), ran.stdout


def test_what_cannot_be_is_said(tmp_path):
    for words, said in [
        (["k6-send", "P99=5"], "P99_MS"),
        (["k6-connect", "--connections", 5], "--connections"),
        (["ghz-send", "--bytes", 64], "--bytes"),
        (["ghz-send", "P99_MS=fast"], "P99_MS"),
        (["k6-sent"], "k6-send"),
    ]:
        refused = run(*words)
        assert refused.returncode == 64 and said in refused.stderr, refused
    for name, variable in [("k6-send", "WSM_K6"), ("ghz-send", "WSM_GHZ")]:
        missing = run(name, **{variable: str(tmp_path / "nothing")})
        assert missing.returncode == 69 and variable in missing.stderr, missing
    listed = run("--list").stdout
    files = [f"k6-{path.stem}" for path in (ROOT / "loadtest/k6").glob("*.js") if path.stem != "wsm"]
    files += [f"ghz-{path.stem}" for path in (ROOT / "loadtest/ghz").glob("*.json") if path.stem != "thresholds"]
    assert len(files) == 12 and all(f"\n{name} " in listed for name in files), listed


def children(process):
    place = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return place.read_text().split() if place.exists() else []


@pytest.mark.parametrize("name", ["k6-send", "ghz-send"])
def test_ctrl_c_ends_everything_and_tells_what_there_is(tmp_path, name):
    needs(name)
    process = subprocess.Popen(
        [loadtest(), name, "--seconds", "600", "--out", str(tmp_path)],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        # The service, the upstream and the tool.
        wait_for("all to be started", lambda: len(children(process)) == 3, process)
        started = children(process)
        process.send_signal(signal.SIGINT)
        out, complaints = process.communicate(timeout=PATIENCE)
    finally:
        kill(process)
    assert process.returncode == 130, complaints
    assert f"== {name}" in out, complaints
    assert not [pid for pid in started if pathlib.Path(f"/proc/{pid}").exists()]

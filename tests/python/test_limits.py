"""A test that hangs fails, with its stack, and keeps nobody waiting: tried on tests that do."""

import os
import subprocess
import sys

from conftest import DEADLINE, ROOT

KEEPS = """
import limits

limits.GRACE = 1.0


def pytest_configure(config):
    limits.keep(config)
"""
HANGS = """
import threading

import pytest


@pytest.fixture
def opened(tmp_path_factory):
    yield
    print("ended what it opened")


def wait_in_vain():
    threading.Event().wait()


def test_that_hangs(opened):
    wait_in_vain()


@pytest.fixture
def hanging():
    yield
    wait_in_vain()


def test_that_fails_and_whose_fixture_hangs(opened, hanging):
    assert not "this time"


def test_that_is_next():
    pass
"""
TAKES_NO_SIGNALS = """
import signal
import threading


def test_that_hangs():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    threading.Event().wait()


def test_that_never_comes():
    pass
"""


def run(folder, tests):
    (folder / "conftest.py").write_text(KEEPS)
    (folder / "test_it.py").write_text(tests)
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pytest.ini"), "--rootdir", str(folder), "-rA", "--tb=short"]
    command += ["-o", f"cache_dir={folder}", "--timeout", "1", str(folder / "test_it.py")]
    path = os.pathsep.join([str(ROOT / "tests/python"), os.environ.get("PYTHONPATH", "")])
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=2 * DEADLINE)


def test_it_fails_and_the_next_goes_on(tmp_path):
    ran = run(tmp_path, HANGS)
    assert ran.returncode == 1 and "2 failed, 1 passed, 1 error" in ran.stdout, ran.stdout
    assert ran.stdout.count("Timeout (>1.0s)") >= 2 and ran.stdout.count("in wait_in_vain") == 2, ran.stdout
    assert ran.stdout.count("ended what it opened") == 2, ran.stdout


def test_what_takes_no_signals_is_ended_with_the_process(tmp_path):
    ran = run(tmp_path, TAKES_NO_SIGNALS)
    assert ran.returncode == 1 and "passed" not in ran.stdout, ran.stdout
    assert "Timeout (0:00:02)!" in ran.stderr and "in test_that_hangs" in ran.stderr, ran.stderr

"""The load kit's program, as the tests start it."""

import os
import subprocess

import pytest

from conftest import BINARY, ROOT
from parts import required

PLACES = [ROOT / "target" / kind / "loadtest" for kind in ("debug", "release")]
# Long enough for the slowest machine; a run that hangs is ended.
PATIENCE = 120


def loadtest():
    """The program: WSM_LOADTEST, or what was built last."""
    place = os.environ.get("WSM_LOADTEST")
    built = sorted((path for path in PLACES if path.is_file()), key=lambda path: path.stat().st_mtime)
    if not place and not built:
        assert not required("LOADTEST"), "loadtest is not built: cargo build -p loadtest"
        pytest.skip("loadtest is not built: cargo build -p loadtest")
    return place or str(built[-1])


def environment(**more):
    # The tools keep files of their own in a home, and find themselves by the path.
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", ""), "WSM_BIN": BINARY, **more}


def run(*words, **more):
    return subprocess.run(
        [loadtest(), *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
    )

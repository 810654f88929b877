"""What the pure core's hot functions take, in instructions: none of them may grow unseen."""

import importlib.util
import subprocess
import sys

import pytest

from conftest import ROOT
from parts import required

COUNT = ROOT / "benches/instructions/count.py"
LOADED = importlib.util.spec_from_file_location("count", COUNT)
count = importlib.util.module_from_spec(LOADED)
LOADED.loader.exec_module(count)
# It compiles a binary of its own, and valgrind takes its time.
PATIENCE = count.BUILD_PATIENCE + count.COUNT_PATIENCE + count.GLANCE


@pytest.mark.timeout(PATIENCE + 60)
def test_no_hot_function_takes_more_than_is_recorded():
    ran = subprocess.run([sys.executable, str(COUNT)], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    if ran.returncode == count.EXIT_SKIPPED and not required("VALGRIND"):
        pytest.skip(ran.stdout.strip())
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_what_grew_is_named_with_what_it_was():
    before = {"a": (1000.0, 1.0), "b": (1000.0, 0.0), "gone": (1.0, 0.0)}
    after = {"a": (1049.0, 1.0), "b": (1051.0, 1.0), "new": (1.0, 0.0)}
    assert count.compare(before, after, count.GROWTH_MAX) == [
        "b: 0 allocations before, 1 now (from none, at most 5 %)",
        "b: 1000 instructions before, 1051 now (+5.1 %, at most 5 %)",
        "gone: not counted any more",
        "new: not recorded yet",
    ]
    assert count.compare({"b": before["b"]}, {"b": (1099.0, 0.0)}, count.OTHER_COMPILER_GROWTH_MAX) == []
    assert count.compare(before, before, count.GROWTH_MAX) == []
    # Ten instructions are nobody's fault.
    assert count.compare({"short": (100.0, 0.0)}, {"short": (110.0, 0.01)}, count.GROWTH_MAX) == []


def test_what_is_written_can_be_read():
    counted = {"one of many": (12.5, 2.0), "another": (100_000.0, 0.25)}
    assert count.read(count.written("rustc 1.2.3", counted)) == ("rustc 1.2.3", counted)


def test_only_what_the_binary_itself_executes_is_counted():
    part = """fn=(1) main
ob=(2) /target/instructions
fn=(2) instructions::measured
10 7
+1 5
cob=(3) /lib/libc.so.6
cfn=(4) malloc'2
calls=3 0
+2 900
* 1
ob=(3)
fn=(4)
50 800
"""
    assert count.totals(part, {}, "instructions") == (13, 3)
    # A later part calls them by number alone.
    names = {("ob", "2"): "/target/instructions", ("fn", "2"): "x"}
    assert count.totals("ob=(2)\nfn=(2)\n10 7\n", names, "instructions") == (7, 0)

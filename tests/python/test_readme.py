"""The README's shell blocks, run in order against the demo as a reader would, end without an error."""

import os
import re
import subprocess

import pytest

from conftest import BINARY, ROOT, end, first_line

BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def demo(tmp_path):
    ports = [word for port in ("http", "grpc", "admin") for word in (f"--{port}-port", "0")]
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(
            [BINARY, "demo", *ports, "--data-dir", str(tmp_path / "data")],
            stdout=subprocess.PIPE,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"]},
            text=True,
        )
    try:
        line = first_line(process)
        if not line or not line.startswith("ready "):
            pytest.fail(f"no ready line but {line!r}:\n{(tmp_path / 'log').read_text()}")
        # The demo's connections stand when it prints its commands.
        text = ""
        while "tail" not in text:
            text = first_line(process)
            assert text is not None, "the demo prints its commands"
        yield dict(word.split("=", 1) for word in line.split()[1:])
        assert end(process) == 0
    finally:
        process.kill()
        process.wait()


def test_every_block_runs(demo):
    blocks = BLOCK.findall((ROOT / "README.md").read_text())
    assert len(blocks) > 10, "the README has its how-tos"
    script = "\n".join(blocks).replace("http://127.0.0.1:5001", "http://" + demo["http"])
    # An error of the service must fail the block: curl says it by its exit code.
    # What is followed for two seconds has as much to show after one.
    script = "set -eu\ntimeout() { shift; command timeout 1 \"$@\"; }\n" + script
    script = "curl() { command curl --fail-with-body \"$@\"; }\n" + script
    run = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    assert '"response":"hello"' in run.stdout
    assert "event: message" in run.stdout


def test_the_build_hands_the_service_no_variable_that_looks_like_a_setting():
    # `cargo run` gives the program what the build script set, and an unknown WSM_ variable is refused.
    text = (ROOT / "build.rs").read_text()
    names = re.findall(r"rustc-env=(\w+)", text)
    assert names and not [name for name in names if name.startswith("WSM_")]

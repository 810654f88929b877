"""The README's shell blocks, run in order against the demo as a reader would, end without an error. And the demo itself
starts as its first command starts it."""

import contextlib
import os
import re
import signal
import subprocess
import tomllib

import pytest

from conftest import BINARY, DEADLINE, ROOT, end, first_line, kill
from parts import installed

BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# A program that says what cargo hands it; a package without dependencies is built in a second.
SAYS = """
fn main() {
    for (name, value) in std::env::vars() {
        print!("{name}={value}\\0");
    }
}
"""


@contextlib.contextmanager
def demo_of(folder, *flags, environment=None):
    """The demo's process and what its ready line says, in a folder of its own."""
    ports = [word for port in ("http", "grpc", "admin") for word in (f"--{port}-port", "0")]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            [BINARY, "demo", *ports, *flags],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env=environment or {"PATH": os.environ["PATH"]},
            text=True,
        )
    with process.stdout:
        try:
            line = first_line(process)
            assert line and line.startswith("ready "), f"no ready line but {line!r}:\n{(folder / 'log').read_text()}"
            yield process, dict(word.split("=", 1) for word in line.split()[1:])
        finally:
            kill(process)


@pytest.fixture
def demo(tmp_path):
    with demo_of(tmp_path, "--data-dir", str(tmp_path / "data")) as (process, ready):
        # The demo's connections stand when it prints its commands.
        assert first_line(process, "tail"), (tmp_path / "log").read_text()
        yield ready
        assert end(process) == 0, (tmp_path / "log").read_text()


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


def set_by_the_build():
    """Names of the variables that the build script sets for the compiler."""
    return re.findall(r"rustc-env=(\w+)", (ROOT / "build.rs").read_text())


def handed_by_cargo(folder):
    """The environment that `cargo run` gives the service, from a package that has its name, version and variables."""
    package = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]
    told = {name: package[name] for name in ("name", "version", "edition", "description", "license") if name in package}
    lines = [f"{name} = {str(value)!r}" for name, value in told.items()]
    (folder / "src").mkdir(parents=True)
    (folder / "Cargo.toml").write_text("\n".join(["[package]", *lines, "[workspace]", ""]))
    (folder / "src/main.rs").write_text(SAYS)
    script = "".join(f'println!("cargo::rustc-env={name}=value");' for name in set_by_the_build())
    (folder / "build.rs").write_text(f"fn main() {{ {script} }}\n")
    # What cargo needs itself, and no settings of the tests.
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME")}
    toolchain = {name: value for name, value in os.environ.items() if name == "RUSTUP_TOOLCHAIN"}
    command = [installed("cargo", []), "run", "--quiet", "--offline"]
    ran = subprocess.run(command, cwd=folder, env=kept | toolchain, capture_output=True, text=True, timeout=3 * DEADLINE)
    assert ran.returncode == 0, ran.stderr
    return dict(pair.split("=", 1) for pair in ran.stdout.split("\0") if pair)


def test_the_first_command_starts_the_demo_and_ctrl_c_ends_it(tmp_path):
    environment = handed_by_cargo(tmp_path / "package")
    assert environment["CARGO_PKG_NAME"] == "websocket-manager" and {"CARGO", "CARGO_MANIFEST_DIR"} <= set(environment)
    assert set_by_the_build() and set(set_by_the_build()) <= set(environment)
    with demo_of(tmp_path, environment=environment) as (process, _):
        assert first_line(process, "tail"), (tmp_path / "log").read_text()
        assert (tmp_path / "data/demo").is_dir()
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) == 0, (tmp_path / "log").read_text()


def test_a_variable_of_the_build_that_looks_like_a_setting_would_be_refused(tmp_path):
    """What the test before is there to see."""
    environment = {"PATH": os.environ["PATH"], "WSM_RUSTC": "1.2.3"}
    with pytest.raises(AssertionError, match="WSM_RUSTC"), demo_of(tmp_path, environment=environment):
        pass

"""A load by ghz, which finds the call by reflection and knows nothing of us, ends without an error."""

import json
import os
import pathlib
import shutil
import subprocess

import pytest

from conftest import ROOT

GHZ = shutil.which("ghz") or str(ROOT / ".cache/bin/ghz")
CALLS = 2000


@pytest.mark.skipif(not pathlib.Path(GHZ).exists(), reason="ghz is not installed")
def test_unary_sends_under_load(service, upstream):
    status, _, body = service.request("/v1/connections", {"url": upstream, "connectionId": "ghz"})
    assert status == 200, body
    data = {"id": "ghz", "message": '{"id": "{{.UUID}}"}', "timeout_ms": 10000}
    command = [
        *(GHZ, "--insecure", "--call", "virtufin.WebSocketManager/Send", "--format", "json"),
        *("--total", str(CALLS), "--concurrency", "20", "--data", json.dumps(data), service.grpc),
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, env={"PATH": os.environ["PATH"]})
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    assert report["count"] == CALLS
    assert report["statusCodeDistribution"] == {"OK": CALLS}, report.get("errorDistribution")

"""The files of dashboards/, as the tests look at them."""

import importlib.util
import json
import re
import subprocess

import yaml

import parts
from conftest import ROOT

FOLDER = ROOT / "dashboards"
RULES, ALERTS = FOLDER / "prometheus/rules.yml", FOLDER / "prometheus/alerts.yml"
TESTS = sorted((FOLDER / "prometheus/tests").glob("*.yml"))
SUFFIXES = re.compile(r"_(bucket|sum|count)$")


def build():
    spec = importlib.util.spec_from_file_location("dashboards_build", FOLDER / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BUILD = build()
DASHBOARDS = {dashboard.uid: dashboard for dashboard in BUILD.DASHBOARDS}
JSONS = {path.stem: json.loads(path.read_text()) for path in sorted((FOLDER / "grafana").glob("*.json"))}


def rules_of(path):
    return [rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def promtool(*arguments, text=None):
    binary = parts.installed("promtool", ["WSM_PROMTOOL"], what="PROMETHEUS")
    made = subprocess.run(
        [binary, *map(str, arguments)], input=text, capture_output=True, text=True, cwd=FOLDER, timeout=60
    )
    assert made.returncode == 0, made.stdout + made.stderr
    return made.stdout + made.stderr


def none_of(complaints):
    assert not complaints, "\n".join(map(str, complaints))


def names_in(expression):
    """Metrics of ours, recorded ones included; what stands in quotes is no name."""
    bare = re.sub(r'"[^"]*"', '""', expression)
    return set(re.findall(r"\b(?:wsm_\w+|(?:instance|shard):\w+:\w+)\b", bare))

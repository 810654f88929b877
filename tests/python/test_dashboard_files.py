"""The files of dashboards/ are what they should be: generated, good by the linter's rules, tested, and they fit together."""

import json
import re
import shutil
import subprocess
import sys

import pytest
import yaml

import dashboard_rules
from conftest import BINARY, ROOT
from dashboard_files import (
    ALERTS,
    BUILD,
    DASHBOARDS,
    FOLDER,
    JSONS,
    RULES,
    TESTS,
    names_in,
    none_of,
    promtool,
    rules_of,
)
from dashboard_rules import SELECTOR


def test_the_json_is_what_the_source_makes():
    """Byte for byte, and nothing else lies there."""
    assert BUILD.outdated() == [], "run python3 dashboards/build.py"
    again = subprocess.run(
        [sys.executable, FOLDER / "build.py", "--check"], capture_output=True, text=True, timeout=60
    )
    assert (again.returncode, again.stdout) == (0, ""), again.stderr


def test_uids_are_unique_and_every_dashboard_is_in_the_readme():
    uids = [made["uid"] for made in JSONS.values()]
    assert sorted(uids) == sorted(JSONS) and len(uids) == len(set(uids)) == len(BUILD.DASHBOARDS)
    readme = (FOLDER / "README.md").read_text()
    for uid, dashboard in DASHBOARDS.items():
        assert f"| [{dashboard.title}](grafana/{uid}.json) |" in readme


@pytest.mark.parametrize("uid", JSONS)
@pytest.mark.parametrize("rule", dashboard_rules.ALL, ids=lambda rule: rule.__name__)
def test_rules_of_good_dashboards(rule, uid):
    none_of(list(rule(JSONS[uid])))


BROKEN = {
    "template_datasource": lambda made, panel: made["templating"]["list"].pop(0),
    "template_job_and_instance": lambda made, panel: made["templating"]["list"][2].update(multi=False),
    "template_label_promql": lambda made, panel: made["templating"]["list"][1]["query"].update(query="job"),
    "template_on_time_change_reload": lambda made, panel: made["templating"]["list"][1].update(refresh=1),
    "panel_datasource": lambda made, panel: panel["datasource"].update(uid="prometheus"),
    "panel_title_description": lambda made, panel: panel.update(description=""),
    "panel_units": lambda made, panel: panel["fieldConfig"]["defaults"].update(unit="seconds"),
    "panel_targets": lambda made, panel: panel.update(targets=[]),
    "panel_says_why_it_is_empty": lambda made, panel: panel["fieldConfig"]["defaults"].update(noValue=""),
    "target_job_and_instance": lambda made, panel: panel["targets"][0].update(expr='wsm_ready{job=~"$job"}'),
    "target_rate_interval": lambda made, panel: panel["targets"][0].update(expr="rate(a_total{}[5m])"),
    "target_counter_agg": lambda made, panel: panel["targets"][0].update(expr="sum(a_total{})"),
    "target_quantiles_keep_le": lambda made, panel: panel["targets"][0].update(
        expr="histogram_quantile(0.9, sum(rate(a_bucket{}[1m])))"
    ),
    "target_legends": lambda made, panel: panel["targets"][0].update(expr="sum by (a) (b{})", legendFormat="{{c}}"),
    "uneditable_dashboard": lambda made, panel: made.update(editable=True),
    "dashboard_head": lambda made, panel: made.update(schemaVersion=16),
    "dashboard_links": lambda made, panel: made["links"][0].update(includeVars=False),
    "unique_ids_and_titles": lambda made, panel: panel.update(id=1),
    "grid_without_overlap": lambda made, panel: panel["gridPos"].update(y=0),
    "lines_of_one_height": lambda made, panel: panel["gridPos"].update(h=3),
}


@pytest.mark.parametrize("rule", dashboard_rules.ALL, ids=lambda rule: rule.__name__)
def test_a_rule_finds_what_breaks_it(rule):
    made = json.loads(json.dumps(JSONS["wsm-overview"]))
    BROKEN[rule.__name__](made, next(dashboard_rules.panels(made)))
    assert list(rule(made)) != []


# ---------------------------------------------------------------- rules, alerts, runbook


def test_promtool_finds_nothing_in_rules_and_configuration():
    for path in (RULES, ALERTS):
        assert "SUCCESS" in promtool("check", "rules", path)
    assert "SUCCESS" in promtool("check", "config", FOLDER / "prometheus/prometheus.yml")


def test_alerts_fire_when_they_should_and_only_then():
    assert promtool("test", "rules", *TESTS).count("SUCCESS") == len(TESTS)


def test_every_alert_has_its_tests():
    """One in which it alone fires, and in which it does not before; and its metrics in the world that is well."""
    firing = yaml.safe_load((FOLDER / "prometheus/tests/firing.yml").read_text())["tests"]
    alerts = {rule["alert"]: rule for rule in rules_of(ALERTS)}
    assert [test["name"] for test in firing] == list(alerts)
    for test in firing:
        quiet, loud = test["promql_expr_test"]
        assert quiet["exp_samples"] == [] and quiet["expr"] == 'count(ALERTS{alertstate="firing"})'
        [sample] = loud["exp_samples"]
        assert sample["labels"] == f'{{alertname="{test["name"]}"}}' and sample["value"] >= 1
    [healthy] = yaml.safe_load((FOLDER / "prometheus/tests/healthy.yml").read_text())["tests"]
    there = {SELECTOR.match(series["series"])[1] for series in healthy["input_series"]}
    recorded = {rule["record"]: names_in(rule["expr"]) for rule in rules_of(RULES)}
    for name, rule in alerts.items():
        used = set().union(*(recorded.get(metric, {metric}) for metric in names_in(rule["expr"])))
        used = set().union(*(recorded.get(metric, {metric}) for metric in used))
        assert used <= there, (name, used - there)


def test_every_alert_says_what_it_is_and_has_a_runbook_entry():
    text = (FOLDER / "RUNBOOK.md").read_text()
    entries = {part.split("\n", 1)[0]: part for part in text.split("\n### ")[1:]}
    alerts = {rule["alert"]: rule for rule in rules_of(ALERTS)}
    assert list(entries) == list(alerts), "one entry each, in the alerts' order"
    for name, rule in alerts.items():
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
        assert rule["annotations"]["runbook_url"] == f"dashboards/RUNBOOK.md#{name.lower()}"
        for part in ("Users", "First look", "Causes", "Do"):
            assert re.search(rf"^- \*\*{part}:\*\* \S", entries[name], re.M), (name, part)
    anchors = set(re.findall(r"\]\(#([a-z]+)\)", text))
    assert anchors <= {name.lower() for name in alerts}, anchors


def test_the_runbook_names_panels_that_exist():
    text = (FOLDER / "RUNBOOK.md").read_text()
    titles = {uid.removeprefix("wsm-"): {panel.title for panel in one.panels()} for uid, one in DASHBOARDS.items()}
    named = re.findall(r"\*([A-Z][a-z]+) /\s+([^*]+)\*", text)
    assert len(named) > 40
    for dashboard, panel in named:
        assert " ".join(panel.split()) in titles[dashboard.lower()], (dashboard, panel)


def test_every_recorded_rule_is_used():
    recorded = {rule["record"] for rule in rules_of(RULES)}
    used = set().union(*(names_in(rule["expr"]) for rule in rules_of(ALERTS) + rules_of(RULES)))
    assert recorded <= used, recorded - used


# ---------------------------------------------------------------- compose


def yaml_of(path):
    return yaml.safe_load((FOLDER / path).read_text())


def published(service):
    """Host address, host port, container port."""
    return [re.fullmatch(r"([\d.]+):(\d+):(\d+)", port).groups() for port in service["ports"]]


def test_the_compose_file_is_right(tmp_path):
    compose = yaml_of("compose.yml")
    services = compose["services"]
    assert set(services) == {"websocket-manager", "prometheus", "grafana"} and set(compose) == {
        "name",
        "services",
        "volumes",
    }
    known = {
        "image",
        "build",
        "command",
        "environment",
        "ports",
        "volumes",
        "ulimits",
        "depends_on",
        "restart",
        "stop_grace_period",
    }
    named, ports = set(), []
    for name, service in services.items():
        assert set(service) <= known, name
        assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", service["image"]), (
            "a version, so that it does not change under us"
        )
        assert set(service.get("depends_on", [])) <= set(services)
        for volume in service["volumes"]:
            source, target, *mode = volume.split(":")
            assert target.startswith("/") and mode in ([], ["ro"])
            if source.startswith("."):
                assert (FOLDER / source).exists() and mode == ["ro"], volume
            else:
                named.add(source)
        for address, outside, _ in published(service):
            assert address == "127.0.0.1"
            ports.append(outside)
    assert named == set(compose["volumes"]) and len(ports) == len(set(ports))
    docker = shutil.which("docker")
    if docker and subprocess.run([docker, "compose", "version"], capture_output=True, timeout=60).returncode == 0:
        made = subprocess.run(
            [docker, "compose", "-f", FOLDER / "compose.yml", "config", "-q"],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert made.returncode == 0, made.stderr


def test_the_service_of_the_compose_file_starts_as_it_says(tmp_path):
    service = yaml_of("compose.yml")["services"]["websocket-manager"]
    build = service["build"]
    assert (FOLDER / build["context"]).resolve() == ROOT and (ROOT / build["dockerfile"]).is_file()
    version = re.search(r'^version = "(.+)"', (ROOT / "Cargo.toml").read_text(), re.M)[1]
    assert service["image"] == f"websocket-manager:{version}"
    dockerfile = (ROOT / build["dockerfile"]).read_text()
    for _, outside, inside in published(service):
        assert outside == inside and inside in re.search(r"^EXPOSE (.*)$", dockerfile, re.M)[1].split()
    assert any(volume.endswith(":/data") for volume in service["volumes"]) and "VOLUME /data" in dockerfile
    command, *flags = service["command"]
    checked = subprocess.run(
        [BINARY, "check", "--data-dir", tmp_path, *flags],
        capture_output=True,
        text=True,
        env={"PATH": ""},
        timeout=60,
    )
    assert command == "serve" and checked.returncode == 0, checked.stderr


def test_prometheus_and_grafana_of_the_compose_file_find_one_another():
    services = yaml_of("compose.yml")["services"]
    mounts = dict(volume.split(":")[1::-1] for name in services for volume in services[name]["volumes"])
    [job] = yaml_of("prometheus/prometheus.yml")["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["websocket-manager:5003"]}]
    config = next(flag for flag in services["prometheus"]["command"] if flag.startswith("--config.file=")).split(
        "="
    )[1]
    assert mounts[config] == "./prometheus/prometheus.yml"
    for rules in yaml_of("prometheus/prometheus.yml")["rule_files"]:
        assert mounts[f"{config.rpartition('/')[0]}/{rules}"] == f"./prometheus/{rules}"
    [source] = yaml_of("provisioning/datasources/prometheus.yml")["datasources"]
    [(_, _, port)] = published(services["prometheus"])
    assert source["type"] == "prometheus" and source["url"] == f"http://prometheus:{port}" and source["isDefault"]
    assert source["jsonData"]["timeInterval"] == yaml_of("prometheus/prometheus.yml")["global"]["scrape_interval"]
    assert mounts["/etc/grafana/provisioning"] == "./provisioning"
    [provider] = yaml_of("provisioning/dashboards/websocket-manager.yml")["providers"]
    assert mounts[provider["options"]["path"]] == "./grafana"
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    folder, _, file = home.rpartition("/")
    assert folder == provider["options"]["path"] and (FOLDER / "grafana" / file).is_file()

"""The dashboards, rules and alerts of dashboards/ say what is true: asked of a real Prometheus beside busy services."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import time
import urllib.parse

import pytest
import yaml

import dashboard_rules
import monitored
import parts
from conftest import ROOT
from dashboard_rules import SELECTOR, queries

FOLDER = ROOT / "dashboards"
RULES, ALERTS = FOLDER / "prometheus/rules.yml", FOLDER / "prometheus/alerts.yml"
TESTS = sorted((FOLDER / "prometheus/tests").glob("*.yml"))
# How long the load is watched: enough for every pace of it, and for four scrapes in each rate.
WATCHED = 20
RATE_INTERVAL, RANGE = 4, 15
SUFFIXES = re.compile(r"_(bucket|sum|count)$")
SCENARIOS = [monitored.ALONE, monitored.FLEET, monitored.RELAY, monitored.DAPR]


def load_build():
    spec = importlib.util.spec_from_file_location("dashboards_build", FOLDER / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BUILD = load_build()
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


# ---------------------------------------------------------------- files


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


# ---------------------------------------------------------------- against a real Prometheus


class Watched:
    """What was there after a while of load: asked of Prometheus at one moment."""

    def __init__(self, world, at):
        self.world, self.at = world, at
        self.scrapes = {job: [world.scrape(one).decode() for one in ours] for job, ours in world.services.items()}
        self.series = world.ask(
            "series", **{"match[]": '{__name__=~"wsm_.+"}', "start": at - WATCHED, "end": at + 5}
        )
        addresses = sorted({one["instance"].replace(".", r"\\.") for one in self.series})
        self.instances = f"({'|'.join(addresses)})"
        self.names = {SUFFIXES.sub("", name) for name in self.exported()}

    def exported(self):
        return {one["__name__"] for one in self.series}

    def fill(self, expression, job, instance=".+"):
        """As Grafana does it."""
        values = {
            "__rate_interval": f"{RATE_INTERVAL}s",
            "__range": f"{RANGE}s",
            "job": job,
            "instance": instance,
            "shard": ".+",
        }
        for name, value in values.items():
            expression = expression.replace(f"${name}", value)
        assert "$" not in expression, expression
        return expression

    def values(self, target, query):
        """All figures of a panel's query, of the instant or over the range."""
        if target["instant"]:
            return [float(one["value"][1]) for one in self.world.instant(query, self.at)]
        found = self.world.ask("query_range", query=query, start=self.at - RANGE, end=self.at, step="1")["result"]
        return [float(value) for one in found for _, value in one["values"]]


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    with monitored.everything(tmp_path_factory.mktemp("watched"), [RULES, ALERTS]) as world:
        world.load.over.wait(WATCHED)
        assert world.load.failures == []
        yield Watched(world, time.time())
        assert world.load.failures == []


def figure(value):
    return value == value and abs(value) != float("inf")


@pytest.mark.parametrize("uid", JSONS)
def test_every_panel_shows_something(watched, uid):
    """No query is an error anywhere. Where a panel is fed each of its series exists, and what is not calm moves."""
    of_source = {panel.title + panel.about: panel for panel in DASHBOARDS[uid].panels()}
    complaints = []
    for panel in dashboard_rules.panels(JSONS[uid]):
        source, moved = of_source[panel["title"] + panel["description"]], False
        for target in panel["targets"]:
            for job in SCENARIOS:
                found = watched.values(target, watched.fill(target["expr"], job))
                if job == source.scenario:
                    moved |= any(figure(value) and value != 0 for value in found)
                    if not any(map(figure, found)) and " > 0" not in target["expr"]:
                        complaints.append(f"{panel['title']}: no data for {target['expr']}")
            # Several values are joined in this way.
            everywhere = watched.fill(target["expr"], f"({'|'.join(SCENARIOS)})", watched.instances)
            if not watched.values(target, everywhere) and " > 0" not in target["expr"]:
                complaints.append(f"{panel['title']}: no data of all for {target['expr']}")
        if not moved and not source.calm:
            complaints.append(f"{panel['title']}: nothing but zeros")
    none_of(complaints)


@pytest.mark.parametrize("uid", JSONS)
def test_every_series_that_a_query_chooses_exists(watched, uid):
    """Label values are a closed set: a condition that nothing meets is a slip."""
    wrong = []
    for place, expression in queries(JSONS[uid]):
        for metric, matchers in SELECTOR.findall(expression):
            if metric == "ALERTS":
                continue
            if not watched.world.instant(watched.fill(f"{metric}{{{matchers}}}", ".+"), watched.at):
                wrong.append(f"{place}: nothing is {metric} with {matchers}")
                continue
            sharded = any("shard" in one for one in watched.series if one["__name__"] == metric)
            if sharded != ('shard=~"$shard"' in matchers):
                wrong.append(f"{place}: {metric} has {'a' if sharded else 'no'} shard")
    none_of(wrong)


def test_variables_have_values(watched):
    expected = {"job": set(SCENARIOS), "shard": {"0", "1"}}
    expected["instance"] = {
        one.admin.removeprefix("http://") for ours in watched.world.services.values() for one in ours
    }
    for variable in JSONS["wsm-overview"]["templating"]["list"][1:]:
        query = watched.fill(variable["query"]["query"], ".+")
        selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", query).groups()
        found = watched.world.ask(f"label/{label}/values?" + urllib.parse.urlencode({"match[]": selector}))
        assert set(found) == expected[variable["name"]]


def test_every_rule_and_alert_is_evaluated(watched):
    groups = watched.world.ask("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == len(rules_of(RULES)) + len(rules_of(ALERTS))
    assert [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"] == []
    # Nobody limits memory here, perhaps: then there is no share of it.
    recorded = {rule["record"] for rule in rules_of(RULES)} - {"instance:wsm_memory_used:ratio"}
    none_of([f"{name} has no value" for name in recorded if not watched.world.instant(name, watched.at)])


def test_alerts_choose_series_that_exist(watched):
    wrong = []
    for rule in rules_of(ALERTS) + rules_of(RULES):
        name = rule.get("alert", rule.get("record"))
        assert "{__name__" not in rule["expr"], "metrics are named, so that they are found"
        for metric, matchers in SELECTOR.findall(rule["expr"]):
            for label, values in re.findall(r'(\w+)(?:=~?|!=|!~)"([^"]*)"', matchers):
                for value in values.split("|"):
                    if not watched.world.instant(f'{metric}{{{label}="{value}"}}', watched.at):
                        wrong.append(f"{name}: nothing is {metric} with {label} {value}")
    none_of(wrong)


def test_every_metric_is_shown_or_said_to_be_left_out(watched):
    expressions = [expression for made in JSONS.values() for _, expression in queries(made)]
    expressions += [rule["expr"] for rule in rules_of(RULES) + rules_of(ALERTS)]
    used = {
        SUFFIXES.sub("", name)
        for expression in expressions
        for name in names_in(expression)
        if name.startswith("wsm_")
    }
    lines = (FOLDER / "unused.txt").read_text().splitlines()
    unused = dict(line.split(None, 1) for line in lines if line and not line.startswith("#"))
    assert all(unused.values()), "each with a reason"
    none_of([f"{name} does not exist" for name in sorted(used - watched.names)])
    none_of([f"{name} is neither used nor in unused.txt" for name in sorted(watched.names - used - unused.keys())])
    none_of([f"{name} of unused.txt is used" for name in sorted(unused.keys() & used)])
    none_of([f"{name} of unused.txt does not exist" for name in sorted(unused.keys() - watched.names)])


def test_promtool_finds_nothing_in_the_metrics(watched):
    for job, pages in watched.scrapes.items():
        for page in pages:
            assert promtool("check", "metrics", text=page).strip() == "", job


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
    if docker and subprocess.run([docker, "compose", "version"], capture_output=True).returncode == 0:
        made = subprocess.run(
            [docker, "compose", "-f", FOLDER / "compose.yml", "config", "-q"], capture_output=True, text=True
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
        [monitored.BINARY, "check", "--data-dir", tmp_path, *flags],
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

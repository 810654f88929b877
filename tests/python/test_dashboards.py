"""The dashboards, rules and alerts of dashboards/ say what is true: asked of a real Prometheus beside busy services."""

import json
import math
import re
import time
import urllib.parse

import pytest

import dashboard_rules
import monitored
import parts
from dashboard_files import (
    ALERTS,
    DASHBOARDS,
    FOLDER,
    JSONS,
    RULES,
    SUFFIXES,
    names_in,
    none_of,
    promtool,
    rules_of,
)
from dashboard_rules import SELECTOR, queries

# Seconds, and so scrapes. The load is watched long enough for every pace of it, and for four scrapes in each rate.
RATE_INTERVAL, RANGE = 4, 15
SCENARIOS = [monitored.ALONE, monitored.FLEET, monitored.RELAY, monitored.DAPR]


class Watched:
    """What was there after a while of load: asked of Prometheus at one moment."""

    def __init__(self, world, at):
        self.world, self.at = world, at
        self.scrapes = {job: [world.scrape(one).decode() for one in ours] for job, ours in world.services.items()}
        self.series = world.ask("series", **{"match[]": '{__name__=~"wsm_.+"}', "start": at - RANGE, "end": at + 5})
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

    def answer(self, target, query):
        """The series of a panel's query, of the instant or over the range: their labels and figures."""
        if target["instant"]:
            found = self.world.instant(query, self.at)
            return [(one["metric"], [float(one["value"][1])]) for one in found]
        found = self.world.ask("query_range", query=query, start=self.at - RANGE, end=self.at, step="1")["result"]
        return [(one["metric"], [float(value) for _, value in one["values"]]) for one in found]

    def complaints(self, panel, source):
        """No query is an error anywhere. Where the panel is fed it has figures, and what is not calm moves."""
        assert source.scenario in SCENARIOS, source.title
        moved = False
        for target in panel["targets"]:
            for job in SCENARIOS:
                found = self.answer(target, self.fill(target["expr"], job))
                if job == source.scenario:
                    figures = [value for _, values in found for value in values if math.isfinite(value)]
                    moved |= any(figures)
                    if not figures and not may_be_empty(target):
                        yield f"{panel['title']}: no data for {target['expr']}"
                    yield from (f"{panel['title']}: no {label}" for label in missing_labels(target, found))
            # Several values are joined in this way.
            everywhere = self.fill(target["expr"], f"({'|'.join(SCENARIOS)})", self.instances)
            if not self.answer(target, everywhere) and not may_be_empty(target):
                yield f"{panel['title']}: no data of all for {target['expr']}"
        if not moved and not source.calm:
            yield f"{panel['title']}: nothing but zeros"


def may_be_empty(target):
    """A limit that there is none of draws no line."""
    return target["expr"].endswith("} > 0")


def missing_labels(target, found):
    """Those that the legend or the grouping names and a series has not: Grafana would show nothing there."""
    named = re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
    if target["format"] == "table":
        named = re.search(r"\bby \(([^)]*)\)", target["expr"])[1].split(", ")
    return {label for label in named for labels, _ in found if label not in labels}


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    with monitored.everything(tmp_path_factory.mktemp("watched"), [RULES, ALERTS]) as world:
        for scrapes in (RANGE // 2, RANGE + 1):
            parts.wait_for(f"{scrapes} scrapes of everybody", lambda: world.scraped() >= scrapes)
        assert world.load.failures == []
        yield Watched(world, time.time())
        assert world.load.failures == []


@pytest.mark.parametrize("uid", JSONS)
def test_every_panel_shows_something(watched, uid):
    of_source = {panel.title + panel.about: panel for panel in DASHBOARDS[uid].panels()}
    panels = dashboard_rules.panels(JSONS[uid])
    none_of(
        [
            one
            for panel in panels
            for one in watched.complaints(panel, of_source[panel["title"] + panel["description"]])
        ]
    )


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("sum(wsm_redy{})", "no data for"),
        ('sum(wsm_connections{status="lost"})', "no data for"),
        ('sum(wsm_dapr_events_total{job=~"$job"})', "no data for"),
        ("sum(wsm_publish_spill_full{})", "nothing but zeros"),
        ("sum by (thread) (wsm_ready{})", "no thread"),
    ],
)
def test_a_panel_that_shows_nothing_is_found(watched, expression, complaint):
    panel = json.loads(json.dumps(next(dashboard_rules.panels(JSONS["wsm-send"]))))
    panel["targets"][0] |= {"expr": expression, "legendFormat": "{{thread}}" if "thread" in expression else "all"}
    found = list(watched.complaints(panel, DASHBOARDS["wsm-send"].panels()[0]))
    assert any(complaint in one for one in found), found


def test_a_query_that_is_wrong_is_found(watched):
    panel = json.loads(json.dumps(next(dashboard_rules.panels(JSONS["wsm-send"]))))
    panel["targets"][0]["expr"] = "sum(wsm_ready{}"
    with pytest.raises(AssertionError, match="parse error"):
        list(watched.complaints(panel, DASHBOARDS["wsm-send"].panels()[0]))


@pytest.mark.parametrize("uid", JSONS)
def test_every_series_that_a_query_chooses_exists(watched, uid):
    """Label values are a closed set: a condition that nothing meets is a slip."""
    wrong = []
    for place, expression in queries(JSONS[uid]):
        # Annotations too: nobody else asks for them.
        watched.world.instant(watched.fill(expression, ".+"), watched.at)
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
    recorded = {rule["record"] for rule in rules_of(RULES)}
    none_of([f"{name} has no value" for name in recorded if not watched.world.instant(name, watched.at)])


def test_alerts_fire_for_what_is_wrong_here(watched):
    """Members that read nothing, commands that nobody knows, an upstream that hangs up again and again."""

    def firing():
        fire = watched.world.instant('ALERTS{alertstate="firing"}', time.time())
        return {one["metric"]["alertname"] for one in fire}

    expected = {"WsmSlowReaders", "WsmCommandsFail", "WsmReconnectStorm"}
    parts.wait_for(f"{expected} to fire", lambda: expected <= firing())


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

"""What makes a dashboard good, as Grafana's own linter says it, and some of ours. Each rule yields its complaints."""

import re

ALL = []
RATED = re.compile(r"\b(?:rate|irate|increase|resets)\($")
SELECTOR = re.compile(r"\b([a-zA-Z_:][a-zA-Z0-9_:]*)\{([^}]*)\}")
WINDOW = re.compile(r"\[([^\]]*)\]")
# Of Grafana; any other text would be shown as it is, after the figure.
UNITS = {"none", "short", "percentunit", "s", "bytes", "Bps", "ops"}
KINDS = {"timeseries", "stat", "heatmap", "state-timeline", "table"}
VARIABLES = ["datasource", "job", "instance", "shard"]


def rule(check):
    ALL.append(check)
    return check


def panels(dashboard):
    """All but the rows' heads, with those that are folded away."""
    for panel in dashboard["panels"]:
        inside = [panel, *panel.get("panels", [])]
        yield from (one for one in inside if one["type"] != "row")


def queries(dashboard):
    """Of panels and annotations: where it stands, and the expression."""
    for panel in panels(dashboard):
        for target in panel["targets"]:
            yield f"{panel['title']} {target['refId']}", target["expr"]
    for one in dashboard["annotations"]["list"]:
        if "expr" in one:
            yield one["name"], one["expr"]


def metrics(expression):
    """The names in an expression."""
    return {name for name, _ in SELECTOR.findall(expression)}


@rule
def template_datasource(dashboard):
    [first, *_] = dashboard["templating"]["list"]
    if (first["name"], first["type"], first["query"], first["label"]) != (
        "datasource",
        "datasource",
        "prometheus",
        "Data source",
    ):
        yield "the first variable is not the data source"


@rule
def template_job_and_instance(dashboard):
    found = {one["name"]: one for one in dashboard["templating"]["list"]}
    if list(found) != VARIABLES:
        yield f"variables {list(found)}"
    for name in VARIABLES[1:]:
        one = found[name]
        if one["datasource"]["uid"] != "${datasource}" or one["type"] != "query":
            yield f"{name}: not a query of the chosen data source"
        if not (one["multi"] and one["includeAll"] and one["allValue"] == ".+" and one["label"] == name.title()):
            yield f"{name}: several, or all by .+, must be possible, and its label its name"


@rule
def template_label_promql(dashboard):
    for one in dashboard["templating"]["list"][1:]:
        if not re.fullmatch(r"label_values\(\w+(\{[^}]*\})?, \w+\)", one["query"]["query"]):
            yield f"{one['name']}: {one['query']['query']}"


@rule
def template_on_time_change_reload(dashboard):
    for one in dashboard["templating"]["list"][1:]:
        if one["refresh"] != 2:
            yield f"{one['name']} is not asked for again when the time changes"


@rule
def panel_datasource(dashboard):
    for panel in panels(dashboard):
        places = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        if any(place != {"type": "prometheus", "uid": "${datasource}"} for place in places):
            yield panel["title"]


@rule
def panel_title_description(dashboard):
    for panel in panels(dashboard):
        if not panel["title"] or not re.fullmatch(r"[^ ].*[.]", panel["description"]):
            yield f"{panel['title']}: a description is whole sentences"


@rule
def panel_units(dashboard):
    for panel in panels(dashboard):
        unit, kind = panel["fieldConfig"]["defaults"]["unit"], panel["type"]
        if unit not in UNITS or kind not in KINDS:
            yield f"{panel['title']}: {kind} in {unit}"
        expressions = [target["expr"] for target in panel["targets"]]
        fits = {"s": "_seconds", "bytes": "_bytes", "Bps": "_bytes_total"}.get(unit, "")
        if not all(fits in expression for expression in expressions):
            yield f"{panel['title']}: {unit} of something else"


@rule
def panel_targets(dashboard):
    for panel in panels(dashboard):
        refs = [target["refId"] for target in panel["targets"]]
        if not refs or len(refs) != len(set(refs)):
            yield f"{panel['title']}: {refs}"


@rule
def panel_says_why_it_is_empty(dashboard):
    for panel in panels(dashboard):
        if not panel["fieldConfig"]["defaults"]["noValue"].endswith((".", "?")):
            yield panel["title"]


@rule
def target_job_and_instance(dashboard):
    for place, expression in queries(dashboard):
        selectors = SELECTOR.findall(expression)
        if not selectors:
            yield f"{place}: no selector in {expression}"
        for metric, matchers in selectors:
            if 'job=~"$job"' not in matchers or not re.search(r'instance=~"\$instance\|?"', matchers):
                yield f"{place}: {metric}"
        bare = re.sub(r"\{[^}]*\}", "{}", expression)
        if re.search(r"\b(wsm_\w+|up|ALERTS)\b(?!\{)", bare):
            yield f"{place}: a metric without a selector in {bare}"


@rule
def target_rate_interval(dashboard):
    for place, expression in queries(dashboard):
        for window in WINDOW.findall(expression):
            if window not in ("$__rate_interval", "$__range"):
                yield f"{place}: [{window}]"
        if re.search(r"\brate\([^[]*\[\$__range\]", expression):
            yield f"{place}: rates are of $__rate_interval"


@rule
def target_counter_agg(dashboard):
    """A counter's value says nothing; its rate or increase does."""
    for place, expression in queries(dashboard):
        for found in SELECTOR.finditer(expression):
            counter = found[1].endswith(("_total", "_bucket", "_count", "_sum"))
            rated = RATED.search(expression[: found.start()])
            if counter and not rated:
                yield f"{place}: {found[1]} as it is"
            if rated and not counter and found[1] != "wsm_uptime_seconds":
                yield f"{place}: a rate of {found[1]}"


@rule
def target_quantiles_keep_le(dashboard):
    for place, expression in queries(dashboard):
        if "histogram_quantile" in expression and not re.search(
            r"histogram_quantile\([\d.]+, sum by \(le[,)][^(]*\(?rate\(\w+_bucket\{", expression
        ):
            yield f"{place}: {expression}"


@rule
def target_legends(dashboard):
    """Labels of a legend are labels of the result."""
    for panel in panels(dashboard):
        for target in panel["targets"]:
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                grouped = re.findall(r"\bby \(([^)]*)\)", target["expr"])
                if grouped and not any(label in names.split(", ") for names in grouped):
                    yield f"{panel['title']}: {label} is not in {target['expr']}"


@rule
def uneditable_dashboard(dashboard):
    if dashboard["editable"]:
        yield "it is generated: changes in Grafana would be lost"


@rule
def dashboard_head(dashboard):
    if not re.fullmatch(r"wsm-[a-z]+", dashboard["uid"]) or not dashboard["title"].startswith(
        "WebSocket Manager / "
    ):
        yield f"{dashboard['uid']}: {dashboard['title']}"
    if dashboard["schemaVersion"] < 39 or not dashboard["description"] or dashboard["id"] is not None:
        yield "schema of Grafana 11, a description, and no id of one Grafana"
    if dashboard["tags"] != ["websocket-manager"]:
        yield f"tags {dashboard['tags']}"


@rule
def dashboard_links(dashboard):
    [link] = dashboard["links"]
    if (
        link["type"] != "dashboards"
        or link["tags"] != dashboard["tags"]
        or not (link["includeVars"] and link["keepTime"])
    ):
        yield f"{link}"


@rule
def unique_ids_and_titles(dashboard):
    ids = list({id(panel): panel["id"] for panel in [*dashboard["panels"], *panels(dashboard)]}.values())
    if len(ids) != len(set(ids)):
        yield f"ids {sorted(ids)}"
    row, titles = None, []
    for panel in dashboard["panels"]:
        row = panel["title"] if panel["type"] == "row" else row
        titles.append((row, panel["title"], panel["type"]))
    if len(titles) != len(set(titles)):
        yield "two panels of a row with one title"


@rule
def grid_without_overlap(dashboard):
    taken = {}
    for panel in [*dashboard["panels"], *panels(dashboard)]:
        place = panel["gridPos"]
        if place["x"] + place["w"] > 24 or min(place.values()) < 0:
            yield f"{panel['title']}: outside of 24 columns"
        for cell in [
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ]:
            if taken.setdefault(cell, panel["id"]) != panel["id"]:
                yield f"{panel['title']}: overlaps panel {taken[cell]}"
                break


@rule
def lines_of_one_height(dashboard):
    """Panels that stand beside one another leave no holes below them."""
    lines = {}
    for panel in panels(dashboard):
        lines.setdefault(panel["gridPos"]["y"], []).append(panel)
    for line in lines.values():
        heights = {panel["gridPos"]["h"] for panel in line}
        if len(heights) > 1:
            yield f"{[panel['title'] for panel in line]} have heights {heights}"

"""Dashboards, rows and panels, and the JSON that Grafana reads."""

import dataclasses

# What feeds a panel when the dashboards are proven: one service alone with the embedded backend, two
# instances on Redis with their rooms, one that speaks the earlier system's channels, one beside a Dapr sidecar.
ALONE, FLEET, RELAY, DAPR = "alone", "fleet", "relay", "dapr"

SCHEMA_VERSION = 39
# How Grafana sorts the values of a variable.
BY_LETTERS, BY_NUMBER = 1, 3
COLUMNS = 24
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
TAG = "websocket-manager"
GREEN, YELLOW, RED = "green", "#EAB839", "red"


@dataclasses.dataclass(frozen=True)
class Panel:
    """`scenario` feeds it. `calm`: its values are zero while all is well, so a proof asks for series only."""

    kind: str
    title: str
    about: str
    unit: str
    targets: list
    width: int = 8
    height: int = 8
    scenario: str = ALONE
    calm: bool = False
    empty: str = "No data: is the service scraped, and does it match the variables?"
    steps: tuple = ()
    minimum: float | None = 0
    maximum: float | None = None
    stacked: bool = False
    words: tuple = ()
    decimals: int | None = None
    instant: bool = False
    columns: tuple = ()

    def json(self, number, place):
        made = {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.about,
            "datasource": DATASOURCE,
            "gridPos": place,
            "fieldConfig": {"defaults": self.defaults(), "overrides": []},
            "options": OPTIONS[self.kind],
            "targets": [self.target(nth, *target) for nth, target in enumerate(self.targets)],
        }
        if self.kind == "table":
            made["transformations"] = [{"id": "organize", "options": {"excludeByName": hidden(self.columns)}}]
        return made

    def target(self, nth, expression, legend):
        instant = self.instant or self.kind == "table"
        return {
            "refId": chr(ord("A") + nth),
            "datasource": DATASOURCE,
            "expr": expression,
            "legendFormat": legend,
            "editorMode": "code",
            "format": {"table": "table", "heatmap": "heatmap"}.get(self.kind, "time_series"),
            "range": not instant,
            "instant": instant,
        }

    def defaults(self):
        steps = [{"color": GREEN, "value": None}] + [
            {"color": color, "value": value} for value, color in self.steps
        ]
        made = {
            "unit": self.unit,
            "noValue": self.empty,
            "color": {"mode": "thresholds" if self.kind in ("stat", "state-timeline") else "palette-classic"},
            "thresholds": {"mode": "absolute", "steps": steps},
            "mappings": mapping(self.words),
            "custom": self.custom(),
        }
        bounds = {"min": self.minimum, "max": self.maximum, "decimals": self.decimals}
        return made | {name: value for name, value in bounds.items() if value is not None}

    def custom(self):
        if self.kind == "timeseries":
            return {
                "drawStyle": "line",
                "lineWidth": 1,
                "fillOpacity": 25 if self.stacked else 8,
                "showPoints": "never",
                "spanNulls": False,
                "stacking": {"group": "A", "mode": "normal" if self.stacked else "none"},
                "thresholdsStyle": {"mode": "dashed" if self.steps else "off"},
            }
        if self.kind == "state-timeline":
            return {"fillOpacity": 80, "lineWidth": 0}
        return {}


OPTIONS = {
    "timeseries": {
        "legend": {
            "displayMode": "table",
            "placement": "bottom",
            "calcs": ["lastNotNull", "max"],
            "showLegend": True,
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "colorMode": "value",
        "graphMode": "area",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    },
    "heatmap": {
        "calculate": False,
        "cellGap": 1,
        "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "tooltip": {"mode": "single", "showColorScale": False, "yHistogram": True},
        "yAxis": {"axisPlacement": "left", "reverse": False, "unit": "s"},
    },
    "state-timeline": {
        "alignValue": "left",
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "mergeValues": True,
        "rowHeight": 0.8,
        "showValue": "auto",
        "tooltip": {"mode": "single", "sort": "none"},
    },
    "table": {"cellHeight": "sm", "showHeader": True, "footer": {"show": False, "fields": "", "reducer": ["sum"]}},
}


def mapping(words):
    """Values that are read as words: (value, word, color)."""
    if not words:
        return []
    options = {
        str(value): {"index": nth, "text": word, "color": color} for nth, (value, word, color) in enumerate(words)
    }
    return [{"type": "value", "options": options}]


def hidden(columns):
    """Of a table: what every query brings and nobody wants to read, but for what is named."""
    return {name: True for name in ("Time", "__name__", "Value") if name not in columns}


@dataclasses.dataclass(frozen=True)
class Row:
    title: str
    panels: list
    folded: bool = False


@dataclasses.dataclass(frozen=True)
class Dashboard:
    name: str
    title: str
    about: str
    rows: list

    @property
    def uid(self):
        return f"wsm-{self.name}"

    def panels(self):
        return [panel for row in self.rows for panel in row.panels]

    def json(self):
        return {
            "uid": self.uid,
            "title": f"WebSocket Manager / {self.title}",
            "description": self.about,
            "tags": [TAG],
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "id": None,
            "editable": False,
            "graphTooltip": 1,
            "fiscalYearStartMonth": 0,
            "weekStart": "",
            "timezone": "browser",
            "time": {"from": "now-1h", "to": "now"},
            "timepicker": {},
            "refresh": "30s",
            "liveNow": False,
            "annotations": {"list": [built_in_annotations(), RESTARTS]},
            "links": [links()],
            "templating": {"list": VARIABLES},
            "panels": self.placed(),
        }

    def placed(self):
        """From left to right, a new line where one does not fit; a row's head before its panels."""
        made, number, top = [], 1, 0
        for row in self.rows:
            head = {"id": number, "type": "row", "title": row.title, "collapsed": row.folded, "panels": []}
            head["gridPos"] = {"h": 1, "w": COLUMNS, "x": 0, "y": top}
            made.append(head)
            number, top, left, high, inside = number + 1, top + 1, 0, 0, []
            for panel in row.panels:
                if left + panel.width > COLUMNS:
                    top, left, high = top + high, 0, 0
                place = {"h": panel.height, "w": panel.width, "x": left, "y": top}
                inside.append(panel.json(number, place))
                number, left, high = number + 1, left + panel.width, max(high, panel.height)
            top += high
            (head["panels"] if row.folded else made).extend(inside)
        return made


def built_in_annotations():
    return {
        "builtIn": 1,
        "datasource": {"type": "grafana", "uid": "-- Grafana --"},
        "enable": True,
        "hide": True,
        "iconColor": "rgba(0, 211, 255, 1)",
        "name": "Annotations & Alerts",
        "type": "dashboard",
    }


# A line wherever an instance began anew: most jumps are explained by it.
RESTARTS = {
    "datasource": DATASOURCE,
    "enable": True,
    "hide": False,
    "iconColor": "purple",
    "name": "Restarts",
    "expr": 'resets(wsm_uptime_seconds{job=~"$job", instance=~"$instance"}[$__rate_interval]) > 0',
    "step": "60s",
    "titleFormat": "{{instance}} began anew",
}


def links():
    return {
        "asDropdown": False,
        "icon": "external link",
        "includeVars": True,
        "keepTime": True,
        "tags": [TAG],
        "targetBlank": False,
        "title": "WebSocket Manager",
        "type": "dashboards",
    }


def variable(name, label, query, sort=BY_LETTERS):
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "refresh": 2,
        "sort": sort,
        "regex": "",
        "hide": 0,
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "options": [],
        "skipUrlSync": False,
    }


VARIABLES = [
    {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "refresh": 1,
        "regex": "",
        "hide": 0,
        "multi": False,
        "includeAll": False,
        "current": {},
        "options": [],
        "skipUrlSync": False,
    },
    variable("job", "Job", "label_values(wsm_build_info, job)"),
    variable("instance", "Instance", 'label_values(wsm_build_info{job=~"$job"}, instance)'),
    variable("shard", "Shard", 'label_values(wsm_shard_up{job=~"$job", instance=~"$instance"}, shard)', BY_NUMBER),
]


def timeseries(title, about, unit, targets, **more):
    return Panel("timeseries", title, about, unit, targets, **more)


def stat(title, about, unit, targets, **more):
    return Panel("stat", title, about, unit, targets, **{"width": 4, "height": 4} | more)


def heatmap(title, about, targets, **more):
    return Panel("heatmap", title, about, "s", targets, **{"minimum": None} | more)


def states(title, about, targets, words, **more):
    """One lane a series, coloured by its state: (value, word, color)."""
    return Panel("state-timeline", title, about, "none", targets, words=words, minimum=None, **more)


def table(title, about, targets, **more):
    return Panel("table", title, about, "none", targets, minimum=None, **more)

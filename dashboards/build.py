"""Writes dashboards/grafana/*.json from dashboards/source. With --check it only says what is out of date.

python3 dashboards/build.py [--check]
"""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from source import connections, fleet, overview, publishing, rooms, send, shards  # noqa: E402

DASHBOARDS = [module.DASHBOARD for module in (overview, connections, send, publishing, rooms, shards, fleet)]


def files():
    """Each file's path and text."""
    return {
        HERE / "grafana" / f"{dashboard.uid}.json": json.dumps(dashboard.json(), indent=1, ensure_ascii=False)
        + "\n"
        for dashboard in DASHBOARDS
    }


def outdated():
    """Files that are not as the source says, and files that it does not know."""
    wanted = files()
    there = {path: path.read_text() for path in (HERE / "grafana").glob("*.json")}
    return sorted(path for path in wanted.keys() | there.keys() if wanted.get(path) != there.get(path))


def main(arguments):
    if arguments not in ([], ["--check"]):
        sys.exit("usage: python3 dashboards/build.py [--check]")
    wrong = outdated()
    for path in wrong:
        print(path.relative_to(HERE.parent), "is not what the source makes" if arguments else "written")
    if arguments:
        sys.exit("run python3 dashboards/build.py" if wrong else 0)
    wanted = files()
    for path in wrong:
        if path in wanted:
            path.parent.mkdir(exist_ok=True)
            path.write_text(wanted[path])
        else:
            path.unlink()


if __name__ == "__main__":
    main(sys.argv[1:])

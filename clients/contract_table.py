"""Prints the results of all clients' contract cases as one table; fails when one is missing or failed.

    python3 clients/contract_table.py [FOLDER]     FOLDER: where contract-*.txt are [.cache/test-output]
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "clients/contract.md"
COLUMNS = ["python", "python-sync", "typescript"]


def read_page(text):
    """The cases, by number, with their names; and what is excused: (case, column) with the reason."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if re.match(r"\| C\d", line)]
    cases = {row[0]: row[1] for row in rows if len(row) == 4}
    excused = {(row[0], row[1]): row[2] for row in rows if len(row) == 3}
    return cases, excused


def read_results(folder):
    results = {column: {} for column in COLUMNS}
    for file in sorted(folder.glob("contract-*.txt")):
        column = results.setdefault(file.stem.removeprefix("contract-"), {})
        for line in file.read_text().splitlines():
            case, result = line.split()
            column[case] = result if column.get(case, "passed") == "passed" else "failed"
    return results


def judge(cases, excused, results):
    """The table's cells, and what is wrong with it."""
    cells, wrong = {}, []
    for column, found in results.items():
        wrong += [f"{column}: {case} is not on the page" for case in found if case not in cases]
        if not found:
            wrong.append(f"{column}: there are no results (contract-{column}.txt)")
        for case in cases:
            reason = excused.get((case, column))
            result = found.get(case, "n/a" if reason else "not run")
            if found and result in ("failed", "not run"):
                wrong.append(f"{column}: {case} ({cases[case]}): {result}")
            if reason and case in found:
                wrong.append(f"{column}: {case} was run, though the page says: {reason}")
            cells[case, column] = result if found else "-"
    for case, column in excused:
        if case not in cases:
            wrong.append(f"the page excuses {column} from {case}, which it does not list")
    return cells, wrong


def main(folder):
    cases, excused = read_page(PAGE.read_text())
    results = read_results(folder)
    cells, wrong = judge(cases, excused, results)
    width = max(len(name) for name in cases.values())
    print(f"{'case':<6}{'name':<{width}}  " + "  ".join(f"{column:<12}" for column in results))
    for case, name in cases.items():
        print(f"{case:<6}{name:<{width}}  " + "  ".join(f"{cells[case, column]:<12}" for column in results))
    for line in wrong:
        print(f"WRONG: {line}")
    print(f"{len(cases)} cases, {len(results)} clients, {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / ".cache/test-output"))

#!/usr/bin/env python3
"""Counts the instructions of the pure core's hot functions and compares them with counts.txt.

    benches/instructions/count.py             compares; fails when one takes over 5 % more
    benches/instructions/count.py --record    writes counts.txt anew

Times lie on a busy machine; instructions do not. They are counted by valgrind's callgrind, which wants
x86-64 with AVX2 (what finds bytes in long texts chooses by it, whatever valgrind emulates otherwise) and
nothing else of the machine: only what the binary itself executes is counted, and of the C library how
often it is asked for memory. Another compiler makes other code: then 10 % are borne, until somebody
records its counts.

gungraun (iai-callgrind) counts the same way. It is not used: its runner is a second binary of exactly its
version that has to be installed beside it, and what it compares with lies under target/ and not here.
"""

import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
COUNTS = HERE / "counts.txt"
RECORD = "benches/instructions/count.py --record"
GROWTH_MAX = 0.05
OTHER_COMPILER_GROWTH_MAX = 0.10
# Of short functions: new code elsewhere moves registers and what is inlined.
INSTRUCTIONS_BORNE = 10
# Allocations are whole, and some come once in many rounds.
ALLOCATIONS_BORNE = 0.02
# Seconds: for the few crates of the core on a machine that builds other things too, for all cases under
# valgrind, and for what is there at once.
BUILD_PATIENCE = 600
COUNT_PATIENCE = 200
GLANCE = 60
# For what this machine cannot do, as automake has it.
EXIT_SKIPPED = 77
# Where the binary's harness says that a case begins and ends.
MEASURED = "instructions::measured"
# A place in the source and what it took.
COSTS = re.compile(r"[+*-]?\d* \d+$")
ALLOCATING = {"malloc", "calloc", "realloc", "memalign", "aligned_alloc", "posix_memalign"}


class Trouble(Exception):
    """What is wrong, and the way out."""


class Missing(Exception):
    """What this machine lacks."""


def find_valgrind():
    if platform.machine() not in {"x86_64", "AMD64"}:
        raise Missing(f"counts are of x86-64, and this machine is {platform.machine()}")
    if "avx2" not in pathlib.Path("/proc/cpuinfo").read_text().split():
        raise Missing("counts are of CPUs with AVX2, and this one has none")
    valgrind = shutil.which("valgrind")
    if not valgrind:
        raise Missing("valgrind is not installed (Debian package: valgrind)")
    return valgrind


def compiler():
    version = ["rustc", "--version"]
    return subprocess.run(version, cwd=ROOT, check=True, capture_output=True, text=True, timeout=GLANCE).stdout.strip()


def build():
    """The pure core only: seconds, once its few crates are there."""
    features = ["--no-default-features", "--features", "instructions"]
    command = ["cargo", "build", "--locked", "--profile", "instructions", "--bin", "instructions", *features]
    # Flags of somebody's own make other code.
    env = {name: value for name, value in os.environ.items() if "RUSTFLAGS" not in name}
    built = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=BUILD_PATIENCE)
    if built.returncode:
        raise Trouble(f"{' '.join(command)} failed:\n{built.stderr}")
    return pathlib.Path(env.get("CARGO_TARGET_DIR", ROOT / "target")) / "instructions/instructions"


def count(binary, valgrind):
    """By case: instructions and allocations of one round."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out"
        command = [valgrind, "--tool=callgrind", f"--callgrind-out-file={out}", f"--zero-before={MEASURED}"]
        ran = subprocess.run(
            [*command, f"--dump-after={MEASURED}", str(binary)],
            # An environment's length moves the stack.
            env={"PATH": os.defpath},
            capture_output=True,
            text=True,
            timeout=COUNT_PATIENCE,
        )
        if ran.returncode:
            raise Trouble(f"{binary} failed under valgrind, after {ran.stdout.splitlines()[-1:]}:\n{ran.stderr}")
        cases = [line.rsplit(" ", 1) for line in ran.stdout.splitlines()]
        parts = sorted(out.parent.glob("out.*"), key=lambda part: int(part.suffix[1:]))
        if len(parts) != len(cases):
            raise Trouble(f"{len(cases)} cases ran and {len(parts)} were counted: does {MEASURED} keep its name?")
        counted, names = {}, {}
        for (case, rounds), part in zip(cases, parts):
            instructions, allocations = totals(part.read_text(), names, binary.name)
            counted[case] = (instructions / int(rounds), allocations / int(rounds))
        return counted


def totals(text, names, binary):
    """Of one part that callgrind wrote: what was executed in the binary itself, and how often it asked for
    memory. `names` holds what earlier parts called by number."""
    instructions = allocations = 0
    inside, called, calls = False, "", None
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key in {"ob", "cob", "fn", "cfn"}:
            number, name = re.fullmatch(r"\((\d+)\)(?: (.*))?", value).groups()
            if name is not None:
                names[key[-2:], number] = name
            name = names[key[-2:], number]
            if key == "ob":
                inside = pathlib.PurePath(name).name == binary
            elif key == "cfn":
                # A number behind it tells recursions apart.
                called = name.partition("'")[0]
        elif key == "calls":
            calls = int(value.split()[0])
        elif COSTS.match(line):
            if inside and calls is None:
                instructions += int(line.split()[1])
            elif inside and called in ALLOCATING:
                allocations += calls
            # Only the line behind `calls` is what a callee took.
            calls = None
    return instructions, allocations


def read(text):
    """The compiler, and by case what counts.txt says."""
    made_by, counted = "", {}
    for line in text.splitlines():
        if line.startswith("# compiler: "):
            made_by = line.removeprefix("# compiler: ")
        elif line and not line.startswith("#"):
            instructions, allocations, case = line.split(None, 2)
            counted[case] = (float(instructions), float(allocations))
    return made_by, counted


def written(made_by, counted):
    lines = [
        "# What one of each takes: instructions, allocations. x86-64 with AVX2, counted by callgrind.",
        f"# Written by {RECORD}",
        f"# compiler: {made_by}",
    ]
    lines += [f"{instructions:12.1f} {allocations:8.2f}  {case}" for case, (instructions, allocations) in counted.items()]
    return "\n".join(lines) + "\n"


def compare(before, after, growth_max):
    """What is wrong, a line each."""
    wrong = []
    for case in before.keys() | after.keys():
        if case not in after or case not in before:
            wrong.append(f"{case}: {'not counted any more' if case in before else 'not recorded yet'}")
            continue
        borne = (("instructions", INSTRUCTIONS_BORNE), ("allocations", ALLOCATIONS_BORNE))
        for (what, few), old, new in zip(borne, before[case], after[case]):
            if new > old + max(old * growth_max, few):
                by = f"{(new / old - 1) * 100:+.1f} %" if old else "from none"
                wrong.append(f"{case}: {old:g} {what} before, {new:.10g} now ({by}, at most {growth_max * 100:.0f} %)")
    return sorted(wrong)


def main(arguments):
    if arguments not in ([], ["--record"]):
        print(f"usage: {RECORD.replace('--record', '[--record]')}", file=sys.stderr)
        return 64
    try:
        valgrind, made_by = find_valgrind(), compiler()
        counted = count(build(), valgrind)
        if arguments:
            COUNTS.write_text(written(made_by, counted))
            print(f"{len(counted)} counts are written to {COUNTS.relative_to(ROOT)}")
            return 0
        recorded_by, before = read(COUNTS.read_text())
    except Missing as missing:
        print(f"SKIPPED: {missing}")
        return EXIT_SKIPPED
    except (Trouble, subprocess.TimeoutExpired) as trouble:
        print(trouble)
        return 1
    growth_max = GROWTH_MAX
    if recorded_by != made_by:
        growth_max = OTHER_COMPILER_GROWTH_MAX
        print(f"counts.txt is of {recorded_by}, and this is {made_by}: {growth_max * 100:.0f} % are borne")
    for case, (instructions, allocations) in counted.items():
        old = before.get(case, (0, 0))[0]
        print(f"{instructions:12.1f} {(instructions / old - 1) * 100 if old else 0:+6.1f} % {allocations:8.2f}  {case}")
    wrong = compare(before, counted, growth_max)
    if wrong:
        print("\n".join(["", *wrong, "", f"If that is meant: {RECORD}, and say in the commit why."]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Runs the subjects interleaved, in one run, and prints the table."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import pwd
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import floor
from benchmarks.floor import MeasurementError
from benchmarks.subjects import Bench, Subject, all_subjects, environment


class Row:
    """A subject and what it has measured, in nanoseconds."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.samples: list[int] = []
        self.failure: str | None = None

    @property
    def median(self) -> float | None:
        return statistics.median(self.samples) if self.samples and not self.failure else None

    def percentile(self, percent: int) -> float:
        ordered = sorted(self.samples)
        return ordered[round((len(ordered) - 1) * percent / 100)]

    def measure(self, *, keep: bool) -> int:
        """One measurement; a failure takes the subject out of the run.  Returns nanoseconds."""
        try:
            taken = self.subject.measure()
        except MeasurementError as failure:
            self.failure = str(failure)
            if self.subject.reason and self.failure.startswith("wait status"):
                self.failure = self.subject.reason()
            return 0
        if keep:
            self.samples.append(taken)
        return taken


def main(root: Path, *, installed: bool) -> int:
    options = parse_arguments()
    env = environment(root, installed=installed)
    header = describe_machine(root, installed=installed)
    with tempfile.TemporaryDirectory(prefix="pycontainer-bench-") as name:
        scratch = Path(name)
        scratch.chmod(0o755)  # the container's root is not the host's
        try:
            built = floor.build(floor.SOURCES / "build", static_floor=options.static_floor)
        except MeasurementError as failure:
            print(f"The floor cannot be measured: {failure}", file=sys.stderr)
            return 1
        bench = Bench(*built, scratch, env)
        try:
            rows = chosen_rows(all_subjects(bench), options.only)
            if not rows:
                print(f"Nothing matches {options.only!r}; see --list", file=sys.stderr)
                return 2
            if options.list:
                print(*(row.subject.name for row in rows), sep="\n")
                return 0
            bench.prepare()
            rounds = options.rounds or (15 if options.quick else 60)
            header["rounds"] = rounds
            header["floor"] = "static" if options.static_floor else "dynamic"
            print_header(header)
            run(rows, rounds, options.pause / 1000)
        finally:
            bench.close()
    print_table(rows)
    if options.json:
        options.json.write_text(json.dumps(as_json(header, rows), indent=1) + "\n")
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks/run.py",
        description="Measures pycontainer against the floor (a C program that does the default "
        "container's own steps) and against other programs, interleaved in one run.",
    )
    parser.add_argument("--quick", action="store_true", help="15 rounds in place of 60")
    parser.add_argument("--rounds", type=int, metavar="N", help="how many rounds")
    parser.add_argument(
        "--only",
        metavar="PATTERN",
        help="subjects whose name or group matches this regular expression, and what they are "
        "compared with",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there")
    parser.add_argument(
        "--pause",
        type=float,
        default=2.0,
        metavar="MS",
        help="between two measurements, while the kernel takes down the last one's namespaces "
        "(default: 2)",
    )
    parser.add_argument(
        "--static-floor",
        action="store_true",
        help="link the floor statically: a process with fewer pages to fork, a lower floor",
    )
    parser.add_argument("--list", action="store_true", help="print the subjects' names and end")
    return parser.parse_args()


def chosen_rows(subjects: Sequence[Subject], pattern: str | None) -> list[Row]:
    by_name = {subject.name: subject for subject in subjects}
    if pattern is None:
        return [Row(subject) for subject in by_name.values()]
    wanted: set[str] = set()
    pending = [s.name for s in subjects if re.search(pattern, f"{s.group}: {s.name}")]
    while pending:
        name = pending.pop()
        if name in wanted:
            continue
        wanted.add(name)
        subject = by_name[name]
        pending += [against.name for against in subject.against]
        pending += [subject.minus] if subject.minus else []
    return [Row(subject) for subject in by_name.values() if subject.name in wanted]


def run(rows: Sequence[Row], rounds: int, pause: float) -> None:
    """Every subject once a round, in an order that changes, so that none always follows another."""
    shuffle = random.Random(rounds)
    slowest = max(row.subject.every for row in rows)
    rounds = max(rounds, slowest)
    for number in range(-2, rounds):
        warm_up = number < 0
        part = [row for row in rows if warm_up or number % row.subject.every == 0]
        shuffle.shuffle(part)
        for row in part:
            if row.failure:
                continue
            taken = row.measure(keep=not warm_up)
            # What a large container leaves behind takes longer to go.
            time.sleep(pause and min(0.05, max(pause, taken / 5e9)))
        show_progress(number + 2, rounds + 2)
    show_progress(0, 0)


def show_progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        text = f"round {done + 1} of {total}" if total else ""
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


# ---- the report ----


def describe_machine(root: Path, *, installed: bool) -> dict[str, Any]:
    system = os.uname()
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal: +(\d+)", Path("/proc/meminfo").read_text())
    pages = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    chosen = re.search(r"\[(\w+)\]", pages.read_text()) if pages.exists() else None
    uid = os.geteuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    return {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "kernel": f"{system.sysname} {system.release} {system.machine}",
        "cpu": cpu[1] if cpu else system.machine,
        "cores": os.cpu_count(),
        "memory": f"{int(memory[1]) / 2**20:.1f} GiB" if memory else "unknown",
        "huge pages": chosen[1] if chosen else "none",
        "python": sys.version.split()[0],
        "user": f"{name} ({'root' if uid == 0 else 'ordinary'})",
        "pycontainer": "installed" if installed else f"the sources in {root}",
    }


def print_header(header: dict[str, Any]) -> None:
    width = max(map(len, header))
    for key, value in header.items():
        print(f"{key:{width}}  {value}")
    print(flush=True)


def comparisons(row: Row, rows: dict[str, Row]) -> Iterator[tuple[str, float | None, float | None]]:
    """What the row is compared with: name, ratio (None: one of the two has failed), goal."""
    for against in row.subject.against:
        other, own = rows[against.name].median, row.median
        if own is not None and row.subject.minus:
            common = rows[row.subject.minus].median
            own = None if common is None else own - common
        yield against.name, (own / other if own is not None and other else None), against.goal


def print_table(rows: Sequence[Row]) -> None:
    by_name = {row.subject.name: row for row in rows}
    width = max(len(row.subject.name) for row in rows)
    group = None
    for row in rows:
        if row.subject.group != group:
            group = row.subject.group
            print(f"\n{group.upper():{width}}  {'median ms':>10}  {'p10':>8}  {'p90':>8}  {'n':>3}")
        if row.failure or not row.samples:
            print(f"{row.subject.name:{width}}  failed: {row.failure}")
            continue
        assert row.median is not None
        line = f"{row.subject.name:{width}}  {row.median / 1e6:10.3f}"
        for percent in 10, 90:
            line += f"  {row.percentile(percent) / 1e6:8.3f}"
        line += f"  {len(row.samples):3}"
        if row.subject.at_most is not None:
            verdict = "met" if row.median <= row.subject.at_most * 1e6 else "MISSED"
            line += f"  (goal: <= {row.subject.at_most:g} ms, {verdict})"
        net = ", net of what both do" if row.subject.minus else ""
        for name, ratio, goal in comparisons(row, by_name):
            shown = "?" if ratio is None else f"{ratio:.2f}"
            line += f"\n{'':{width}}  {shown:>10} x {name}{net}"
            if goal is not None:
                verdict = "" if ratio is None else ", met" if ratio <= goal else ", MISSED"
                line += f" (goal: <= {goal:g}{verdict})"
        print(line)


def as_json(header: dict[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
    by_name = {row.subject.name: row for row in rows}
    return {
        "machine": header,
        "unit": "nanoseconds",
        "subjects": [
            {
                "group": row.subject.group,
                "name": row.subject.name,
                "failed": row.failure,
                "median": row.median,
                "samples": row.samples,
                "minus": row.subject.minus,
                "at_most_ms": row.subject.at_most,
                "ratios": [
                    {"against": name, "ratio": ratio, "goal": goal}
                    for name, ratio, goal in comparisons(row, by_name)
                ],
            }
            for row in rows
        ],
    }

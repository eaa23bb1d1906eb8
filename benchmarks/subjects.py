"""What is measured, and what each subject is compared with."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import external
from benchmarks.crowd import PROCESSES, Crowd
from benchmarks.floor import SOURCES, Instrument, MeasurementError

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
SIZES = {"1 kB": 1_000, "64 kB": 64_000, "1 MB": 1_000_000, "10 MB": 10_000_000, "100 MB": 10**8}
BINDS = (0, 10, 100, 1000)


@dataclass(frozen=True)
class Against:
    """A comparison: the ratio of two medians, and the ratio that the project wants to reach."""

    name: str
    goal: float | None = None


@dataclass(frozen=True)
class Subject:
    """One row.  ``every``: it takes part in each so many rounds only, since it takes long.

    ``at_most``: the milliseconds that the project wants to stay below, if it has named any.

    ``minus`` names a subject whose median is taken off before the ratio is formed (the work that
    both do), so that the rest is the cost of moving the data.
    """

    group: str
    name: str
    measure: Callable[[], int]
    every: int = 1
    against: tuple[Against, ...] = ()
    minus: str | None = None
    reason: Callable[[], str] | None = None
    at_most: float | None = None


class Bench:
    """The processes that measure, and the directories that they need (below ``scratch``)."""

    def __init__(self, floor: Path, true: Path, scratch: Path, env: Mapping[str, str]) -> None:
        self.scratch = scratch
        self.true = true
        self.env = env
        self.binds = scratch / "binds"
        self._instruments: list[Instrument] = []
        self._floor_argv = [str(floor), str(true)]
        # One process each: what memcpy and a long command line leave in the heap would be paid
        # for by every later fork (100 MB: 4 ms).
        self.floor = self.new_floor()
        self.copier = self.new_floor()
        self.spawner = self.new_floor()
        self._keeper = self.new_floor()
        self._idle_pids: dict[str, int] = {}
        self._at_end: list[Callable[[], object]] = []
        self.crowd = Crowd()

    def prepare(self) -> None:
        for number in range(max(BINDS)):
            (self.binds / f"{number:04d}").mkdir(parents=True)
        external.write_bundle(self.scratch / "bundle", self.true)

    def new_floor(self) -> Instrument:
        return self._instrument(self._floor_argv)

    def new_worker(self, hold: int = 0) -> Instrument:
        worker = str(SOURCES / "worker.py")
        return self._instrument([sys.executable, worker, "--hold", str(hold)])

    def idle_pid(self, kind: str = "idle") -> int:
        """A container that does nothing, made by the floor; excursions go there."""
        if kind not in self._idle_pids:
            self._idle_pids[kind] = self._keeper.ask(kind)
        return self._idle_pids[kind]

    def at_end(self, action: Callable[[], object]) -> None:
        """Call *action* when everything has been measured."""
        self._at_end.append(action)

    def close(self) -> None:
        for action in self._at_end:
            action()
        self.crowd.close()
        for instrument in self._instruments:
            instrument.close()

    def _instrument(self, argv: Sequence[str]) -> Instrument:
        made = Instrument(argv, cwd=self.scratch, env=self.env)
        self._instruments.append(made)
        return made


def asked(worker: Instrument, name: str, *arguments: object) -> Callable[[], int]:
    return functools.partial(worker.ask, json.dumps([name, *arguments]))


def spawned(
    bench: Bench,
    group: str,
    name: str,
    argv: Callable[[], list[str]],
    *,
    every: int = 1,
    against: tuple[Against, ...] = (),
) -> Subject:
    """A row for a whole process, started by the floor."""
    return Subject(
        group,
        name,
        lambda: bench.spawner.ask(external.spawn_line(argv())),
        every=every,
        against=against,
        reason=lambda: external.reason_of(argv(), bench.scratch, bench.env),
    )


def all_subjects(bench: Bench) -> list[Subject]:
    from benchmarks.builds import scanning  # they need what is above
    from benchmarks.limits import limits
    from benchmarks.oci import bundles

    small = bench.new_worker()
    return [
        *containers(bench, small),
        *programs(bench, small),
        *excursions(bench, small),
        *binds(bench, small),
        *data(bench, small, "bytes", copies=2, goal=1.2),
        *data(bench, bench.new_worker(), "array", copies=1, goal=1.3),
        *concurrency(bench, small),
        *processes(bench),
        *imports(bench),
        *command_lines(bench),
        *shells(bench),
        look_around(bench),
        *scanning(bench),
        *bundles(bench),
        *limits(bench),
    ]


def containers(bench: Bench, small: Instrument) -> Iterator[Subject]:
    group = "a call in a fresh container"
    yield Subject(group, "floor: bare", lambda: bench.floor.ask("bare"))
    yield Subject(group, "floor: default", lambda: bench.floor.ask("default"))
    floor = Against("floor: default", 2.0)
    call = "call_with_container"
    plain = Against("multiprocessing fork, start + join", 1.0)
    yield Subject(group, call, asked(small, "call", {}), against=(floor, plain))
    yield Subject(
        group,
        f"{call}, child_is_pid1=False",
        asked(small, "call", {"child_is_pid1": False}),
        against=(Against("floor: default", 2.8),),
    )
    for name in "NO_SYNC", "UNTRUSTED":
        yield Subject(
            group,
            f"{call}, seccomp={name}",
            asked(small, "call_filtered", name),
            against=(Against(call),),
        )
    yield Subject(group, f"{call}, SANDBOX", asked(small, "call_sandbox"), against=(Against(call),))
    for name, hold in ("256 MiB", 256 * MIB), ("1 GiB", GIB):
        yield Subject(
            group,
            f"{call}, caller holds {name}",
            held(bench, hold, "call", {}),
            against=(floor, Against(call, 1.1)),
        )


def held(bench: Bench, hold: int, name: str, *arguments: object) -> Callable[[], int]:
    """A measurement by a worker that holds so much memory, if the machine has twice as much."""
    worker = bench.new_worker(hold)

    def measure() -> int:
        if available_memory() < 2 * hold:
            raise MeasurementError(f"the machine has too little free memory to hold {hold} bytes")
        return asked(worker, name, *arguments)()

    return measure


def available_memory() -> int:
    found = re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text())
    return int(found[1]) * KIB if found else 0


def programs(bench: Bench, small: Instrument) -> Iterator[Subject]:
    group = "a program in a fresh container"
    bundle, true = bench.scratch / "bundle", bench.true
    yield Subject(group, "floor: exec", lambda: bench.floor.ask("exec"))
    goals = (Against("floor: exec", 1.5), Against("bwrap, the same mounts", 1.0))
    yield Subject(group, "run_command", asked(small, "command", str(true), {}), against=goals)
    yield Subject(
        group,
        "run_command, child_is_pid1=True",
        asked(small, "command", str(true), {"child_is_pid1": True}),
        against=goals,
    )
    yield Subject(
        group,
        "run_command, caller holds 1 GiB",
        held(bench, GIB, "command", str(true), {}),
        against=(*goals, Against("run_command", 1.1)),
    )
    against = (Against("floor: exec"),)
    for name, argv, every in (
        ("bwrap, the same mounts", lambda: external.bwrap(true), 1),
        ("bwrap, the host's root", external.bwrap_host_root, 1),
        ("unshare, no mounts of its own", lambda: external.unshare(true), 1),
        ("runc run", lambda: external.oci_runtime("runc", bundle), 5),
        ("crun run", lambda: external.oci_runtime("crun", bundle), 5),
    ):
        yield spawned(bench, group, name, argv, every=every, against=against)


def excursions(bench: Bench, small: Instrument) -> Iterator[Subject]:
    group = "an excursion into a running container"
    floor = "floor: excursion"
    # It joins one by one, the user namespace first: an ordinary user then lacks the capability
    # over the outer one, which owns the others in a locked container.
    nsenter = "nsenter, into one without the lock"

    def excursion() -> int:
        return asked(small, "excursion", bench.idle_pid())()

    yield Subject(group, floor, lambda: bench.floor.ask(f"excursion {bench.idle_pid()}"))
    yield Subject(
        group,
        "container_excursion",
        excursion,
        against=(Against(floor, 4.0), Against(nsenter)),
    )
    yield spawned(
        bench,
        group,
        nsenter,
        lambda: external.nsenter(bench.idle_pid("idle unlocked")),
        against=(Against(floor),),
    )


def binds(bench: Bench, small: Instrument) -> Iterator[Subject]:
    group = "a container with read-only binds"
    directory = str(bench.binds)
    for count in BINDS:
        every = 5 if count >= 1000 else 2
        legacy, tree = f"floor: {count} binds, mount(2)", f"floor: {count} binds, open_tree(2)"
        for name, how in (legacy, "legacy"), (tree, "tree"):
            question = f"binds {count} {how} {directory}"
            yield Subject(group, name, functools.partial(bench.floor.ask, question), every=every)
        goals = [Against(legacy, 1.3 if count >= 1000 else None), Against(tree)]
        if count >= 1000:
            goals.append(Against(f"bwrap, {count} binds", 1.0))
        yield Subject(
            group,
            f"call_with_container, {count} binds",
            asked(small, "call_binds", directory, count),
            every=every,
            against=tuple(goals),
        )
        if count >= 100:
            sources = [bench.binds / f"{number:04d}" for number in range(count)]
            yield spawned(
                bench,
                group,
                f"bwrap, {count} binds",
                functools.partial(external.bwrap, bench.true, sources),
                every=every,
                against=(Against(legacy),),
            )
    yield Subject(
        group,
        "call_with_container, 1000 binds declared in the call",
        asked(small, "declare_and_call_binds", directory, 1000),
        every=5,
        against=(Against("call_with_container, 1000 binds"),),
    )


def data(
    bench: Bench, worker: Instrument, kind: str, *, copies: int, goal: float
) -> Iterator[Subject]:
    group = f"data in and out: {kind}"
    call = f"{kind}: a call with nothing to move"
    yield Subject(group, call, asked(worker, "made", kind, 0))
    for label, size in SIZES.items():
        large = size >= 10_000_000
        every = 5 if large else 2
        floor = f"floor: {copies} x memcpy of {label}"
        against = (Against(floor, goal if size == 10**8 else None),) if large else ()
        yield Subject(
            group,
            floor,
            functools.partial(bench.copier.ask, f"memcpy {size} {copies}"),
            every=every,
        )
        made = f"{kind}: {label} made, its length returned"
        yield Subject(group, made, asked(worker, "made", kind, size), every=every)
        yield Subject(
            group,
            f"{kind}: {label} made and returned",
            asked(worker, "result", kind, size),
            every=every,
            against=against,
            minus=made,
        )
        yield Subject(
            group,
            f"{kind}: {label} sent in",
            asked(worker, "payload", kind, size),
            every=every,
            against=against,
            minus=call,
        )


def concurrency(bench: Bench, small: Instrument) -> Iterator[Subject]:
    group = "concurrent callers (time a call)"
    calls = 8
    floors = [bench.new_floor() for _ in range(4)]

    def floor_calls(count: int) -> int:
        started = time.perf_counter_ns()
        for floor in floors[:count]:
            floor.tell("\n".join(["default"] * calls))
        for floor in floors[:count]:
            floor.hear(calls)
        return (time.perf_counter_ns() - started) // (count * calls)

    for count in 1, 2, 4:
        name = f"floor: {count} at once"
        yield Subject(group, name, functools.partial(floor_calls, count), every=5)
        yield Subject(
            group,
            f"call_with_container, {count} threads",
            asked(small, "concurrent_calls", count, calls),
            every=5,
            against=(Against(name),),
        )


def processes(bench: Bench) -> Iterator[Subject]:
    group = "a process without a container"
    plain = bench.new_worker()
    yield Subject(group, "multiprocessing fork, start + join", asked(plain, "process", "fork"))
    yield Subject(
        group,
        "multiprocessing fork, caller holds 1 GiB",
        held(bench, GIB, "process", "fork"),
        every=5,
    )
    yield Subject(
        group,
        "multiprocessing forkserver, start + join",
        asked(plain, "process", "forkserver"),
        every=5,
    )


def imports(bench: Bench) -> Iterator[Subject]:
    group = "whole processes: python -c"
    base = "import attrs, cloudpickle, _cffi_backend"
    against = (Against(base, 1.2),)
    call = "from pycontainer import call_with_container as call"
    for name, code, compared in (
        ("pass", "pass", ()),
        (base, base, ()),
        ("import pycontainer", "import pycontainer", against),
        (call.removesuffix(" as call"), call.removesuffix(" as call"), against),
        ("one call, import included", f"{call}; call([], lambda: None)", ()),
    ):
        argv = [sys.executable, "-c", code]
        yield spawned(bench, group, name, functools.partial(list, argv), every=3, against=compared)


def command_lines(bench: Bench) -> Iterator[Subject]:
    group = "whole processes: the command line"
    click = "python -c 'import click'"
    program = [sys.executable, "-c", "from pycontainer.cli.main import main; main()"]
    for name, argv, compared in (
        (click, [sys.executable, "-c", "import click"], ()),
        (
            "pycontainer run ... /bin/true",
            [*program, "run", "--ro-bind", str(bench.true), "/bin/true", "/bin/true"],
            (Against(click, 1.5), Against("bwrap, the same mounts")),
        ),
        (
            "pycontainer run --host-system /bin/true",
            [*program, "run", "--host-system", "/bin/true"],
            (Against(click, 1.5),),
        ),
    ):
        made: Callable[[], list[str]] = functools.partial(list, argv)
        yield spawned(bench, group, name, made, every=3, against=compared)


def shells(bench: Bench) -> Iterator[Subject]:
    """Until the first byte of a shell's output, with its software there."""
    group = "whole processes: the command line"
    venv = bench.scratch / "venv"
    program = [sys.executable, "-c", "from pycontainer.cli.main import main; main()"]
    shell = [*program, "shell", "--venv", str(venv), "--"]
    env = {**bench.env, "XDG_CACHE_HOME": str(bench.scratch / "cache")}

    def first_byte(argv: Sequence[str]) -> int:
        if not venv.exists():
            make = [sys.executable, "-m", "venv", "--without-pip", str(venv)]
            subprocess.run(make, check=True)
        read, write = os.pipe()
        started = time.perf_counter_ns()
        with subprocess.Popen(argv, stdout=write, cwd=bench.scratch, env=env) as process:
            os.close(write)
            os.read(read, 1)  # or the end: `true` writes nothing
            taken = time.perf_counter_ns() - started
            os.close(read)
        if process.returncode != 0:
            raise MeasurementError(f"exit {process.returncode}")
        return taken

    click = [sys.executable, "-c", "import click; print()"]
    base = "python -c 'import click', times 1.3, and 10 ms"
    yield Subject(group, base, lambda: first_byte(click) * 13 // 10 + 10_000_000, every=3)
    for name, command in (("true", ["true"]), ("echo", ["echo", "out"])):
        yield Subject(
            group,
            f"pycontainer shell --venv DIR -- {name}, first byte",
            functools.partial(first_byte, [*shell, *command]),
            every=3,
            against=(Against(base, 1.0),),
        )


def look_around(bench: Bench) -> Subject:
    program = [sys.executable, "-c", "from pycontainer.cli.main import main; main()", "ps"]

    def measure() -> int:
        bench.crowd.gather()
        return bench.spawner.ask(external.spawn_line(program))

    return Subject(
        "whole processes: the command line",
        f"pycontainer ps, {PROCESSES} processes",
        measure,
        every=3,
        at_most=300,
        reason=lambda: external.reason_of(program, bench.scratch, bench.env),
    )


def environment(root: Path, *, installed: bool) -> dict[str, str]:
    """What everything is started with: the sources stand in for a missing installation."""
    env = dict(os.environ)
    if not installed:
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), env.get("PYTHONPATH")]))
    return env

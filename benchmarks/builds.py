"""Hashing and searching what a build has made, beside a program that only hashes it."""

from __future__ import annotations

import functools
import shutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from benchmarks import external
from benchmarks.subjects import Against, Bench, Subject, asked

MIB = 1 << 20
NEEDLES = (0, 1, 10, 100)


def scanning(bench: Bench) -> Iterator[Subject]:
    """The project wants half the speed of sha256sum: twice its time at most."""
    group = "hashing and searching outputs"
    path = bench.scratch / "output"
    worker = bench.new_worker()

    def ready(measure: functools.partial[int]) -> int:
        if not path.exists():
            make_output(path)
            shutil.copyfile(path, "/dev/null")  # into the page cache
        return measure()

    program = "sha256sum, 128 MiB"
    spawn = functools.partial(
        lambda: bench.spawner.ask(external.spawn_line(["sha256sum", str(path)]))
    )
    yield Subject(group, program, functools.partial(ready, spawn), every=3)
    for count in NEEDLES:
        scan = functools.partial(asked(worker, "scan", str(path), count))
        yield Subject(
            group,
            f"scan, 128 MiB for {count} needles",
            functools.partial(ready, scan),
            every=3,
            against=(Against(program, 2.0),),
        )


def make_output(path: Path, size: int = 128 * MIB) -> None:
    """A file like what builds make: the programs and texts of Python's own library."""
    library = Path(sysconfig.get_path("stdlib"))
    with path.open("wb") as file:
        while file.tell() < size:
            for source in sorted(library.rglob("*.*")):
                if source.suffix in (".py", ".so", ".pyc") and file.tell() < size:
                    file.write(source.read_bytes()[: size - file.tell()])

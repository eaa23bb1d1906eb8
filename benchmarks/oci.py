"""OCI bundles: writing one, and running it here and by the runtimes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.floor import MeasurementError
from benchmarks.subjects import Against, Bench, Subject, asked


def bundles(bench: Bench) -> Iterator[Subject]:
    """The project wants a bundle in a millisecond, and a fifth of runc's time."""
    group = "OCI bundles"
    worker = bench.new_worker()
    # In memory: what a disk takes to make directories is the disk's.
    place = Path(tempfile.mkdtemp(prefix="bench-oci-", dir="/dev/shm"))
    place.chmod(0o755)
    bench.at_end(lambda: shutil.rmtree(place, ignore_errors=True))
    yield Subject(
        group,
        "to_spec + write_bundle, default",
        asked(worker, "write_oci_bundle", str(place), ""),
        at_most=1.0,
    )
    yield Subject(
        group,
        "to_spec + write_bundle, SANDBOX",
        asked(worker, "write_oci_bundle", str(place), "SANDBOX"),
    )

    def by(runtime: str) -> Callable[[], int]:
        measure = asked(worker, "run_oci_bundle", str(place), str(bench.true), runtime)

        def measured() -> int:
            if runtime != "native" and shutil.which(runtime) is None:
                raise MeasurementError(f"{runtime} is not installed")
            return measure()

        return measured

    for runtime in ("runc", "crun"):
        yield Subject(group, f"run_bundle /true, {runtime}", by(runtime), every=3)
    yield Subject(
        group,
        "run_bundle /true, native",
        by("native"),
        against=(Against("run_bundle /true, runc", 0.2), Against("run_bundle /true, crun")),
    )

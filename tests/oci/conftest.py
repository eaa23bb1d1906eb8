"""The probe, compiled once; and the runtimes."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def probe() -> Iterator[Path]:
    """A static program that says what a container looks like from inside."""
    folder = Path(tempfile.mkdtemp(prefix="pytest-oci-"))
    folder.chmod(0o755)
    source = Path(__file__).with_name("probe.c")
    subprocess.run(
        ["gcc", "-static", "-O1", "-Wall", "-Wextra", "-Werror", "-o", folder / "probe", source],
        check=True,
    )
    (folder / "probe").chmod(0o755)
    yield folder / "probe"
    shutil.rmtree(folder)


@pytest.fixture(params=["runc", "crun"])
def runtime(request: pytest.FixtureRequest) -> str:
    """Each of the runtimes; one that is not installed is skipped."""
    name: str = request.param
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    return name

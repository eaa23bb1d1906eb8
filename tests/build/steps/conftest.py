"""A root file system for steps, with the host's programs; and steps that run there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pycontainer import bind
from pycontainer.build import Step, run_step
from pycontainer.launch.results import Completed

ENV = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}


@pytest.fixture(params=["native", "runc", "crun"])
def runtime(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root file system without programs of its own: each step binds the host's /usr."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    made = private / "root"
    for name in ("proc", "dev", "sys", "etc", "tmp", "usr"):
        (made / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (made / name).symlink_to(f"usr/{name}")
    (made / "tmp").chmod(0o777)
    return made


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The directory of runs."""
    return tmp_path / "state"


def shell(script: str, **fields: Any) -> Step:
    """A step that runs a shell script."""
    mounts = (bind("/usr"), *fields.pop("mounts", ()))
    return Step(["/bin/sh", "-c", script], mounts=mounts, env=ENV, **fields)


@pytest.fixture
def run(root: Path, state: Path, runtime: str) -> Callable[..., tuple[Completed[None], str]]:
    """Run a script in the root; how it ended, and its output."""

    def go(script: str, **fields: Any) -> tuple[Completed[None], str]:
        log: list[bytes] = []
        done = run_step(
            root,
            shell(script, **fields),
            runtime=runtime,  # type: ignore[arg-type]
            log=log.append,
            state=state,
        )
        return done, b"".join(log).decode()

    return go

"""Row 40: a quiet downgrade.

Where the kernel or the caller's rights lack something a wall would be missing, and nobody would
know.  What was asked for and cannot be had is an error; who wants to go on without it says so, and
is told what was held and what was not.
"""

from __future__ import annotations

import errno
from typing import Any

import pytest

from pycontainer import (
    DEVNULL,
    NAMESPACES,
    Limits,
    SetupError,
    call_with_container,
    run_container,
)
from pycontainer.launch import limits as launch_limits

UNAVAILABLE: dict[str, Any] = {
    "cpu_affinity": {"cpu_affinity": [0, 32000]},
    "cpus": {"cpus": 0.5},
    "output": {"output": 100},
}


@pytest.fixture(autouse=True)
def no_cgroups(monkeypatch):
    """As where none may be made."""
    monkeypatch.setattr(launch_limits, "hierarchies", lambda before: {})


@pytest.mark.parametrize("name", UNAVAILABLE)
def test_asking_for_the_unavailable_raises(name):
    limits = Limits(**UNAVAILABLE[name])
    with pytest.raises(SetupError, match=f"{name}= cannot be held: ") as caught:
        call_with_container([], lambda: 5, limits=limits)
    assert caught.value.errno == errno.EOPNOTSUPP
    assert caught.value.__notes__


@pytest.mark.parametrize("name", UNAVAILABLE)
def test_going_on_without_it_is_said(name):
    limits = Limits(**UNAVAILABLE[name], memory="200m", strict=False)
    completed = run_container([], lambda: 5, limits=limits, stdin=DEVNULL)
    assert completed.result() == 5
    assert completed.enforced[name].startswith("not held: ")
    assert not completed.enforced["memory"].startswith("not held: ")


@pytest.mark.is_root
def test_processes_of_real_root():
    """The kernel exempts it from RLIMIT_NPROC."""
    names = NAMESPACES - {"user"}
    with pytest.raises(SetupError, match="processes= cannot be held: "):
        call_with_container([], lambda: 5, namespaces=names, limits=Limits(processes=5))


def test_all_that_was_asked_for_is_reported():
    limits = Limits(
        cpu_time=5, wall_time=50, memory="300m", stack="8m", processes=9, open_files=30,
        file_size="1m", cpu_affinity=[0], output=100,
    )  # fmt: skip
    completed = run_container([], lambda: 5, limits=limits, capture_output=True)
    assert set(completed.enforced) == {
        "cpu_time", "wall_time", "memory", "stack", "processes", "open_files", "file_size",
        "cpu_affinity", "output",
    }  # fmt: skip
    assert completed.result() == 5

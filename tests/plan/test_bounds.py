"""The steps of limits: in the phase "start", and in words."""

from __future__ import annotations

import pytest

from pycontainer import Limits
from pycontainer._native import lib
from pycontainer.declare.container import Container
from pycontainer.plan import bounds
from pycontainer.plan.compile import compile, explain
from pycontainer.plan.steps import Op


def start_steps(container):
    plan = compile(container)
    return [step for step in plan.steps[plan.start :] if step.op is not Op.INSTALL_FILTER]


def test_cores_are_always_off():
    (core,) = start_steps(Container())
    assert core.op is Op.SET_LIMIT
    assert core.path == "core"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"cpu_time": 1.0}, "bound RLIMIT_CPU of each process: 2"),
        ({"cpu_time": 0.5}, "bound RLIMIT_CPU of each process: 1"),
        ({"stack": "8m"}, "bound RLIMIT_STACK of each process: 8388608"),
        ({"stack": "unlimited"}, "bound RLIMIT_STACK of each process: no bound"),
        ({"processes": 7}, "bound RLIMIT_NPROC of each process: 7"),
        ({"open_files": 9}, "bound RLIMIT_NOFILE of each process: 9"),
        ({"file_size": 1}, "bound RLIMIT_FSIZE of each process: 1"),
        ({"cpu_affinity": [3, 0]}, "run on the processors 0,3 alone"),
    ],
)
def test_steps_in_words(fields, words):
    container = Container(limits=Limits(**fields))
    steps = start_steps(container)
    assert len(steps) == 2
    assert steps[1].describe() == words
    assert words in explain(container).partition("\nstart\n")[2]


def test_what_the_watch_and_the_cgroup_hold_needs_no_step():
    limits = Limits(wall_time=1, memory="1g", cpus=0.5, output=10)
    assert start_steps(Container(limits=limits)) == start_steps(Container())


def test_processors_are_whole_longs():
    step = start_steps(Container(limits=Limits(cpu_affinity=[0, 64])))[1]
    assert step.content == (1 | 1 << 64).to_bytes(16, "little")


def test_numbers_are_the_helpers():
    names = {
        "cpu": "CPU", "fsize": "FILE_SIZE", "data": "DATA", "stack": "STACK", "core": "CORE",
        "nproc": "PROCESSES", "nofile": "OPEN_FILES", "as": "ADDRESS_SPACE",
    }  # fmt: skip
    assert {ours: getattr(lib, f"PC_LIMIT_{c}") for ours, c in names.items()} == bounds._NUMBERS

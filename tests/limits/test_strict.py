"""A limit that cannot be held is an error that names it, unless the caller says otherwise."""

from __future__ import annotations

import errno
import resource

import pytest

from pycontainer import NAMESPACES, Limits, SetupError, Verdict, run_container
from pycontainer.launch import limits as held


@pytest.fixture
def no_cgroups(monkeypatch):
    monkeypatch.setattr(held, "hierarchies", lambda before: {})


def run(namespaces=NAMESPACES, **fields):
    return run_container([], lambda: 1, namespaces=namespaces, limits=Limits(**fields))


def test_a_quota_takes_a_cgroup(no_cgroups):
    with pytest.raises(SetupError, match="cpus= cannot be held: it takes a cgroup") as caught:
        run(cpus=0.5)
    assert caught.value.errno == errno.EOPNOTSUPP
    assert any("strict=False" in note for note in caught.value.__notes__)
    completed = run(cpus=0.5, memory="100m", strict=False)
    assert completed.result() == 1
    assert completed.enforced["cpus"].startswith("not held: it takes a cgroup")
    assert completed.enforced["memory"].startswith("the memory of its processes, looked at")


@pytest.mark.is_root
def test_processes_of_real_root(no_cgroups):
    with pytest.raises(SetupError, match="processes= cannot be held"):
        run(NAMESPACES - {"user"}, processes=5)


@pytest.mark.is_root
def test_processes_of_real_root_in_a_cgroup():
    completed = run(NAMESPACES - {"user"}, processes=5)
    assert completed.enforced["processes"].startswith("cgroup")


def test_processors_that_are_not_there():
    with pytest.raises(SetupError, match="this machine has no processor 30000"):
        run(cpu_affinity=[0, 30000])
    completed = run(cpu_affinity=[0, 30000], strict=False)
    assert completed.enforced["cpu_affinity"].startswith("not held")


def test_a_stack_above_the_callers(run_in_fork):
    def attempt():
        resource.setrlimit(resource.RLIMIT_STACK, (8 << 20, 8 << 20))
        with pytest.raises(SetupError, match="stack= cannot be held: the caller's own hard limit"):
            run(stack="16m")
        assert run(stack="8m").verdict is Verdict.OK

    run_in_fork(attempt)


def test_without_cgroups_the_verdicts_are_the_same(no_cgroups):
    def allocate():
        return len(bytearray(b"x" * (300 << 20)))

    def burn():
        while True:
            pass

    limits = Limits(memory="100m", wall_time=30)
    completed = run_container([], allocate, limits=limits)
    assert completed.verdict is Verdict.MEMORY
    assert completed.usage.max_rss > 100 << 20
    completed = run_container([], burn, limits=Limits(cpu_time=0.5, wall_time=30))
    assert completed.verdict is Verdict.CPU_TIME

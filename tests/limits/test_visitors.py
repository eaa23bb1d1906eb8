"""Visitors of a container with limits are in its cgroups: what they use is the container's."""

from __future__ import annotations

import pytest

from pycontainer import (
    PIPE,
    ContainerExitError,
    Limits,
    Verdict,
    container_excursion,
    exec_command,
    host_system,
    start_command,
)
from pycontainer.launch.hierarchies import hierarchies


@pytest.fixture
def container():
    limits = Limits(memory="100m", processes=50, wall_time=60)
    with start_command([host_system()], ["sleep", "60"], limits=limits) as running:
        yield running
        running.kill()


def both():
    """The visitor's cgroups and those of process 1, as the container sees them."""
    found = []
    for name in ("self", "1"):
        with open(f"/proc/{name}/cgroup") as file:
            found.append(file.read())
    return found


def allocate():
    return len(bytearray(b"x") * (200 << 20))


def test_an_excursion(container):
    mine, theirs = container_excursion(container, both)
    assert mine == theirs
    assert container_excursion(container.pid, both) == [mine, theirs]


def test_a_program(container):
    words = ["cat", "/proc/self/cgroup", "/proc/1/cgroup"]
    said = exec_command(container, words, stdout=PIPE).stdout
    assert said[: len(said) // 2] == said[len(said) // 2 :]


def test_an_excursion_into_the_network_alone(container):
    """It sees the host's processes, and does not end with the container."""
    mine, theirs = container_excursion(container, both, namespaces={"net"})
    assert "/pycontainer." not in mine
    del theirs


def test_memory(container):
    if "memory" not in hierarchies(str):  # then it is the caller's
        assert container_excursion(container, allocate) == 200 << 20
        return
    with pytest.raises(ContainerExitError):
        container_excursion(container, allocate)
    assert container.wait(30).verdict is Verdict.MEMORY

"""Row 8: the interpreter is overwritten by the container that it joins (runc CVE-2019-5736).

/proc/PID/exe of a process that has joined leads to a program of the host.  A container that opens
it for writing, at once or when the process has ended, owns the host.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time

from pycontainer import ContainerExitError, container_excursion, start_container, symlink

EXE = {"exe to write", "exe to read", "exe by path", "exe's name", "mode of exe"}


def wait(running):
    """Until the attacker is ready."""
    while not container_excursion(running, lambda: os.path.exists("/tmp/ready")):
        time.sleep(0.01)


def stop(running):
    # A container takes its visitors along when it ends, and this visit is the reason.
    with contextlib.suppress(ContainerExitError):
        container_excursion(running, lambda: os.close(os.open("/tmp/stop", os.O_CREAT)))


def test_joiner(attacker, interpreter_intact):
    with start_container([], attacker) as running:
        wait(running)
        for _ in range(30):
            # Some pass quickly, most stay to be attacked.
            container_excursion(running, lambda: time.sleep(0.01), preload=["time"])
        stop(running)
        seen, worked = running.result(timeout=20)
    assert seen >= 8  # else nothing was tried; a busy machine leaves little time
    assert EXE.isdisjoint(worked)


def test_program_of_the_joiner_is_the_containers(attacker, interpreter_intact):
    """The trick that made runc execute itself: the container's program is "/proc/self/exe".

    An excursion executes nothing, whatever lies where the interpreter is.
    """
    mounts = [symlink(os.path.realpath(sys.executable), "/proc/self/exe")]
    with start_container(mounts, attacker) as running:
        wait(running)
        for _ in range(5):
            container_excursion(running, lambda: time.sleep(0.01), preload=["time"])
        stop(running)
        assert EXE.isdisjoint(running.result(timeout=20)[1])

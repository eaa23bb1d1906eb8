"""Containers inside containers, and the library as a program inside one uses it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pycontainer
from pycontainer import (
    bind,
    call_with_container,
    host_python,
    host_system,
    proc,
    start_container,
    tmpfs,
)

ROOT = str(Path(pycontainer.__file__).parents[1])


def inside():
    """What a function needs to start containers itself: Python and this package."""
    return [host_system(), host_python(path=[ROOT])]


def ids():
    return os.getpid(), os.getuid(), os.uname().nodename


@pytest.mark.parametrize("pid1", [True, False])
def test_call_inside_a_call(pid1):
    def fn():
        from pycontainer import call_with_container

        return call_with_container([], ids, hostname="inner"), ids()

    found = call_with_container(inside(), fn, hostname="outer", child_is_pid1=pid1, timeout=30)
    assert found == ((1, 0, "inner"), (1 if pid1 else 2, 0, "outer"))


def test_call_inside_a_call_by_fork():
    def fn():
        from pycontainer import call_with_container

        return call_with_container([], ids, hostname="inner", start_method="fork")

    assert call_with_container(inside(), fn, timeout=30) == (1, 0, "inner")


def test_three_deep():
    views = inside()

    def innermost():
        from pycontainer import call_with_container

        return call_with_container([], ids, hostname="third")

    def fn():
        from pycontainer import call_with_container

        return call_with_container(views, innermost, hostname="second")

    assert call_with_container(views, fn, timeout=40) == (1, 0, "third")


def test_bind_from_the_outer_container(tmp_path):
    (tmp_path / "note").write_text("from the host")

    def fn():
        from pycontainer import bind, call_with_container

        return call_with_container(
            [bind("/data", "/again")], lambda: Path("/again/note").read_text()
        )

    assert call_with_container([*inside(), bind(tmp_path, "/data")], fn, timeout=30) == (
        "from the host"
    )


def test_excursion_inside():
    def fn():
        from pycontainer import container_excursion, start_container

        with start_container([], hostname="inner") as running:
            return container_excursion(running, lambda: os.uname().nodename)

    assert call_with_container(inside(), fn, timeout=30) == "inner"


def test_error_inside_crosses_both():
    def fn():
        from pycontainer import call_with_container

        return call_with_container([], lambda: 1 // 0)

    with pytest.raises(ZeroDivisionError):
        call_with_container(inside(), fn, timeout=30)


def test_guest_that_is_not_root():
    def fn():
        from pycontainer import call_with_container

        return call_with_container([], ids, guest_uid=7), os.getuid()

    found = call_with_container(inside(), fn, guest_uid=1000, guest_gid=1000, timeout=30)
    assert found == ((1, 7, "localhost"), 1000)


def test_nothing_of_the_caller_is_shown_by_nesting():
    """A container in an excursion's target cannot be reached from a sibling."""

    def fn():
        return sorted(n for n in os.listdir("/proc") if n.isdigit())

    with start_container([tmpfs("/mnt")]):
        assert call_with_container([], fn) == ["1"]


def test_where_proc_is_masked():
    """As in Docker: a container there must do without a new /proc, and is told so."""

    def fn():
        from pycontainer import SetupError, call_with_container

        try:
            return call_with_container([], ids)
        except SetupError as error:
            return error.errno, str(error), error.__notes__

    masked = [*inside(), proc(), tmpfs("/proc/irq")]
    number, message, notes = call_with_container(masked, fn, timeout=30)
    assert number == 1
    assert "/proc" in message
    assert "masked" in notes[0]


def test_program_inside():
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import os, pycontainer\n"
        "print(pycontainer.call_with_container([], os.getpid))\n"
    )

    def fn():
        done = subprocess.run(
            [sys.executable, "-B", "-c", program, ROOT], capture_output=True, text=True, check=False
        )
        return done.stdout, done.stderr

    executable = sys.executable

    def with_executable():
        sys.executable = executable
        return fn()

    out, err = call_with_container(inside(), with_executable, preload=["subprocess"], timeout=30)
    assert out == "1\n", err

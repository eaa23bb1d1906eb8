"""Row 43: the helper's control socket in a container.

Who holds it orders containers of the helper without any wall.  It is closed before anything of the
function is loaded, in every kind of child.
"""

from __future__ import annotations

import importlib
import os
import sys
import textwrap
from pathlib import Path

import pytest

from pycontainer import call_with_container, container_excursion, start_container
from pycontainer._native import lib
from pycontainer.launch import forkserver as forkservers

STDLIB = lib.PC_FD_STDLIB


def descriptors(process="self"):
    """What is open: number → what it is."""
    found = {}
    for name in os.listdir(f"/proc/{process}/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/{process}/fd/{name}")
        except OSError:
            pass  # the one of the listing itself
    return found


def helpers_sockets():
    """The sockets that the helper process holds, before a call hands it others."""
    server = forkservers.forkserver()
    return {what for what in descriptors(server.pid).values() if what.startswith("socket")}


@pytest.fixture
def control():
    call_with_container([], lambda: None, timeout=20)
    sockets = helpers_sockets()
    assert sockets, "the helper has a control socket"
    return sockets


@pytest.fixture
def loading_module(tmp_path, monkeypatch):
    """A module that notes what is open while it is imported, in the child that loads fn."""
    (tmp_path / "noted_while_loading.py").write_text(
        textwrap.dedent(
            """
            import os, sys, threading
            noted = {}
            for name in os.listdir("/proc/self/fd"):
                try:
                    noted[int(name)] = os.readlink(f"/proc/self/fd/{name}")
                except OSError:
                    pass
            if "start a thread" in os.environ:
                threading.Thread(target=threading.Event().wait, daemon=True).start()
            """
        )
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("noted_while_loading")  # what is loaded here is loaded there
    yield
    sys.modules.pop("noted_while_loading", None)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"child_is_pid1": False},
        {"start_method": "fork"},
        {"preload": ("ctypes",)},
        {"process_spawned_hook": lambda running: None},
        {"populate_filesystem": lambda: None},
    ],
    ids=lambda options: next(iter(options), "default"),
)
def test_in_the_function(control, options):
    for _ in range(3):  # a spare child too, which is cloned ahead of its order
        seen = call_with_container([], descriptors, timeout=20, **options)
        assert set(seen) - {STDLIB} == {0, 1, 2, 3}, seen
        assert seen.get(STDLIB, "/") == "/"
        assert not control & set(seen.values())


@pytest.mark.parametrize("threaded", [False, True])
def test_while_the_function_is_loaded(control, loading_module, threaded):
    def fn():
        import noted_while_loading  # type: ignore[import-not-found]

        return noted_while_loading.noted

    env = {"start a thread": "1"} if threaded else {}
    for _ in range(3):
        seen = call_with_container([], fn, env=env, timeout=20)
        assert 3 in seen
        assert not control & set(seen.values()), (seen, control)
        sockets = {number for number, what in seen.items() if what.startswith("socket")}
        # The call's own; a loader supervises its container and reports on one of its own.
        assert sockets - {0, 1, 2} <= {3, 4}, seen
        if not threaded:
            assert 4 not in sockets, seen


def test_in_an_excursion(control):
    with start_container([]) as running:
        for _ in range(3):
            seen = container_excursion(running, descriptors, timeout=20)
            assert set(seen) - {STDLIB} == {0, 1, 2, 3}, seen
            assert seen.get(STDLIB, "/") == "/"
            assert not control & set(seen.values())


@pytest.mark.is_root
def test_in_the_inits(control):
    """Root can look at them from outside, although they are not dumpable."""
    with start_container([]) as running:
        assert not control & set(descriptors(running.pid).values())
    with start_container([], lambda: os.read(0, 1), stdin=-1, child_is_pid1=False) as running:
        tasks = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        for pid in (running.pid, *tasks):
            assert not control & set(descriptors(pid).values())
        assert running.stdin is not None
        running.stdin.write(b"x")


def test_nobody_listens_on_the_calls_socket(control):
    """What the container says there goes to the caller and no further."""
    from pycontainer import ContainerError
    from pycontainer.launch.protocol import pack_order

    order = pack_order(0, 0)

    def fn():
        import socket

        with socket.socket(fileno=os.dup(3)) as call:
            socket.send_fds(call, [order], [0, 1, 2, 3, 3, 0])
        return 1

    server = forkservers.forkserver()
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
    before = len(children.read_text().split())
    try:
        call_with_container([], fn, timeout=20)
    except ContainerError:
        pass
    assert len(children.read_text().split()) <= before + 1  # a spare

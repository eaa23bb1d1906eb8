"""Row 35: the environment (crun CVE-2026-30892).

Secrets live in environments, and LD_* and PYTHON* are orders to whoever reads them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from pycontainer import (
    PIPE,
    Limits,
    call_with_container,
    container_excursion,
    exec_command,
    host_system,
    run_command,
    start_container,
)


@pytest.fixture
def secret(monkeypatch):
    variables = {
        "SECRET": "hunter2",
        "LD_PRELOAD": "",
        "LD_AUDIT": "",
        "PYTHONSTARTUP": "/nowhere",
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "GLIBC_TUNABLES": "",
        "HOME": "/nowhere",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return "hunter2"


def environment():
    """As Python has it, as C has it, and as /proc shows it."""
    import ctypes

    ctypes.CDLL(None).getenv.restype = ctypes.c_char_p
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_char_p
    seen = {}
    for name in ("self", "1"):
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                seen[name] = file.read()
        except PermissionError:
            seen[name] = b""  # an init is not dumpable
    return dict(os.environ), getenv(b"SECRET"), getenv(b"LD_PRELOAD"), seen


@pytest.mark.parametrize("pid1", [True, False])
def test_nothing_is_inherited(secret, pid1):
    variables, of_c, preload, seen = call_with_container(
        [], environment, preload=("ctypes",), child_is_pid1=pid1, timeout=20
    )
    assert variables == {}
    assert of_c is None
    assert preload is None
    for memory in seen.values():
        assert secret.encode() not in memory
        assert b"PYTHON" not in memory


def test_what_is_given_is_all(secret):
    given = {"A": "b", "LD_PRELOAD": "", "ÜML": "äut"}
    variables, *_ = call_with_container([], environment, env=given, preload=("ctypes",), timeout=20)
    assert variables == given


def test_forked(secret):
    """A forked child has the caller's memory, but neither it nor a program of it the variables."""
    import ctypes  # the child has what is loaded here

    def fn():
        getenv = ctypes.CDLL(None).getenv
        getenv.restype = ctypes.c_char_p
        return dict(os.environ), getenv(b"SECRET")

    assert call_with_container([], fn, start_method="fork", timeout=20) == ({}, None)


def test_helper_that_was_started_with_secrets():
    """The helper itself does not hold them: a container could read them there."""
    script = """
        import os
        from pycontainer import call_with_container, host_python
        from pycontainer.launch.forkserver import forkserver

        def fn():
            found = []
            for name in os.listdir("/proc"):
                if name.isdigit():
                    with open(f"/proc/{name}/environ", "rb") as file:
                        found.append(file.read())
            return b"".join(found)

        assert b"hunter2" not in call_with_container([], fn, timeout=20)
        with open(f"/proc/{forkserver().pid}/environ", "rb") as file:
            assert b"hunter2" not in file.read()
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=os.environ | {"SECRET": "hunter2", "LD_SECRET": "hunter2", "PYTHONSECRET": "hunter2"},
        check=True,
        timeout=30,
    )


def test_excursion(secret):
    with start_container([], env={"OF": "the container"}) as running:
        variables, of_c, _, seen = container_excursion(
            running, environment, env={"MINE": "x"}, preload=("ctypes",), timeout=20
        )
        assert variables == {"MINE": "x"}
        assert of_c is None
        assert secret.encode() not in b"".join(seen.values())


LOOK = ["cat", "/proc/1/cmdline", "/proc/1/comm"]


@pytest.mark.parametrize("options", [{}, {"limits": Limits(wall_time=60)}], ids=["", "limits"])
def test_what_the_init_of_a_program_shows(secret, options):
    """It is a copy of the helper, or of the caller, whose arguments tell of the caller's files."""
    for _ in range(2):  # the second is a spare
        shown = run_command(host_system(), LOOK, stdout=PIPE, **options).stdout
        assert set(shown.replace(b"\0", b"\n").split()) == {b"container-init"}


def test_what_an_idle_init_shows(secret):
    for _ in range(2):
        with start_container(host_system()) as running:
            shown = exec_command(running, LOOK, stdout=PIPE).stdout
            assert set(shown.replace(b"\0", b"\n").split()) == {b"container-init"}

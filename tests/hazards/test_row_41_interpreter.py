"""Row 41: the interpreter through /proc/self/exe.

A process owns the program that it runs if its user does: without any bind, ``chmod 4777
/proc/self/exe`` in a container made the user's own python setuid and writable for all.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import textwrap
import venv
from pathlib import Path

import pytest

SCRIPT = """
    import ctypes, errno, json, os, sys
    from pycontainer import call_with_container, container_excursion, start_container

    how, options = sys.argv[1], json.loads(sys.argv[2])

    def fn():
        exe = "/proc/self/exe"
        said = {}

        def say(name, act):
            try:
                act()
                said[name] = "done"
            except OSError as error:
                said[name] = errno.errorcode[error.errno]

        paths = [exe, "/proc/1/exe"] + [
            f"/proc/self/map_files/{name}" for name in _names("/proc/self/map_files")
        ] + [f"/proc/self/fd/{name}" for name in _names("/proc/self/fd") if int(name) > 3]
        for path in paths:
            for mode in (0o4777, 0o777):
                say(f"chmod {path}", lambda: os.chmod(path, mode))
            say(f"truncate {path}", lambda: os.truncate(path, 0))
            for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND):
                say(f"open {path}", lambda: os.open(path, flags))
            say(f"utime {path}", lambda: os.utime(path))
            say(f"setxattr {path}", lambda: os.setxattr(path, "user.x", b"x"))
            say(f"chown {path}", lambda: os.chown(path, os.getuid(), os.getgid()))
        try:
            fd = os.open(exe, os.O_RDONLY)
        except OSError:
            pass  # an owner alone may read it
        else:
            say("fchmod", lambda: os.fchmod(fd, 0o4777))
            say("ftruncate", lambda: os.ftruncate(fd, 0))
            say("reopen", lambda: os.open(f"/proc/self/fd/{fd}", os.O_WRONLY))
        return said

    def _names(directory):
        try:
            return [name for name in os.listdir(directory) if name.isdigit() or "-" in name]
        except OSError:
            return []

    if how == "excursion":
        with start_container([], **options) as running:
            said = container_excursion(running, fn, timeout=20)
    else:
        if how == "preload":
            options["preload"] = ["ctypes"]
        said = call_with_container([], fn, timeout=20, **options)
    print(json.dumps(said))
"""

OPTIONS = [
    {},
    {"child_is_pid1": False},
    {"lock_mounts": False},
    {"guest_uid": 1000, "guest_gid": 1000},
    pytest.param({"host_uid_start": 0, "host_gid_start": 0}, marks=pytest.mark.is_root),
]


@pytest.fixture(scope="module")
def own_python(tmp_path_factory):
    """A copy of the interpreter that belongs to this user, in a virtual environment."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, symlinks=False, with_pip=False)
    for parent in (folder, *folder.parents):
        if parent.stat().st_uid == os.geteuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o055)
    program = Path(os.path.realpath(folder / "bin" / "python"))
    assert not program.is_symlink()
    assert program.is_relative_to(os.path.realpath(folder))
    assert program.stat().st_uid == os.geteuid()
    return program


def state(program):
    return hashlib.sha256(program.read_bytes()).hexdigest(), program.stat().st_mode


def run(program, how, options):
    # Ours is another prefix: the packages come from the one that runs the tests.
    path = os.pathsep.join(one for one in sys.path if one)
    ran = subprocess.run(
        [str(program), "-c", textwrap.dedent(SCRIPT), how, json.dumps(options)],
        env=os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize("how", ["call", "preload", "excursion"])
@pytest.mark.parametrize("options", OPTIONS)
def test_interpreter_of_the_user(own_python, how, options):
    before = state(own_python)
    said = run(own_python, how, options)
    assert state(own_python) == before
    assert "done" not in said.values(), said
    mine = {name: error for name, error in said.items() if "/proc/self/exe" in name}
    assert mine
    # As somebody else root's container may not even ask; an owner is told why.
    allowed = {"EROFS", "ETXTBSY", "EACCES", "EPERM"}
    assert set(mine.values()) <= allowed, mine
    if how != "excursion" and (os.geteuid() or "host_uid_start" in options):
        for name in ("chmod", "truncate", "open"):
            assert mine[f"{name} /proc/self/exe"] in ("EROFS", "ETXTBSY"), mine


def test_interpreter_that_runs_the_tests():
    program = Path(os.path.realpath(sys.executable))
    before = state(program)
    said = run(program, "call", {})
    assert state(program) == before
    assert "done" not in said.values(), said

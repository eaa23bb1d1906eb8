"""What several rows' tests share: a host that must stay as it is, callers that are programs of
their own, and a process that attacks whoever joins its container.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Minutes, and of use only when a wall or its tests have changed.
collect_ignore = [] if os.environ.get("PYCONTAINER_WEAKENED") else ["test_weakened.py"]


def snapshot(top: Path) -> dict[str, tuple[Any, ...]]:
    """Names, kinds, owners, modes, link targets and contents of a directory and all below it."""
    found = {}
    for parent, directories, files in os.walk(top):
        for name in (".", *directories, *files):
            path = Path(parent, name)
            status = path.lstat()
            content: object = None
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(status.st_mode):
                content = path.read_bytes()
            found[str(path)] = (status.st_mode, status.st_uid, status.st_gid, content)
    return found


@pytest.fixture
def victim(tmp_path):
    """A directory of the host, with a directory and a file in it, that must not change."""
    directory = tmp_path / "victim"
    (directory / "x").mkdir(parents=True)
    (directory / "f").write_text("of the host")
    before = snapshot(directory)
    yield directory
    assert snapshot(directory) == before


@pytest.fixture
def run_program(tmp_path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python text as a program of its own, with this package: a caller with its own state."""

    def run(
        text: str, *arguments: str, before: tuple[str, ...] = (), timeout: float = 40
    ) -> subprocess.CompletedProcess[str]:
        import pycontainer

        program = tmp_path / "program.py"
        program.write_text(textwrap.dedent(text))
        root = str(Path(pycontainer.__file__).parents[1])
        # A caller whose output is not buffered has nothing to write twice.
        environment = {key: os.environ[key] for key in os.environ if key != "PYTHONUNBUFFERED"}
        return subprocess.run(
            [*before, sys.executable, str(program), *arguments],
            env=environment | {"PYTHONPATH": root, "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture
def interpreter_intact():
    """The interpreter's file has the same bytes and the same mode afterwards."""
    path = Path(os.path.realpath(sys.executable))

    def look():
        status = path.stat()
        return (
            status.st_mode,
            status.st_uid,
            status.st_gid,
            status.st_ino,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )

    before = look()
    yield
    assert look() == before


def attack() -> tuple[int, list[str]]:
    """In a container: try to take over every process that appears, until /tmp/stop is there.

    Returns how many there were, and what worked.
    """
    import ctypes
    import os
    import time

    libc = ctypes.CDLL(None, use_errno=True)
    seize, pidfd_getfd = 0x4206, 438
    buffer = ctypes.create_string_buffer(64)
    vector = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 64)

    def opened(path, flags):
        os.close(os.open(path, flags))
        return True

    def changed_mode(pid):
        os.chmod(f"/proc/{pid}/exe", 0o755)
        return True

    def seized(pid):
        return libc.ptrace(seize, pid, None, None) == 0

    def read_memory(pid):
        # Any address tells: EFAULT comes after the permission.
        return libc.process_vm_readv(pid, vector, 1, vector, 1, 0) >= 0 or ctypes.get_errno() == 14

    def written_memory(pid):
        return libc.process_vm_writev(pid, vector, 1, vector, 1, 0) >= 0 or ctypes.get_errno() == 14

    def taken_descriptor(pid):
        pidfd = os.pidfd_open(pid)
        taken = [libc.syscall(pidfd_getfd, pidfd, fd, 0) for fd in range(8)]
        os.close(pidfd)
        return any(fd >= 0 for fd in taken)

    attempts = {
        "exe to write": lambda pid: opened(f"/proc/{pid}/exe", os.O_WRONLY),
        "exe to read": lambda pid: opened(f"/proc/{pid}/exe", os.O_RDONLY),
        "exe by path": lambda pid: opened(f"/proc/{pid}/exe", os.O_PATH),
        "exe's name": lambda pid: os.readlink(f"/proc/{pid}/exe"),
        "mode of exe": changed_mode,
        "mem to write": lambda pid: opened(f"/proc/{pid}/mem", os.O_RDWR),
        "mem to read": lambda pid: opened(f"/proc/{pid}/mem", os.O_RDONLY),
        "maps": lambda pid: open(f"/proc/{pid}/maps").read(),
        "auxv": lambda pid: open(f"/proc/{pid}/auxv", "rb").read(),
        "environ": lambda pid: open(f"/proc/{pid}/environ").read(),
        "fd": lambda pid: [os.stat(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")],
        "fd 0": lambda pid: opened(f"/proc/{pid}/fd/0", os.O_RDONLY),
        "fd 3's name": lambda pid: os.readlink(f"/proc/{pid}/fd/3"),
        "fd 5 and up": lambda pid: os.listdir(f"/proc/{pid}/fd/5/.."),
        "root": lambda pid: os.listdir(f"/proc/{pid}/root/"),
        "cwd": lambda pid: os.listdir(f"/proc/{pid}/cwd/"),
        "process_vm_readv": read_memory,
        "process_vm_writev": written_memory,
        "pidfd_getfd": taken_descriptor,
        "ptrace": seized,
    }
    known = {name for name in os.listdir("/proc") if name.isdigit()}
    seen, worked = set(), set()
    with open("/tmp/ready", "w"):
        pass
    deadline = time.monotonic() + 15
    while not os.path.exists("/tmp/stop") and time.monotonic() < deadline:
        for name in os.listdir("/proc"):
            if not name.isdigit() or name in known:
                continue
            for what, attempt in attempts.items():
                try:
                    if attempt(int(name)):
                        worked.add(what)
                    seen.add(name)
                except OSError as error:
                    # ENOENT and ESRCH: it has ended.
                    if error.errno not in (2, 3):
                        seen.add(name)
        try:  # a tracer holds up whoever waits for the process
            while os.waitpid(-1, os.WNOHANG | 0x40000000)[0]:
                pass
        except ChildProcessError:
            pass
    return len(seen), sorted(worked)


@pytest.fixture
def attacker() -> Callable[[], tuple[int, list[str]]]:
    """A hostile function of a container; its excursions end it by making /tmp/stop."""
    import ctypes

    assert ctypes  # loaded in the caller, so that it is loaded in the container
    return attack


@pytest.fixture(scope="session")
def calls() -> Iterator[Path]:
    """calls.c, compiled: makes the system calls that it is asked for, and says what each said."""
    folder = Path(tempfile.mkdtemp(prefix="pytest-container-"))
    folder.chmod(0o755)
    source = Path(__file__).with_name("calls.c")
    command = ["gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-static", "-pthread"]
    subprocess.run([*command, "-o", folder / "calls", source], check=True)
    yield folder / "calls"
    shutil.rmtree(folder)


@pytest.fixture
def say(calls) -> Callable[..., dict[str, str]]:
    """What calls.c hears in a container: an errno's name, "0", or "signal N", by name."""
    import errno

    from pycontainer import bind, extend, run_command

    def run(container: Any, *names: str, **options: Any) -> dict[str, str]:
        inside = extend(container, bind(calls, "/calls"))
        done = run_command(
            inside, ["/calls", *names], stdout=subprocess.PIPE, timeout=20, **options
        )
        assert done.returncode == 0, done
        said = dict(line.decode().split(" ", 1) for line in done.stdout.splitlines())
        assert not names or set(said) == set(names)
        return {
            name: errno.errorcode[int(word)] if word.isdigit() and word != "0" else word
            for name, word in said.items()
        }

    return run

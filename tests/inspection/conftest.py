"""Containers of every maker, to be looked at from outside."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PROGRAM = [sys.executable, "-m", "pycontainer"]
WAIT = ["sh", "-c", "echo up; exec cat"]  # it ends when its stdin does
HOST = ["--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"]

MAKERS = {
    "pycontainer": [*PROGRAM, "run", "--host-system"],
    "bwrap": ["bwrap", *HOST, "--unshare-all", "--unshare-user"],
    "bwrap, as pid 1": ["bwrap", *HOST, "--unshare-all", "--unshare-user", "--as-pid-1"],
    "bwrap, few namespaces": ["bwrap", *HOST, "--unshare-user", "--unshare-uts"],
    "unshare": ["unshare", "-Urmpfn", "--kill-child", "--mount-proc"],
    "unshare, without a pid namespace": ["unshare", "-Urm"],
    "unshare, without mounts": ["unshare", "-Urpf", "--kill-child"],
}
OWN = {  # what each has asked for
    "pycontainer": "mnt pid net user ipc uts cgroup",
    "bwrap": "mnt pid net user ipc uts cgroup",
    "bwrap, as pid 1": "mnt pid net user ipc uts cgroup",
    "bwrap, few namespaces": "mnt user uts",
    "unshare": "mnt pid net user",
    "unshare, without a pid namespace": "mnt user",
    "unshare, without mounts": "pid user",
    # Root's is in the host's user namespace, as those of most engines are.
    "runc": "mnt pid net ipc uts cgroup"
    if os.geteuid() == 0
    else "mnt pid net user ipc uts cgroup",
}


class Made(NamedTuple):
    """A container that runs: its maker's process, and the first one inside."""

    outside: int
    first: int


def children(pid: int) -> list[int]:
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def namespaces(pid: int) -> dict[str, str]:
    kinds = ("mnt", "pid", "net", "user", "ipc", "uts", "cgroup")
    return {kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in kinds}


def numbers(pid: int) -> list[str]:
    """A process's pids, from the reader's pid namespace to its own."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line for line in lines if line.startswith("NSpid:")).split()[1:]


def first_inside(pid: int, kind: str) -> int:
    """The first process at or below *pid* in another namespace of a kind than this one."""
    waiting = [pid]
    while waiting:
        process = waiting.pop(0)
        try:
            if os.readlink(f"/proc/{process}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}"):
                return process
        except PermissionError:  # an init of ours hides from everybody but root
            if len(numbers(process)) > len(numbers(os.getpid())):
                return process
        waiting += children(process)
    raise AssertionError("there is no container")


@contextlib.contextmanager
def started(command: list[str], kind: str = "pid", wait: list[str] = WAIT) -> Iterator[Made]:
    """A container from when its program says that it is up until it is left."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    environment = {**os.environ, "PATH": "/usr/local/bin:/usr/bin:/bin"}
    process = subprocess.Popen(
        [*command, *wait], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    assert process.stdin is not None and process.stdout is not None
    with process:
        try:
            assert process.stdout.readline() == b"up\n"
            yield Made(process.pid, first_inside(process.pid, kind))
        finally:
            process.stdin.close()


@contextlib.contextmanager
def started_by_runc() -> Iterator[Made]:
    if shutil.which("runc") is None:
        pytest.skip("runc is not installed")
    folder = Path(tempfile.mkdtemp(prefix="pytest-inspection-"))
    rootless = [] if os.geteuid() == 0 else ["--rootless"]
    name = f"pycontainer-inspection-{os.getpid()}"
    runc = ["runc", "--root", str(folder / "state")]
    try:
        (folder / "rootfs").mkdir()
        subprocess.run(["runc", "spec", *rootless], cwd=folder, check=True)
        config = json.loads((folder / "config.json").read_text())
        config["process"] |= {"terminal": False, "args": WAIT}
        config["root"]["readonly"] = False
        wanted = OWN["runc"].replace("mnt", "mount").replace("net", "network").split()
        config["linux"]["namespaces"] = [{"type": kind} for kind in wanted]
        for place in ("/usr", "/bin", "/lib", "/lib64"):
            if os.path.isdir(place):
                mount = {"destination": place, "type": "bind", "source": place}
                config["mounts"].append(mount | {"options": ["rbind", "ro"]})
        (folder / "config.json").write_text(json.dumps(config))
        with started([*runc, "run", "--bundle", str(folder), name], wait=[]) as made:
            yield made
    finally:
        subprocess.run([*runc, "delete", "--force", name], check=False, capture_output=True)
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def zoo() -> Iterator[dict[str, Made]]:
    """One container of every maker."""
    with contextlib.ExitStack() as stack:
        found = {
            maker: stack.enter_context(
                started(command, "pid" if "pid" in OWN[maker].split() else "user")
            )
            for maker, command in MAKERS.items()
        }
        found["runc"] = stack.enter_context(started_by_runc())
        yield found

"""A made-up host to read, and an enactor of mounts that is none of ours."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from pycontainer.declare.entries import Symlink
from pycontainer.declare.mounts import Mount
from pycontainer.host.files import HostFiles

NAMESPACES = ("user", "pid", "mnt", "net", "ipc", "uts", "cgroup")

# A healthy host and an ordinary user on it.
HEALTHY = {
    "/proc/sys/kernel/osrelease": "6.12.1-generic\n",
    "/proc/self/setgroups": "allow\n",
    "/proc/self/uid_map": "0 0 4294967295\n",
    "/proc/self/gid_map": "0 0 4294967295\n",
    "/proc/self/status": (
        "Name:\tpython3\nThreads:\t1\nUid:\t1000\t1000\t1000\t1000\nGid:\t1000\t1000\t1000\t1000\n"
        "Groups:\t1000\nCapEff:\t0000000000000000\nNoNewPrivs:\t0\nSeccomp:\t0\n"
    ),
    "/proc/self/mountinfo": (
        "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
        "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
        "30 27 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    ),
    "/proc/self/cgroup": "0::/user.slice\n",
    "/sys/fs/cgroup/user.slice/cgroup.controllers": "cpu memory pids\n",
    "/sys/fs/cgroup/user.slice/cgroup.procs": "",
    "/etc/passwd": "root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\n",
    "/etc/group": "ada:x:1000:\nvideo:x:44:ada\n",
    "/etc/subuid": "ada:100000:65536\n",
    "/etc/subgid": "ada:100000:65536\n",
    **{f"/proc/self/ns/{name}": "" for name in NAMESPACES},
    **{f"/proc/sys/user/max_{name}_namespaces": "15000\n" for name in NAMESPACES},
}

MakeHost = Callable[..., HostFiles]
Enact = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def made_host(tmp_path: Path) -> MakeHost:
    """Make a healthy host with some files replaced, or left out (None)."""

    def make(
        replaced: dict[str, str | None] | None = None, status: dict[str, str] | None = None
    ) -> HostFiles:
        contents = HEALTHY | (replaced or {})
        for path, content in contents.items():
            if content is None:
                continue
            for field, value in (status or {}).items() if path.endswith("/status") else ():
                before = content
                lines = [
                    f"{field}:\t{value}" if line.startswith(f"{field}:") else line
                    for line in before.splitlines()
                ]
                content = "\n".join(lines) + "\n"
                assert content != before, f"no {field} to replace"
            place = tmp_path / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(content)
        return HostFiles(tmp_path)

    return make


@pytest.fixture
def in_empty_root() -> Enact:
    """Run a program in a root that holds the given mounts only, by bubblewrap."""
    if shutil.which("bwrap") is None:
        pytest.skip("there is no bwrap (package bubblewrap)")

    def run(
        mounts: Iterable[Mount | Symlink], argv: list[str], *options: str
    ) -> subprocess.CompletedProcess[str]:
        arguments: list[str] = []
        for mount in mounts:
            if isinstance(mount, Symlink):
                arguments += ["--symlink", mount.to, mount.path]
            else:
                assert mount.source is not None and not mount.writable
                kind = "--ro-bind-try" if mount.optional else "--ro-bind"
                arguments += [kind, mount.source, mount.target]
        return subprocess.run(
            ["bwrap", "--unshare-all", "--clearenv", "--die-with-parent", *options, *arguments]
            + ["--proc", "/proc", "--dev", "/dev", "--", *argv],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env={"PATH": os.defpath},
        )

    return run

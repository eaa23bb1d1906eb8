"""The other programs that make containers, each told to do what the default container does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.floor import MeasurementError

FIRST_HOST_ID = 1879048192  # as in floor.h: what pycontainer gives the containers of root


def spawn_line(argv: Sequence[str]) -> str:
    """The floor's question that runs ``argv``."""
    if shutil.which(argv[0]) is None:
        raise MeasurementError(f"{argv[0]} is not installed")
    return "\t".join(["spawn", *argv])


def reason_of(argv: Sequence[str], cwd: Path, env: Mapping[str, str]) -> str:
    """What ``argv`` says on stderr, for a program that has failed."""
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as failure:
        return str(failure)
    lines = done.stderr.strip().splitlines()
    return f"exit {done.returncode}" + (f": {lines[-1]}" if lines else "")


def bwrap(true: Path, binds: Sequence[Path] = ()) -> list[str]:
    """An empty root with bubblewrap's own /dev and /proc, then the binds."""
    argv = ["bwrap", "--unshare-all", "--unshare-user", "--uid", "0", "--gid", "0"]
    argv += ["--hostname", "localhost", "--proc", "/proc", "--ro-bind", "/sys", "/sys"]
    argv += ["--dev", "/dev", "--tmpfs", "/dev/shm", "--tmpfs", "/tmp"]
    argv += ["--dir", "/etc", "--ro-bind", str(true), "/true"]
    for source in binds:
        argv += ["--ro-bind", str(source), f"/binds/{source.name}"]
    return [*argv, "--remount-ro", "/", "--new-session", "--die-with-parent", "/true"]


def bwrap_host_root() -> list[str]:
    """The host's root, read-only: the shortest command line that people use."""
    argv = ["bwrap", "--unshare-all", "--unshare-user", "--ro-bind", "/", "/"]
    return [*argv, "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "/bin/true"]


def unshare(true: Path) -> list[str]:
    """Namespaces and /proc only: no root of its own, no lock."""
    return ["unshare", "-UrmpfinuC", "--mount-proc", str(true)]


def nsenter(pid: int) -> list[str]:
    argv = ["nsenter", "-t", str(pid), "-U", "-m", "-p", "-n", "-i", "-u", "-C"]
    if os.geteuid() != 0:
        argv.append("--preserve-credentials")  # setgroups is denied there
    return [*argv, "/true"]


def oci_runtime(name: str, bundle: Path) -> list[str]:
    argv = [name, "--root", str(bundle / f"state-{name}")]
    if name == "crun":
        argv.append("--cgroup-manager=disabled")  # it knows no hybrid of both cgroup versions
    return [*argv, "run", "--bundle", str(bundle), "bench"]


def write_bundle(bundle: Path, true: Path) -> None:
    """A bundle with nothing but ``/true`` in it, rootless for an ordinary user."""
    rootfs = bundle / "rootfs"
    for directory in ("proc", "sys", "dev", "tmp", "etc"):
        (rootfs / directory).mkdir(parents=True, exist_ok=True)
    shutil.copy(true, rootfs / "true")
    root = os.geteuid() == 0

    def ids(own: int) -> list[dict[str, int]]:
        if root:
            return [{"containerID": 0, "hostID": FIRST_HOST_ID, "size": 65536}]
        return [{"containerID": 0, "hostID": own, "size": 1}]

    def mount(target: str, kind: str, *options: str) -> dict[str, Any]:
        return {"destination": target, "type": kind, "source": kind, "options": list(options)}

    closed = ("nosuid", "noexec", "nodev")
    config = {
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "localhost",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": ["/true"],
            "env": [],
            "cwd": "/",
            "noNewPrivileges": True,
        },
        "mounts": [
            mount("/proc", "proc", *closed),
            mount("/sys", "sysfs", *closed, "ro"),
            mount("/dev", "tmpfs", "nosuid", "noexec", "strictatime", "mode=755", "size=65536k"),
            mount("/dev/pts", "devpts", *closed[:2], "newinstance", "ptmxmode=0666", "mode=0620"),
            mount("/dev/shm", "tmpfs", *closed, "mode=1777"),
            mount("/tmp", "tmpfs", "nosuid", "nodev", "mode=1777"),
        ],
        "linux": {
            "uidMappings": ids(os.geteuid()),
            "gidMappings": ids(os.getegid()),
            "namespaces": [
                {"type": kind}
                for kind in ("user", "pid", "mount", "network", "ipc", "uts", "cgroup")
            ],
        },
    }
    (bundle / "config.json").write_text(json.dumps(config))

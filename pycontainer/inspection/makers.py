"""What has probably made a container.

Only a guess: names that processes have, and where their cgroups lie.  A container can choose the
names of its own processes, so that those of processes outside count first.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["INITS", "Evidence", "guess_maker"]

HELPER = b"from pycontainer.launch.child import serve"
"""In the command line of the helper from which pycontainer's containers are cloned."""

INITS = frozenset(
    {"container-init", "bwrap", "unshare", "tini", "docker-init", "catatonit", "dumb-init"}
)
"""Names of programs that are the first process and wait for the one that matters."""

_IDS = range(0x70000000, 0x70010000)
"""What host root's containers of pycontainer get (``launch.identity.FIRST_ID``, ``IDS``)."""

_BY_NAME = {
    "bwrap": "bwrap",
    "unshare": "unshare",
    "runc": "runc",
    "runc:[2:INIT]": "runc",
    "crun": "crun",
    "youki": "youki",
    "conmon": "podman",
    "podman": "podman",
    "containerd-shim": "containerd",
    "buildkitd": "buildkit",
    "systemd-nspawn": "systemd-nspawn",
    "lxc-start": "lxc",
    "lxc-execute": "lxc",
    "nsjail": "nsjail",
    "firejail": "firejail",
    "minijail0": "minijail",
    "pasta": "podman",
    "rootlesskit": "rootlesskit",
    "guix-daemon": "guix",
    "nix-daemon": "nix",
    "container-init": "pycontainer",
}

_BY_CGROUP = (
    ("libpod-", "podman"),
    ("/docker-", "docker"),
    ("/docker/", "docker"),
    ("cri-containerd-", "kubernetes"),
    ("crio-", "kubernetes"),
    ("kubepods", "kubernetes"),
    ("/lxc.payload", "lxc"),
    ("/lxc/", "lxc"),
    ("systemd-nspawn@", "systemd-nspawn"),
    ("app-flatpak-", "flatpak"),
)
"""Parts of the paths that these make (runc's systemd driver: NAME-ID.scope)."""


class Evidence(NamedTuple):
    """What is known of a process beside its sample.

    Attributes:
        pid: its number.
        comm: its name.
        command: its whole command line, as /proc/PID/cmdline has it.
        uid: effective, on the host.
        cgroup: /proc/PID/cgroup, "" where it cannot be read.
    """

    pid: int
    comm: str
    command: bytes
    uid: int
    cgroup: str

    @property
    def is_helper(self) -> bool:
        """It is the process that pycontainer's containers are cloned from."""
        return HELPER in self.command


def guess_maker(first: Evidence, outside: list[Evidence]) -> str | None:
    """A word for what made the container of *first*, or None.

    Arguments:
        first: its first process.
        outside: processes that this one comes from and that are not of the container, the nearest
            first.
    """
    for part, maker in _BY_CGROUP:
        if part in first.cgroup:
            return maker
    for other in outside:
        if other.is_helper or _runs_pycontainer(other.command):
            return "pycontainer"
        if other.comm in _BY_NAME:
            return _BY_NAME[other.comm]
    if first.uid in _IDS or first.is_helper:
        return "pycontainer"
    return _BY_NAME.get(first.comm)


def _runs_pycontainer(command: bytes) -> bool:
    """Whether it is ``pycontainer …`` or ``python -m pycontainer …``."""
    return b"pycontainer" in (word.rpartition(b"/")[2] for word in command.split(b"\0", 5)[:5])

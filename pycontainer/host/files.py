"""Read what the host says about itself: /proc, sysctls, marks that container engines leave.

Needs the standard library only, as ``tools/check_machine.py`` runs this before anything is
installed.  Nothing here raises: what cannot be read is None, and its reader says so.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple


class MountPoint(NamedTuple):
    """One line of /proc/self/mountinfo, as far as it is of use (proc_pid_mountinfo(5))."""

    target: str
    fstype: str
    options: frozenset[str]


class HostFiles:
    """The files of a host below *root*, which is another directory than "/" in tests."""

    def __init__(self, root: str | os.PathLike[str] = "/") -> None:
        self.root = Path(root)

    def at(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def read(self, path: str) -> str | None:
        """The text of *path* without the white space around it, or None."""
        try:
            return self.at(path).read_text(errors="replace").strip()
        except OSError:
            return None

    def exists(self, path: str) -> bool:
        return os.path.lexists(self.at(path))

    def sysctl(self, name: str) -> int | None:
        """The number that a sysctl such as "user.max_user_namespaces" holds.

        The user.* ones are those of the reader's own user namespace (namespaces(7)).
        """
        text = self.read("/proc/sys/" + name.replace(".", "/"))
        try:
            return int(text) if text is not None else None
        except ValueError:
            return None

    def status(self, field: str) -> str | None:
        """A field of /proc/self/status, such as "Seccomp" or "CapEff"."""
        for line in (self.read("/proc/self/status") or "").splitlines():
            name, _, value = line.partition(":")
            if name == field:
                return value.strip()
        return None

    def has_capability(self, number: int) -> bool:
        """Whether the caller's effective set holds the capability (capabilities(7))."""
        try:
            return bool(int(self.status("CapEff") or "0", 16) >> number & 1)
        except ValueError:
            return False

    def in_user_namespace(self) -> bool:
        """Whether the caller lives in another user namespace than the host's first.

        The first one maps every id to itself (user_namespaces(7)).
        """
        extents = self.read("/proc/self/uid_map")
        return extents is not None and extents.split() != ["0", "0", "4294967295"]

    def mounts(self) -> list[MountPoint]:
        found = []
        for line in (self.read("/proc/self/mountinfo") or "").splitlines():
            before, _, after = line.partition(" - ")
            fields = before.split()
            if len(fields) < 6 or not after:
                continue
            options = frozenset(fields[5].split(","))
            found.append(MountPoint(_unescape(fields[4]), after.split()[0], options))
        return found

    def apparmor_profile(self) -> str | None:
        """The profile that confines the caller, None for none."""
        text = self.read("/proc/self/attr/apparmor/current") or self.read("/proc/self/attr/current")
        if not text or text.startswith("unconfined") or ":" in text:  # SELinux writes user:role:…
            return None
        return text.split(" ")[0]

    def engine(self) -> str | None:
        """The container engine that the caller lives in, by the mark it leaves."""
        if self.exists("/.dockerenv"):
            return "docker"
        if self.exists("/run/.containerenv"):
            return "podman"
        return self.read("/run/systemd/container") or None

    def chrooted(self) -> bool:
        """Whether "/" is no mount, or another directory than that of pid 1 in the same mounts.

        A chroot to a mount point is seen by the second way only, which takes root and the mounts
        of pid 1.
        """
        mounts = self.mounts()
        if mounts and not any(mount.target == "/" for mount in mounts):
            return True
        try:
            here, init = self.at("/proc/self/ns/mnt"), self.at("/proc/1/ns/mnt")
            if os.readlink(here) != os.readlink(init):
                return False
            return not os.path.samefile(self.at("/proc/1/root"), self.at("/proc/self/root"))
        except OSError:
            return False


def _unescape(field: str) -> str:
    """mountinfo writes space, tab, newline and backslash as three octal digits."""
    for character in " \t\n\\":
        field = field.replace(f"\\{ord(character):03o}", character)
    return field

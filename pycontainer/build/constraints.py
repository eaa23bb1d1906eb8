"""What a build asks of the machine: data, and the words for what is wrong with it."""

from __future__ import annotations

from typing import TypeAlias

from attrs import field, frozen

from ..declare.checks import Problems, check_guest_path, check_text, guest_path, is_int
from ..declare.checks import refuse as refuse_all

__all__ = [
    "AvailableReadOnlyPath",
    "Constraint",
    "MinMemory",
    "NetworkAccess",
    "ProvideBinSh",
    "System",
]


@frozen(order=True)
class System:
    """The machine must be of this kind: "x86_64-linux", as ``uname -m`` and ``uname -s`` have it.

    Raises:
        ValueError: it is not of the form "machine-system".
    """

    system: str

    def __attrs_post_init__(self) -> None:
        problems: Problems = []
        if check_text(problems, "system", self.system):
            machine, dash, kernel = self.system.rpartition("-")
            if not (machine and dash and kernel) or self.system.split() != [self.system]:
                problems.append(f"system {self.system!r} is not like 'x86_64-linux'")
        refuse_all("System", problems)


@frozen(order=True)
class MinMemory:
    """So many bytes of memory must be available before the build starts.

    Raises:
        ValueError: it is no positive int.
    """

    bytes: int

    def __attrs_post_init__(self) -> None:
        if not is_int(self.bytes) or self.bytes < 1:
            raise ValueError(f"MinMemory: bytes must be a positive int, not {self.bytes!r}")


@frozen(order=True)
class AvailableReadOnlyPath:
    """A file or directory of the host that the build sees read-only at the same place.

    A result is not looked up by what is in it: it is part of the request by its name alone.

    Raises:
        ValueError: it is not absolute, or "/", or contains "..".
    """

    path: str = field(converter=guest_path)

    def __attrs_post_init__(self) -> None:
        problems: Problems = []
        if check_guest_path(problems, "path", self.path):
            if self.path == "/":
                problems.append("path is '/': name the directories that the build needs")
            elif self.path in ("/proc", "/sys", "/dev"):
                problems.append(f"path is {self.path!r}, of which a build has its own")
        refuse_all("AvailableReadOnlyPath", problems)


@frozen(order=True)
class NetworkAccess:
    """The build shares the host's network, and sees its resolv.conf, services and hosts."""


@frozen(order=True)
class ProvideBinSh:
    """The build has a shell at /bin/sh.

    It is a static busybox or dash where the host has one, else the host's sh and the libraries
    that it needs.  If /bin or /bin/sh is an ``AvailableReadOnlyPath``, its sh is the host's.
    """


Constraint: TypeAlias = System | MinMemory | AvailableReadOnlyPath | NetworkAccess | ProvideBinSh

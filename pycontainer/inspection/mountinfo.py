"""Mounts, as /proc/PID/mountinfo lists them (proc_pid_mountinfo(5))."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

__all__ = ["MountLine", "parse_mountinfo"]


class MountLine(NamedTuple):
    """One mount.

    Attributes:
        id, parent: numbers of the mount and of the one that it is on.
        device: "major:minor" of what it shows.
        root: the directory of the file system that is seen at ``target``.
        target: where, as the process sees it.
        options: flags of this mount, as "ro" and "nosuid".
        propagation: "private", "shared:N", "master:N", "unbindable", "propagate_from:N".
        fstype, source: as they were given to mount(2); what the source means is the type's affair.
        super_options: options of the whole file system.
    """

    id: int
    parent: int
    device: str
    root: str
    target: str
    options: tuple[str, ...]
    propagation: tuple[str, ...]
    fstype: str
    source: str
    super_options: tuple[str, ...]


def parse_mountinfo(data: bytes) -> list[MountLine]:
    """The lines of a mountinfo file; any that cannot be read is left out."""
    found = []
    # The kernel escapes blanks, newlines and backslashes only: other separators of lines that
    # str.splitlines() knows may stand in names.
    for line in os.fsdecode(data).split("\n"):
        before, _, after = line.partition(" - ")
        fields, rest = before.split(" "), after.split(" ")
        if len(fields) < 6 or len(rest) < 3:
            continue
        found.append(
            MountLine(
                int(fields[0]),
                int(fields[1]),
                fields[2],
                _unescape(fields[3]),
                _unescape(fields[4]),
                tuple(fields[5].split(",")),
                tuple(fields[6:]) or ("private",),
                rest[0],
                _unescape(rest[1]),
                tuple(_unescape(rest[2]).split(",")),
            )
        )
    return found


def _unescape(field: str) -> str:
    """The kernel writes blanks, tabs, newlines and backslashes as three octal digits."""
    if "\\" not in field:
        return field
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)

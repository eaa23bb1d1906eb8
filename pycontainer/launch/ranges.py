"""Subordinate ids: what /etc/subuid and /etc/subgid give an ordinary user (subuid(5)).

Only the set-id programs newuidmap and newgidmap may map them (newuidmap(1)).  They run once a
helper: the helper lives in a user namespace that has all of the user's ids, and maps its
containers from there by itself.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess

from ..errors import SetupError

__all__ = ["map_ranges", "sizes_of_ranges", "subordinate_ranges"]

_STEP = "map a range of ids"


def subordinate_ranges(path: str) -> list[tuple[int, int]]:
    """The (first, count) pairs of the calling user."""
    import pwd

    uid = os.geteuid()
    names = {str(uid)}
    try:
        names.add(pwd.getpwuid(uid).pw_name)
    except KeyError:
        pass  # a user without a name may still stand there by number
    found = []
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                name, _, rest = line.strip().partition(":")
                first, _, count = rest.partition(":")
                if name in names and first.isdigit() and count.isdigit():
                    found.append((int(first), int(count)))
    except FileNotFoundError:
        pass
    return found


def sizes_of_ranges() -> tuple[tuple[int, ...], tuple[int, ...]]:
    """How many ids each range has, of users and of groups; the first is the caller's own id.

    Raises:
        SetupError: EPERM, for one without ranges or without the programs; says what to install.
    """
    sizes: list[tuple[int, ...]] = []
    for path, option, program in (
        ("/etc/subuid", "--add-subuids", "newuidmap"),
        ("/etc/subgid", "--add-subgids", "newgidmap"),
    ):
        ranges = subordinate_ranges(path)
        if not ranges:
            error = SetupError(errno.EPERM, "it has no line for this user", path, _STEP)
            error.add_note(f"give it one: sudo usermod {option} 100000-165535 $USER")
            raise error
        if shutil.which(program) is None:
            error = SetupError(errno.EPERM, f"{program} is not installed", None, _STEP)
            error.add_note("Debian, Ubuntu: apt-get install uidmap; Fedora: shadow-utils")
            raise error
        sizes.append((1, *(count for _, count in ranges)))
    return sizes[0], sizes[1]


def map_ranges(pid: int) -> None:
    """Map, in the user namespace of *pid*: 0 is the caller, then its subordinate ids in order.

    Raises:
        SetupError: newuidmap or newgidmap refused.
    """
    for program, path, own in (
        ("newgidmap", "/etc/subgid", os.getegid()),
        ("newuidmap", "/etc/subuid", os.geteuid()),
    ):
        arguments = [program, str(pid), "0", str(own), "1"]
        inside = 1
        for first, count in subordinate_ranges(path):
            arguments += [str(inside), str(first), str(count)]
            inside += count
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        if done.returncode:
            error = SetupError(errno.EPERM, f"{program} refused", None, _STEP)
            error.add_note(done.stderr.strip() or f"{program} ended with {done.returncode}")
            raise error

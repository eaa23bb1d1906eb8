"""The shell of a shell: /bin/sh, and what is started when no command is given."""

from __future__ import annotations

import os
from collections.abc import Iterable

from ..declare.arrangement import Item
from ..declare.entries import symlink
from ..declare.mounts import bind
from .lookup import Lookup
from .records import remembered

__all__ = ["system_shell"]

# With bash come line editing, history and a prompt that follows the directory.
_HOST_SHELLS = ("/bin/bash", "/usr/bin/bash", "/run/current-system/sw/bin/bash", "/bin/sh")


def system_shell(lookup: Lookup, path: Iterable[str], cache: str) -> tuple[str, list[Item]]:
    """The interactive shell's place in the container, and what makes /bin/sh be there.

    The software's own is taken where it has one, and else the host's, with the libraries that it
    needs and nothing more.

    Arguments:
        lookup: the container so far.
        path: the directories of its PATH.
        cache: where it may be kept what was found out.

    Raises:
        FileNotFoundError: neither the software nor the host has a shell.
    """
    bash = lookup.find_program("bash", path)
    if lookup.exists("/bin/sh"):
        return bash or "/bin/sh", []
    own = bash or lookup.find_program("sh", path)
    if own is not None:
        return own, [symlink("/bin/sh", own)]
    for shell in _HOST_SHELLS:
        if os.access(shell, os.X_OK):
            return _of_host(shell, lookup, cache)
    raise FileNotFoundError(2, "neither the software nor the host has a shell", "/bin/sh")


def _of_host(shell: str, lookup: Lookup, cache: str) -> tuple[str, list[Item]]:
    def look() -> tuple[list[str], list[str]]:
        from ..host.libraries import needed_files

        found = needed_files([shell])
        return found, [shell, "/etc/ld.so.cache", *found]

    place = "/bin/bash" if os.path.basename(shell) == "bash" else "/bin/sh"
    items: list[Item] = [bind(os.path.realpath(shell), place)]
    if place != "/bin/sh":
        items.append(symlink("/bin/sh", "bash"))
    # As the loader finds them: their names are what counts, not what a link leads to.
    for library in remembered(os.path.join(cache, "libraries"), shell, look):
        real, there = os.path.realpath(library), lookup.source(library)
        if there is None or not os.path.samefile(real, there):
            items.append(bind(real, library))
    return place, items

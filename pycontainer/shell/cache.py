"""Where fetched software is kept."""

from __future__ import annotations

import os

from attrs import field, frozen

from ..declare.checks import host_path

__all__ = ["Cache"]


def _default_directory() -> str:
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # the XDG specification: a relative one is ignored
        if os.geteuid() == 0:
            return "/var/cache/pycontainer"
        base = os.path.expanduser("~/.cache")
    return os.path.join(base, "pycontainer")


@frozen
class Cache:
    """A directory of fetched software, one directory an entry.

    Attributes:
        directory: its place; by default $XDG_CACHE_HOME/pycontainer, else ~/.cache/pycontainer,
            for root /var/cache/pycontainer.
    """

    directory: str = field(factory=_default_directory, converter=host_path)

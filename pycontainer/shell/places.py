"""Where fetched software is kept by default.  Of no other module, as each start reads it."""

from __future__ import annotations

import os

__all__ = ["cache_directory"]


def cache_directory() -> str:
    """$XDG_CACHE_HOME/pycontainer, else ~/.cache/pycontainer; /var/cache/pycontainer for root."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # the XDG specification: a relative one is ignored
        if os.geteuid() == 0:
            return "/var/cache/pycontainer"
        base = os.path.expanduser("~/.cache")
    return os.path.join(base, "pycontainer")

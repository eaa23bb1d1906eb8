"""Filters and the sandbox, by the words of the command line."""

from __future__ import annotations

from typing import Any

from ..declare.container import Container
from ..declare.filters import NO_CHMOD, NO_CHROOT, NO_FORK, NO_SETRLIMIT, NO_SYNC
from ..declare.sandbox import SANDBOX
from ..declare.untrusted import UNTRUSTED
from .parse import MisuseError

__all__ = ["filter_of", "sandbox"]

_PRESETS = {
    "untrusted": UNTRUSTED,
    "no-sync": NO_SYNC,
    "no-fork": NO_FORK,
    "no-chmod": NO_CHMOD,
    "no-chroot": NO_CHROOT,
    "no-setrlimit": NO_SETRLIMIT,
}


def filter_of(words: str, before: Any = None) -> Any:
    """The filter of "untrusted,no-sync": all of them together, and *before*.

    Raises:
        MisuseError: an unknown name.
    """
    for word in words.split(","):
        if word not in _PRESETS:
            message = f"--seccomp: {word!r} is no filter"
            if word.isdigit():
                message += " (bubblewrap takes a descriptor of a program; see --seccomp)"
            error = MisuseError(message)
            error.add_note(f"there are: {' '.join(_PRESETS)}")
            raise error
        preset = _PRESETS[word]
        before = preset if before is None else before | preset
    return before


def sandbox() -> Container:
    """``SANDBOX``."""
    return SANDBOX

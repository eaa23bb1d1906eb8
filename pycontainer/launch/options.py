"""The options of a call, and what of them and of the caller its child is told."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .protocol import Preamble

if TYPE_CHECKING:
    from .running import Running

__all__ = ["MAX_RESULT", "CallOptions", "preamble_of"]

MAX_RESULT = 256 << 20
"""The most bytes that a result may have, unless ``max_result=`` says otherwise."""


class CallOptions:
    """The options of a call that are not the container's, checked.

    Raises:
        ValueError, TypeError: naming the option.
    """

    def __init__(
        self,
        start_method: str = "forkserver",
        preload: tuple[str, ...] = (),
        returns: str = "data",
        allow: tuple[Any, ...] = (),
        max_result: int = MAX_RESULT,
        process_spawned_hook: Callable[[Running[Any]], object] | None = None,
        populate_filesystem: Callable[[], object] | None = None,
    ) -> None:
        self.start_method = start_method
        self.preload = preload
        self.returns = returns
        self.allow = allow
        self.max_result = max_result
        self.process_spawned_hook = process_spawned_hook
        self.populate_filesystem = populate_filesystem

    @classmethod
    def of(cls, *, preload: Iterable[str] = (), allow: Iterable[Any] = (), **rest: Any) -> Any:
        """Checked; iterables become tuples."""
        if isinstance(preload, str):
            raise TypeError(f"preload= takes names of modules, as in preload=[{preload!r}]")
        from .codec.allow import check_allow

        options = cls(preload=tuple(preload), allow=check_allow(allow), **rest)
        if options.start_method not in ("forkserver", "fork"):
            raise ValueError(
                f"start_method is 'forkserver' or 'fork', not {options.start_method!r}"
            )
        if options.returns not in ("data", "pickle"):
            raise ValueError(f"returns is 'data' or 'pickle', not {options.returns!r}")
        if not isinstance(options.max_result, int) or options.max_result < 0:
            raise ValueError(f"max_result is a number of bytes, not {options.max_result!r}")
        if options.start_method == "fork" and options.preload:
            raise ValueError("preload= is for the forkserver; a forked child has what you loaded")
        return options


def preamble_of(env: Mapping[str, str], options: CallOptions) -> bytes:
    """What a function's child needs before the payload."""
    path = [entry for entry in sys.path if isinstance(entry, str)]
    if "" in path:  # the current directory, which the container does not have
        try:
            current = [os.getcwd()]
        except OSError:
            current = []  # removed: nothing can be imported from there
        path = [part for entry in path for part in ([entry] if entry else current)]
    return Preamble.pack(
        path, sys.argv, (sys.prefix, sys.exec_prefix), env, options.returns, options.max_result
    )

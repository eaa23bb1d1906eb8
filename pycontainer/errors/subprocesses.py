"""The errors that are those of ``subprocess`` as well; ``pycontainer.errors`` has them all."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

from . import ContainerExitError

if TYPE_CHECKING:
    from ..launch.results import Completed

__all__ = ["CommandError", "ContainerTimeoutError"]


class ContainerTimeoutError(ContainerExitError, subprocess.TimeoutExpired, TimeoutError):
    """The caller's ``timeout`` passed; the container has been killed.

    Attributes:
        timeout: the patience that ran out, in seconds.
        stdout, stderr: what had been captured until then, or None.
    """

    def __init__(
        self, message: str, completed: Completed[Any] | None = None, timeout: float = 0.0
    ) -> None:
        ContainerExitError.__init__(self, message, completed)
        self.cmd = completed.args if completed is not None else ()
        self.timeout = timeout
        self.output = completed.stdout if completed is not None else None
        self.stderr = completed.stderr if completed is not None else None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.completed, self.timeout)


class CommandError(ContainerExitError, subprocess.CalledProcessError):
    """``check_returncode()`` (or ``check=True``) met a status other than success."""

    def __init__(self, message: str, completed: Completed[Any]) -> None:
        ContainerExitError.__init__(self, message, completed)
        self.returncode = completed.returncode
        self.cmd = completed.args
        self.output = completed.stdout
        self.stderr = completed.stderr


for _error in (ContainerTimeoutError, CommandError):
    _error.__module__ = "pycontainer.errors"  # where they are found, by pickle too

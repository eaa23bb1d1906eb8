"""The errors of builds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import ContainerError, ContainerExitError

__all__ = ["BuildCancelledError", "BuildError", "ConstraintError"]


class ConstraintError(ContainerError):
    """The machine does not meet the constraints of a request; nothing was started.

    Attributes:
        problems: all of them, a line each.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return f"a constraint is not met: {self.problems[0]}"
        lines = "\n  ".join(self.problems)
        return f"{len(self.problems)} constraints are not met\n  {lines}"


class BuildError(ContainerExitError):
    """A build failed: its command did, or left an output missing or unfit.  Nothing was stored.

    Attributes:
        completed: how its command ended; None where it was not started.
    """


class BuildCancelledError(BuildError):
    """A build was cancelled."""

    def __init__(self, message: str = "the build was cancelled", completed: Any = None) -> None:
        super().__init__(message, completed)

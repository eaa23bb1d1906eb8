"""The errors that pycontainer raises.  ``ContainerError`` is the root of all of them.

Hints for the reader come as exception notes (``add_note``), so that ``str(error)`` stays one line.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..launch.results import Completed
    from .subprocesses import CommandError, ContainerTimeoutError

__all__ = [
    "CommandError",
    "ContainerError",
    "ContainerExitError",
    "ContainerTimeoutError",
    "HelperError",
    "PayloadError",
    "RemoteError",
    "ResultError",
    "SetupError",
]


class ContainerError(Exception):
    """Something went wrong with a container; the root of this package's errors."""


class SetupError(ContainerError, OSError):
    """The kernel refused a step of the set-up; the function has not run.

    An instance is also of the class that Python uses for its ``errno``: a missing source is a
    ``FileNotFoundError`` as well, so ``except FileNotFoundError`` does what it says.

    Attributes:
        errno, strerror, filename: as for every ``OSError``.
        step: the step of the plan that failed, in the words of ``Plan.explain()``.
    """

    step: str

    def __new__(
        cls, errno: int, strerror: str | None = None, filename: str | None = None, step: str = ""
    ) -> SetupError:
        # OSError.__new__ picks the subclass for an errno only when called as OSError itself.
        builtin = type(OSError(errno, ""))
        made = _class_for(cls, builtin)
        words = os.strerror(errno) if strerror is None else strerror
        # With a __new__ of our own, OSError reads its arguments here and not in __init__.
        if filename is None:
            return builtin.__new__(made, errno, words)
        return builtin.__new__(made, errno, words, filename)

    def __init__(
        self, errno: int, strerror: str | None = None, filename: str | None = None, step: str = ""
    ) -> None:
        self.step = step

    def __str__(self) -> str:
        words = OSError.__str__(self)
        return f"{self.step}: {words}" if self.step else words

    def __reduce__(self) -> tuple[Any, ...]:
        return SetupError, (self.errno, self.strerror, self.filename, self.step)


_setup_classes: dict[type[OSError], type[SetupError]] = {}


def _class_for(cls: type[SetupError], builtin: type[OSError]) -> type[SetupError]:
    """The class that is both *cls* and *builtin*, made once and shown under the name of *cls*."""
    if builtin is OSError or issubclass(cls, builtin):
        return cls
    made = _setup_classes.get(builtin)
    if made is None:
        body = {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
        made = _setup_classes[builtin] = type(cls.__name__, (cls, builtin), body)
    return made


class PayloadError(ContainerError, TypeError):
    """The function cannot be sent to the container or loaded there; it has not run."""


class ContainerExitError(ContainerError):
    """The container ended without a value: it exited, was killed, or met a limit.

    Attributes:
        completed: how it ended, with its usage and the output that was captured.
    """

    def __init__(self, message: str, completed: Completed[Any] | None = None) -> None:
        Exception.__init__(self, message)
        self.message = message
        self.completed = completed

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.completed)


class RemoteError(ContainerError):
    """An exception of the container that does not cross as itself.

    An instance is also of the nearest built-in exception class, so ``except ValueError`` still
    catches a ``RemoteError`` that stands for a subclass of ``ValueError``.

    Attributes:
        type_name: the qualified name of the class that was raised inside.
        traceback_text: the traceback inside, control characters escaped.
    """

    type_name: str = ""
    traceback_text: str = ""


class ResultError(ContainerError):
    """A value of the container that does not cross: its type, its size, or its bytes are wrong."""


class HelperError(ContainerError):
    """The helper process that starts containers has died.

    The function may have run or not: retry only what may run twice.
    """


def __getattr__(name: str) -> Any:
    # They take an import of subprocess, which a short command would pay for.
    if name in ("CommandError", "ContainerTimeoutError"):
        from . import subprocesses

        globals()[name] = found = getattr(subprocesses, name)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

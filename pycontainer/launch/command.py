"""A program and its arguments, packed for the helper, and the words for one that does not start."""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from .._native import lib
from ..errors import SetupError
from ..plan.steps import Op
from .codec.text import one_line

if TYPE_CHECKING:
    from ..plan.plan import Plan

__all__ = ["Argument", "Command", "exec_failure"]

Argument: TypeAlias = "str | bytes | os.PathLike[str] | os.PathLike[bytes]"

SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where a program is looked for when the container's environment has no PATH."""

_HEADER = struct.Struct("<6I")


class Command:
    """A command, checked.

    Attributes:
        args: what the caller wrote, as a list.
        argv: the same as bytes.
        env: the program's environment.
        directory: where an ``exec_command`` runs it, or None.
        passed: descriptors of the caller's that it has under the same numbers.
        pid_variable: a variable of its environment that holds its own pid, or "".
    """

    def __init__(
        self,
        args: list[Any],
        argv: list[bytes],
        env: Mapping[str, str],
        directory: str | None = None,
        passed: tuple[int, ...] = (),
        pid_variable: str = "",
    ) -> None:
        self.args = args
        self.argv = argv
        self.env = env
        self.directory = directory
        self.passed = passed
        self.pid_variable = pid_variable

    @classmethod
    def of(
        cls,
        argv: Sequence[Any],
        env: Mapping[str, str],
        directory: str | None = None,
        passed: Iterable[int] = (),
        pid_variable: str = "",
    ) -> Command:
        """Check *argv* and *passed*.

        Raises:
            TypeError: it is a string, or one of its items is no text.
            ValueError: it is empty, or one of its items holds a NUL; or *passed* names a standard
                stream, or too many.
            OSError: one of *passed* is not open, or is a directory.
        """
        if isinstance(argv, (str, bytes, os.PathLike)):
            raise TypeError(
                f"argv is a sequence of arguments, not {argv!r}: "
                f"use [{argv!r}], or shlex.split() for a whole line"
            )
        args = list(argv)
        if not args:
            raise ValueError("argv is empty: its first item is the program")
        packed = []
        for item in args:
            try:
                text = os.fsencode(item)
            except TypeError:
                raise TypeError(
                    f"an argument is a str, bytes or a path, not {item!r} in {args!r}"
                ) from None
            if b"\0" in text:
                raise ValueError(f"an argument cannot hold a NUL character: {item!r}")
            packed.append(text)
        if not packed[0]:
            raise ValueError("the program's name is empty")
        return cls(args, packed, env, directory, _checked(passed), pid_variable)

    @property
    def program(self) -> str:
        """The program as the caller named it."""
        return os.fsdecode(self.argv[0])

    def candidates(self) -> list[bytes]:
        """The paths to try, in order (execvp(3))."""
        name = self.argv[0]
        if b"/" in name:
            return [name]
        path = os.fsencode(self.env.get("PATH", SEARCH_PATH))
        # An empty entry is the working directory.
        return [os.path.join(place or b".", name) for place in path.split(b":")]

    def pack(self) -> bytes:
        """The bytes of a ``struct pc_command`` with all that follows it."""
        variables = [os.fsencode(f"{name}={value}") for name, value in self.env.items()]
        if self.pid_variable:
            variables.append(os.fsencode(f"{self.pid_variable}={'0' * lib.PC_PID_DIGITS}"))
        lists = [self.candidates(), self.argv, variables]
        at = _HEADER.size + 8 * (sum(len(one) + 1 for one in lists) + len(self.passed))
        offsets: list[int] = []
        texts: list[bytes] = []
        for one in lists:
            for text in one:
                offsets.append(at)
                texts.append(text)
                at += len(text) + 1
            offsets.append(0)
        own_pid = at - lib.PC_PID_DIGITS - 1 if self.pid_variable else 0  # its text came last
        directory = 0
        if self.directory is not None:
            directory = at
            texts.append(os.fsencode(self.directory))
        return b"".join(
            (
                _HEADER.pack(*map(len, lists), directory, len(self.passed), own_pid),
                struct.pack(f"<{len(offsets) + len(self.passed)}Q", *offsets, *self.passed),
                b"\0".join(texts),
                b"\0",
            )
        )


def _checked(passed: Iterable[int]) -> tuple[int, ...]:
    fds = tuple(dict.fromkeys(passed))
    if len(fds) > lib.PC_PASSED_MOST:
        raise ValueError(f"pass_fds has {len(fds)} descriptors; {lib.PC_PASSED_MOST} may be passed")
    for fd in fds:
        if not isinstance(fd, int) or isinstance(fd, bool) or fd < 0:
            raise ValueError(f"pass_fds takes numbers of descriptors, not {fd!r}")
        if fd < 3:
            raise ValueError(f"pass_fds: {fd} is a standard stream; use stdin=, stdout=, stderr=")
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            # openat(fd, "..") would leave the container.
            raise SetupError(
                errno.EISDIR,
                "a directory cannot be passed on; bind() shows one to a container",
                None,
                f"hand over descriptor {fd}",
            )
    return fds


def exec_failure(error: int, why: int, text: bytes, program: str, plan: Plan | None) -> SetupError:
    """The error for a program that could not be executed.

    Arguments:
        why: PC_EXEC_*.
        text: the path that was tried, a NUL, and a detail: an interpreter, where a link leads.
    """
    raw_path, _, raw_detail = text.partition(b"\0")
    path = one_line(os.fsdecode(raw_path))
    detail = one_line(os.fsdecode(raw_detail))
    words, note = os.strerror(error), ""
    if error == errno.ENOENT and why == lib.PC_EXEC_PLAIN:
        words = f"there is no {one_line(program)} in the container"
        note = _holdings(plan)
        if "/" not in program:
            note += "; it was looked for in the container's PATH"
    elif why == lib.PC_EXEC_INTERPRETER:
        missing = detail or "which it does not let read"
        words = f"{path} is there, but its interpreter is not in the container: {missing}"
        note = f"bind {missing} too, or what it links to: host_system() shows the host's programs"
    elif why == lib.PC_EXEC_LINK:
        words = f"{path} is a link to {detail}, which is not in the container"
    elif why == lib.PC_EXEC_DIRECTORY:
        words = f"{path} is a directory"
    elif why == lib.PC_EXEC_MODE:
        words = f"{path} is not executable: its mode lets nobody run it"
    elif why == lib.PC_EXEC_MOUNT:
        words = f"{path} lies on a mount with noexec"
    elif error == errno.ENOEXEC:
        words = f"{path} is neither a program for this machine nor a script with a #! line"
        note = "name the interpreter, as in ['/bin/sh', script]"
    elif error == errno.E2BIG:
        note = "the arguments and the environment together are too long (execve(2))"
    failure = SetupError(error, words, program, "execute the program")
    if note:
        failure.add_note(note)
    return failure


def _holdings(plan: Plan | None) -> str:
    """What a container holds, from its plan alone."""
    if plan is None:
        return "the program comes from the container's own files"
    places = []
    for step in plan.steps:
        if step.op is Op.ROOT_DIRECTORY:
            places.append(f"/ ({step.path})")
        elif step.op is Op.BIND and not step.path.startswith(("/dev/", "/proc/")):
            places.append(step.path)
    if not places:
        return "nothing of the host is bound: host_system() shows the host's programs"
    shown = places if len(places) <= _SHOWN else [*places[:_SHOWN], "..."]
    return f"bound in the container: {', '.join(shown)}"


_SHOWN = 20

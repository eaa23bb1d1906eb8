"""Least-authority wrappers: a program that always runs in a container which was settled before.

A wrapper is a file to execute in the program's place.  What it allows was decided when it was
written, and stands in it to be read; whoever calls it chooses the program's arguments and the
values of the variables that are handed on, and nothing else.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable

from attrs import field, frozen

from ..declare.checks import Problems, check_text, host_path, refuse
from ..declare.container import Container, extend
from ..declare.mounts import Mount, Overlay, bind
from .lookup import Lookup
from .spelling import literal, spell

__all__ = ["PRESERVED", "Wrapper", "is_wrapper", "missing_files", "wrap"]

SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where a root file system has its programs, unless the container's environment has a PATH."""

PRESERVED = (
    "HOME",
    "USER",
    "LOGNAME",
    "DISPLAY",
    "XAUTHORITY",
    "TERM",
    "TZ",
    "PAGER",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
)
"""The variables that a wrapped program has of its caller, unless others are named.

The last three are those of sd_listen_fds(3): they stand for sockets that are handed over."""

_LONGEST_INTERPRETER = 255 - len("#! -I\n")
"""Bytes that the kernel reads of the first line of a script (BINPRM_BUF_SIZE, linux/binfmts.h)."""

_MARK = "# A wrapper, written by `pycontainer wrap`."


def _names_of(names: Iterable[str]) -> tuple[str, ...]:
    return names if isinstance(names, str) else tuple(dict.fromkeys(names))  # type: ignore[return-value]


@frozen
class Wrapper:
    """A wrapper as data; ``str()`` of it is the file.

    Attributes:
        program: absolute: on the host and in the container.
        container: what the program runs in.
        preserve: the variables that it has of its caller.
        tty: whether it gets a terminal of its own; None: where stdin and stdout are terminals.
        interpreter: the Python that executes the wrapper.
        package: a directory that has pycontainer, for an *interpreter* that does not find it by
            itself.

    Raises:
        ValueError: listing every bad field.
    """

    program: str = field(converter=host_path)
    container: Container
    preserve: tuple[str, ...] = field(default=PRESERVED, converter=_names_of)
    tty: bool | None = None
    interpreter: str = field(factory=lambda: sys.executable)
    package: str = field(
        factory=lambda: os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    )

    def __attrs_post_init__(self) -> None:
        problems: Problems = []
        check_text(problems, "program", self.program)
        if not isinstance(self.container, Container):
            problems.append(f"container must be a Container, not {self.container!r}")
        elif self.container.child_is_pid1:
            problems.append("child_is_pid1: a wrapped program runs below an init, which waits")
        if isinstance(self.preserve, str):
            problems.append(f"preserve takes names, as in preserve=[{self.preserve!r}]")
        else:
            for name in self.preserve:
                if check_text(problems, "preserve: a name", name) and "=" in name:
                    problems.append(f"preserve: name {name!r} contains '='")
        _check_interpreter(problems, self.interpreter)
        refuse("wrapper", problems)

    def __str__(self) -> str:
        made, used = spell(self.container)
        names = "".join(f"    {name},\n" for name in sorted(used, key=_import_order))
        preserve = "".join(f"    {literal(name)},\n" for name in self.preserve)
        return f"""\
#!{self.interpreter} -I
{_MARK}
#
# It runs PROGRAM in CONTAINER, always.  Who calls it chooses the arguments, and the values of the
# variables in PRESERVE.
import sys

sys.path.append({literal(self.package)})

from pycontainer import (
{names})
from pycontainer.shell.wrapped import run_wrapped

PROGRAM = {literal(self.program)}

PRESERVE = (
{preserve})

TTY = {self.tty!r}

CONTAINER = {made}

if __name__ == "__main__":
    run_wrapped(PROGRAM, CONTAINER, preserve=PRESERVE, tty=TTY)
"""


def _import_order(name: str) -> tuple[int, str]:
    """Constants, classes, functions."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


def _check_interpreter(problems: Problems, interpreter: str) -> None:
    if not interpreter or not os.path.isabs(interpreter):
        problems.append(f"interpreter must be the absolute path of a Python, not {interpreter!r}")
    elif len(os.fsencode(interpreter)) > _LONGEST_INTERPRETER or set(interpreter) & set(" \t\n"):
        problems.append(
            f"interpreter {interpreter!r} cannot stand in the first line of a script: it is longer "
            f"than {_LONGEST_INTERPRETER} bytes, or has a blank in it"
        )


def wrap(
    container: Container,
    program: str,
    *,
    preserve: Iterable[str] = PRESERVED,
    tty: bool | None = None,
    libraries: bool = False,
) -> Wrapper:
    """A wrapper for *program*, which is shown to *container* at its own path if it is not there.

    Arguments:
        container: what the program may see and do.
        program: a path, or a name to look for in PATH: in the container's root file system where it
            has one, else on the host.
        preserve: the variables that it has of its caller.
        tty: as for ``Wrapper``.
        libraries: show it what it takes to start it, too: the interpreter of a script, the loader,
            shared libraries.

    Raises:
        FileNotFoundError: there is no such program, or a source of the container's is not there.
        PermissionError: it may not be executed.
        ValueError: it is a wrapper itself; or a bad field.
    """
    path = _find_inside(program, container) or _find(program)
    if is_wrapper(path):
        raise ValueError(f"{path} is a wrapper already; name the program that it wraps")
    _check_sources(container)
    if container.child_is_pid1 is None:
        container = extend(container, child_is_pid1=False)
    wanted = [path]
    if libraries:
        wanted += _needed(path)
    for place in wanted:
        # Anew each time: a bind of what was a link has brought what it leads to.
        if "mnt" in container.namespaces and not Lookup(container.mounts, container.rootfs).exists(
            place
        ):
            container = extend(container, bind(place))
    return Wrapper(path, container, preserve=preserve, tty=tty)


def _find_inside(program: str, container: Container) -> str | None:
    """Where the container has it: a name is looked for in a root file system only."""
    inside = Lookup(container.mounts, container.rootfs)
    if "/" in program:
        path = os.path.normpath(program)
        return path if os.path.isabs(path) and inside.is_program(path) else None
    if container.rootfs is None:
        return None
    return inside.find_program(program, container.env.get("PATH", SEARCH_PATH).split(":"))


def _find(program: str) -> str:
    import shutil

    if "/" not in program:
        found = shutil.which(program)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "there is no such program in PATH", program)
        return os.path.abspath(found)
    path = os.path.abspath(program)
    if not os.path.isfile(path):
        os.stat(path)
        raise PermissionError(errno.EACCES, "it is no file", path)
    if not os.access(path, os.X_OK):
        raise PermissionError(errno.EACCES, "its mode does not let you execute it", path)
    return path


def is_wrapper(path: str) -> bool:
    """Whether there is a wrapper at *path*."""
    if not os.path.isfile(path):  # a FIFO would have one wait
        return False
    try:
        with open(path, "rb") as file:
            return file.read(4096).split(b"\n", 2)[1:2] == [_MARK.encode()]
    except OSError:
        return False


def _check_sources(container: Container) -> None:
    """Now, and not only when the wrapper is called."""
    places = [] if container.rootfs is None else [container.rootfs]
    for item in container.mounts:
        if isinstance(item, Mount) and item.source is not None and not item.optional:
            places.append(item.source)
        elif isinstance(item, Overlay):
            places += [*item.lower, *(one for one in (item.upper, item.work) if one is not None)]
    for place in places:
        os.stat(place)


def _interpreter(head: bytes) -> str | None:
    """What a script's first line names."""
    if not head.startswith(b"#!"):
        return None
    words = head[2:].split(b"\n", 1)[0].split()
    return os.fsdecode(words[0]) if words else None


def _needed(program: str) -> list[str]:
    """What it takes to start *program* on the host."""
    from ..host.libraries import needed_files

    chain = [program]
    for _ in range(5):  # as many as the kernel follows in a row (fs/exec.c)
        try:
            with open(chain[-1], "rb") as file:
                following = _interpreter(file.read(256))
        except OSError:
            break
        if following is None or not os.path.isfile(following):
            break
        chain.append(following)
    return [*chain[1:], *needed_files(chain)]


def missing_files(wrapper: Wrapper) -> list[str]:
    """What the program needs to be started and does not find in its container, as far as files
    of the host tell.  It may do without some."""
    # A root file system has its own loader and libraries, where that finds them.
    if "mnt" not in wrapper.container.namespaces or wrapper.container.rootfs is not None:
        return []
    inside = Lookup(wrapper.container.mounts)
    program = inside.source(wrapper.program) or wrapper.program
    return [place for place in _needed(program) if not inside.exists(place)]

"""``pycontainer wrap``: write a wrapper that always runs a program in a certain container."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from .declaring import Declaration
from .options import ELSEWHERE as RUNS_ELSEWHERE
from .options import RUN, Option
from .parse import MisuseError
from .reading import read

if TYPE_CHECKING:
    from ..shell.wrapper import Wrapper

__all__ = ["ELSEWHERE", "NOT_OURS", "WRAP", "run"]

_WRAPPER = "The wrapper"

NOT_OURS = {
    "--json": "run the wrapper by `pycontainer run`, or look at its exit status",
    "--json-file": "run the wrapper by `pycontainer run`, or look at its exit status",
    "--as-pid-1": "a wrapped program runs below an init",
    "--init": "so it is",
    "--interactive": "stdin is the caller's",
    "-i": "stdin is the caller's",
}
"""Options of ``pycontainer run`` that a wrapper has no use for."""

WRAP: tuple[Option, ...] = (
    Option(_WRAPPER, "--output -o", "FILE", "Write FILE; - is stdout. Default: ./NAME of PROGRAM."),
    Option(
        _WRAPPER,
        "--libraries",
        "",
        "Show what it takes to start PROGRAM: interpreter, loader, shared libraries.",
    ),
    Option(_WRAPPER, "--preserve", "NAME", "Hand the caller's variable NAME on, too."),
    Option(_WRAPPER, "--no-preserve", "", "Hand on none but those that --preserve names after it."),
    *(option for option in RUN if option.names[0] not in NOT_OURS),
)

ELSEWHERE = {**RUNS_ELSEWHERE, **NOT_OURS}

HELP = """\
Write an executable that always runs PROGRAM in the container that the options declare.

Nothing of the host is in it but what the options name, and PROGRAM itself. Who calls the wrapper
chooses the arguments of PROGRAM and the values of the variables that are handed on: HOME USER
LOGNAME DISPLAY XAUTHORITY TERM TZ PAGER, and with LISTEN_FDS the sockets of sd_listen_fds(3)."""
EPILOG = """\
The wrapper's exit status is PROGRAM's; 128+n, and a message, when signal n ended it; 125, 126 and
127 as with `pycontainer run`."""


def run(arguments: list[str]) -> int:
    """Run a command line without its ``wrap``; return the exit status.

    Raises:
        MisuseError, ValueError: it is wrong.
        OSError: the program or something to show is not there, or the file cannot be written.
    """
    given, words = read(
        "pycontainer wrap",
        WRAP,
        arguments,
        help=HELP,
        epilog=EPILOG,
        usage="[OPTIONS] PROGRAM",
        elsewhere=ELSEWHERE,
    )
    if not words:
        raise MisuseError("there is no program to wrap")
    if len(words) > 1:
        raise MisuseError(
            f"one program is wrapped, without arguments: {words[1]!r} is one too many"
        )
    from ..shell.wrapper import PRESERVED, missing_files, wrap

    preserve = list(PRESERVED)
    declaration = Declaration()
    output, libraries = "", False
    for name, values in given:
        if name == "--output":
            output = values[0]
        elif name == "--libraries":
            libraries = True
        elif name == "--no-preserve":
            preserve.clear()
        elif name == "--preserve":
            preserve.append(values[0])
        elif name == "--env" and "=" not in values[0]:
            preserve.append(values[0])  # the caller's of the moment, not today's
        else:
            declaration.add(name, values)
    wrapper = wrap(
        declaration.container(),
        words[0],
        preserve=preserve,
        tty=declaration.tty,
        libraries=libraries,
    )
    _check_tty(wrapper)
    if declaration.dry_run:
        from ..plan.compile import explain

        sys.stdout.write(explain(wrapper.container))
        return 0
    if output == "-":
        sys.stdout.write(str(wrapper))
    else:
        _write(output or os.path.basename(wrapper.program), wrapper)
    missing = missing_files(wrapper)
    if missing:
        shown = ", ".join(missing[:4]) + (", ..." if len(missing) > 4 else "")
        print(
            f"pycontainer wrap: {wrapper.program} may not start: its container lacks {shown}",
            "  --libraries shows what it takes; --host-system, all programs of the host",
            sep="\n",
            file=sys.stderr,
        )
    return 0


def _check_tty(wrapper: Wrapper) -> None:
    limits = wrapper.container.limits
    if wrapper.tty and limits is not None and limits.output is not None:
        raise MisuseError("--output-limit counts what goes into pipes: not with --tty")


def _write(path: str, wrapper: Wrapper) -> None:
    """Write it whole or not at all, in the place of nothing but an earlier wrapper."""
    import tempfile

    from ..shell.wrapper import is_wrapper

    if os.path.lexists(path) and not is_wrapper(path):
        error = MisuseError(f"{path} is there already, and is no wrapper")
        error.add_note("remove it, or name another file by --output")
        raise error
    text = str(wrapper)
    fd, new = tempfile.mkstemp(prefix=".wrapper-", dir=os.path.dirname(path) or ".")
    try:
        with open(fd, "w", encoding="utf-8") as file:
            file.write(text)
            mask = os.umask(0)
            os.umask(mask)
            os.fchmod(fd, 0o777 & ~mask)
        os.replace(new, path)
    except BaseException:
        os.unlink(new)
        raise

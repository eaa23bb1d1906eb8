"""``pycontainer inspect``: what a process, and the container around it, is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .option import Option
from .parse import MisuseError
from .reading import read

if TYPE_CHECKING:
    from ..inspection.report import Inspection

__all__ = ["INSPECT", "run"]

INSPECT = (
    Option("Options", "--env", "", "Also its environment, in which there may be secrets."),
    Option("Options", "--json", "", "One JSON object in place of the tree."),
)

_HELP = """\
Show what the process PID may see and do, and what else is in its container.

PID is any process of any container, whoever made it, as `pycontainer ps` or ps(1) shows it; one
that is in no container will do too."""
_EPILOG = """\
All of it is read from this system's /proc: nothing is run in the container. What only root or its
owner may read is said to be unread."""


def run(arguments: list[str]) -> int:
    """Run a command line without its ``inspect``; return the exit status.

    Raises:
        MisuseError: it is wrong.
        OSError: there is no such process, or /proc cannot be read.
    """
    given, rest = read(
        "pycontainer inspect",
        INSPECT,
        arguments,
        help=_HELP,
        epilog=_EPILOG,
        usage="[OPTIONS] PID",
        interspersed=True,
    )
    options = {name for name, _ in given}
    pid = _pid(rest)
    from ..inspection.examine import inspect_container

    found = inspect_container(pid, environment="--env" in options)
    from .showing import console, write, write_json

    if "--json" in options:
        write_json(as_json(found))
        return 0
    from .inspection_tree import tree_of
    from .tree import show_plain, show_rich

    terminal = console()
    if terminal is None:
        write(show_plain(tree_of(found)))
    else:
        show_rich(tree_of(found), terminal)
    return 0


def _pid(words: list[str]) -> int:
    if len(words) != 1:
        raise MisuseError("it takes one PID" + (f", not {len(words)}" if words else ""))
    if not (words[0].isascii() and words[0].isdigit()):
        error = MisuseError(f"{words[0]!r} is no process number")
        error.add_note("pycontainer ps lists the containers with their first processes")
        raise error
    return int(words[0])


def as_json(found: Inspection) -> dict[str, Any]:
    """What ``--json`` prints; docs/inspecting.md has the meaning of the keys."""
    from attrs import asdict

    return asdict(found)

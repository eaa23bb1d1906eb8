"""The program ``pycontainer``."""

from __future__ import annotations

import sys

__all__ = ["main"]

_COMMANDS = {"run": "Run a command in a container."}
_USAGE = """\
Usage: pycontainer COMMAND [OPTIONS] ...

Commands:
{commands}
`pycontainer COMMAND --help` shows a command's options.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the program; return its exit status.

    Arguments:
        arguments: without the program's name; those of this process when None.
    """
    import gc
    import signal

    # Nothing here lives long enough to be collected; it takes a tenth of the time.
    gc.disable()
    # Until a container runs, Ctrl-C is to end this as it ends any program, without a traceback.
    if arguments is None:
        arguments = sys.argv[1:]
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
    if not arguments or arguments[0] in ("--help", "-h"):
        rows = "".join(f"  {name:10} {words}\n" for name, words in _COMMANDS.items())
        (sys.stdout if arguments else sys.stderr).write(_USAGE.format(commands=rows))
        return 0 if arguments else 125
    if arguments[0] == "--version":
        from importlib.metadata import version

        print("pycontainer", version("pycontainer-linux"))
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in _COMMANDS:
        return _complain("pycontainer", f"there is no command {name!r}", _near(name))
    from ..errors import ContainerError
    from .parse import MisuseError

    try:
        from .running import run

        return run(rest)
    except (MisuseError, ContainerError, ValueError, OSError, ModuleNotFoundError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name != "click":
            raise
        notes = getattr(error, "__notes__", [])
        return _complain(f"pycontainer {name}", str(error), notes, _status_of(error))


def _status_of(error: BaseException) -> int:
    if getattr(error, "step", "") == "execute the program":
        return 127 if isinstance(error, FileNotFoundError) else 126
    return 125


def _complain(name: str, message: str, notes: list[str], status: int = 125) -> int:
    lines = [f"{name}: {message}", *(f"  {line}" for note in notes for line in note.splitlines())]
    print(*lines, sep="\n", file=sys.stderr)
    return status


def _near(name: str) -> list[str]:
    from difflib import get_close_matches

    near = get_close_matches(name, _COMMANDS, n=1)
    return [f"did you mean {near[0]}?"] if near else [f"there are: {' '.join(_COMMANDS)}"]

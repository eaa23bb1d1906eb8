"""The program ``pycontainer``."""

from __future__ import annotations

import sys

__all__ = ["main"]

_FAILED = 125  # as podman has it

_COMMANDS = {
    "run": ("running", "Run a command in a container."),
    "exec": ("exec", "Run a command inside a running container."),
    "ps": ("ps", "List the containers on this host, whoever made them."),
    "shell": ("shell", "A shell, or a command, with just the software that is named."),
    "inspect": ("inspect", "Show what a process, and the container around it, is made of."),
    "wrap": ("wrap", "Write a wrapper that always runs a program in a container."),
    "build": ("build", "Build what a JSON file asks for, from inputs to outputs in a store."),
    "oci": ("oci", "Containers as OCI bundles, and running bundles, here or by runc or crun."),
    "doctor": ("doctor", "Say what works on this machine, and what blocks the rest."),
}
"""Command → the module with its ``run(arguments)``, and what it does."""

_USAGE = """\
Usage: pycontainer COMMAND [OPTIONS] ...

Commands:
{commands}
`pycontainer COMMAND --help` shows a command's options.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the program; return its exit status, or end this process with it.

    Arguments:
        arguments: without the program's name.  None: those of this process, which then ends here.
    """
    import gc

    # Nothing here lives long enough to be collected; it takes a tenth of the time.
    gc.disable()
    if arguments is not None:
        return _main(arguments)
    import signal

    # Until a container runs, Ctrl-C is to end this as it ends any program, without a traceback.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    status = _main(sys.argv[1:])
    from ..launch.foreground import leave

    return leave(status)


def _main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("--help", "-h"):
        rows = "".join(f"  {name:10} {words}\n" for name, (_, words) in _COMMANDS.items())
        (sys.stdout if arguments else sys.stderr).write(_USAGE.format(commands=rows))
        return 0 if arguments else _FAILED
    if arguments[0] == "--version":
        from importlib.metadata import version

        print("pycontainer", version("pycontainer-linux"))
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in _COMMANDS:
        return _complain("pycontainer", f"there is no command {name!r}", _near(name))
    from importlib import import_module

    from ..errors import ContainerError
    from .parse import MisuseError

    try:
        status: int = import_module(f".{_COMMANDS[name][0]}", __package__).run(rest)
        return status
    except (MisuseError, ContainerError, ValueError, OSError, ModuleNotFoundError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name not in ("click", "rich"):
            raise
        notes = getattr(error, "__notes__", [])
        from ..launch.foreground import status_of

        return _complain(f"pycontainer {name}", str(error), notes, status_of(error))


def _complain(name: str, message: str, notes: list[str], status: int = _FAILED) -> int:
    from ..launch.codec.text import printable

    lines = [f"{name}: {message}", *(f"  {line}" for note in notes for line in note.splitlines())]
    # There may be names and words in it that an archive, a package or a container chose.
    print(printable("\n".join(lines)), file=sys.stderr)
    return status


def _near(name: str) -> list[str]:
    from difflib import get_close_matches

    near = get_close_matches(name, _COMMANDS, n=1)
    return [f"did you mean {near[0]}?"] if near else [f"there are: {' '.join(_COMMANDS)}"]

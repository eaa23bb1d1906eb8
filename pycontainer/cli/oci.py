"""``pycontainer oci``: containers as OCI bundles, and running bundles."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from .option import Option
from .options import ELSEWHERE, RUN
from .parse import MisuseError
from .reading import read

if TYPE_CHECKING:
    from ..declare.container import Container
    from ..launch.results import Completed

__all__ = ["BUNDLE_RUN", "run"]

USAGE = """\
Usage: pycontainer oci spec [OPTIONS] [--] COMMAND [ARGUMENTS]...
       pycontainer oci bundle DIR [OPTIONS] [--] COMMAND [ARGUMENTS]...
       pycontainer oci run [OPTIONS] DIR

  spec    Print the config.json of a container and a command.
  bundle  Write a bundle, for runc, crun or `oci run`.
  run     Run a bundle, here or by an OCI runtime.

The options of spec and bundle are those of `pycontainer run`.
"""
SPEC_HELP = "Print the OCI config.json of a container and a command.  The host is not asked."
BUNDLE_HELP = """\
Write an OCI bundle into DIR, which must be new or empty, for this user on this host: a config.json
and the root that it needs."""
RUN_HELP = """\
Run the OCI bundle in DIR, with the caller's stdin, stdout and stderr."""
RUN_EPILOG = """\
The exit status is the command's; 128+n when signal n ended it; 125 when the bundle cannot be run,
126 when its command cannot, 127 when that is not there."""
_RUN = "How"

BUNDLE_RUN: tuple[Option, ...] = (
    Option(_RUN, "--runtime", "NAME", "native (pycontainer itself; the default), runc or crun."),
    Option(_RUN, "--log", "FILE", "Output goes into FILE, anew; stdin is empty."),
    Option(_RUN, "--json", "", "At the end print how it ended, as one line of JSON."),
    Option(_RUN, "--json-file", "FILE", "The same into FILE; a number is a descriptor."),
)

# They say how a command line's program is run, not what a container is.
_NOT_HERE = ("Terminal and output",)


def run(arguments: list[str]) -> int:
    """Run a command line without its ``oci``; return the exit status.

    Raises:
        MisuseError, ValueError: it is wrong, or the bundle is.
        ContainerError, OSError: the bundle cannot be written or run.
    """
    if not arguments or arguments[0] in ("--help", "-h"):
        (sys.stdout if arguments else sys.stderr).write(USAGE)
        return 0 if arguments else 125
    name, rest = arguments[0], arguments[1:]
    if name == "spec":
        return _spec(rest)
    if name == "bundle":
        return _bundle(rest)
    if name == "run":
        return _run(rest)
    raise MisuseError(f"there is no command oci {name!r}: there are spec, bundle and run")


def _declared(name: str, arguments: list[str], help: str) -> tuple[Container, list[str]]:
    from .declaring import Declaration

    options = [option for option in RUN if option.group not in _NOT_HERE]
    usage = "[OPTIONS] [--] COMMAND [ARGUMENTS]..."
    if name == "bundle":
        usage = f"DIR {usage}"
    given, command = read(
        f"pycontainer oci {name}", options, arguments, help=help, usage=usage, elsewhere=ELSEWHERE
    )
    declaration = Declaration()
    for option, values in given:
        declaration.add(option, values)
    if not command:
        raise MisuseError("there is no command")
    return declaration.container(), command


def _spec(arguments: list[str]) -> int:
    from ..oci.spec import to_spec

    container, command = _declared("spec", arguments, SPEC_HELP)
    # ASCII, so that it is JSON whatever the terminal's encoding is.
    print(json.dumps(to_spec(container, command), indent=2))
    return 0


def _bundle(arguments: list[str]) -> int:
    if not arguments:
        raise MisuseError("there is no directory to write")
    if arguments[0] in ("--help", "-h"):
        _declared("bundle", arguments, BUNDLE_HELP)  # shows it and ends
    directory, rest = arguments[0], arguments[1:]
    if directory.startswith("-"):
        raise MisuseError(f"the directory comes first, not {directory}")
    from ..oci.bundle import write_bundle

    write_bundle(directory, *_declared("bundle", rest, BUNDLE_HELP))
    return 0


def _run(arguments: list[str]) -> int:
    given, words = read(
        "pycontainer oci run",
        BUNDLE_RUN,
        arguments,
        help=RUN_HELP,
        epilog=RUN_EPILOG,
        usage="[OPTIONS] DIR",
        interspersed=True,
    )
    if len(words) != 1:
        raise MisuseError("there is no directory" if not words else "there is more than one DIR")
    runtime, log, where = "native", None, None
    for option, values in given:
        if option == "--runtime":
            runtime = values[0]
        elif option == "--log":
            log = values[0]
        else:
            where = values[0] if values else ""
    if runtime not in ("native", "runc", "crun"):
        raise MisuseError(f"--runtime takes native, runc or crun, not {runtime!r}")
    if runtime == "native" and log is None:
        return _in_foreground(words[0], where)
    return _by(runtime, words[0], log, where)


def _in_foreground(directory: str, where: str | None) -> int:
    from ..launch.command import Command
    from ..launch.foreground import run_in_foreground, start_program
    from ..oci.reading import from_spec, read_config

    spec = read_config(directory)
    at_terminal = os.isatty(0) and os.isatty(1)
    container, argv = from_spec(spec, bundle=os.path.abspath(directory), terminal=at_terminal)
    tty = at_terminal and bool((spec.get("process") or {}).get("terminal"))
    program = Command.of(argv, container.env)

    def ended(completed: Completed[None]) -> None:
        _tell(completed, container.limits, where)

    return run_in_foreground(lambda: start_program(container, program, tty), ended)


def _by(runtime: Any, directory: str, log: str | None, where: str | None) -> int:
    from ..oci.running import run_bundle

    cancel = threading.Event()
    came: list[int] = []

    def stop(number: int, frame: object) -> None:
        came.append(number)
        cancel.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup(1)
            signal.signal(number, stop)
    completed = run_bundle(directory, runtime=runtime, log=log, cancel=cancel)
    _tell(completed, None, where)
    if came and completed.status.signal is not None:
        # As it ends any program: a shell script that runs this one stops too.
        signal.signal(came[0], signal.SIG_DFL)
        signal.raise_signal(came[0])
    if completed.status.signal is not None:
        return 128 + completed.status.signal
    return completed.status.exit_code or 0


def _tell(completed: Completed[None], limits: Any, where: str | None) -> None:
    if completed.verdict.value in _LIMITS:
        import shlex

        from ..launch.verdict import limit_words

        name = shlex.join(completed.args)
        words = limit_words(completed, name, limits) if limits is not None else ""
        words = words or f"{name} met its limit of {completed.verdict.value}"
        print(f"pycontainer oci run: {words}", file=sys.stderr, flush=True)
    if where is not None:
        from .running import report

        report(completed, where)


_LIMITS = ("wall_time", "cpu_time", "memory", "output", "seccomp")

"""``pycontainer shell``: a shell, or one command, in a container of just the named software."""

from __future__ import annotations

import os
import sys

from .option import Option
from .parse import MisuseError
from .prepared import Prepared, keep, recall
from .reading import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..declare.container import Container
    from ..launch.running import Running
    from ..shell.software import Request

__all__ = ["run"]

_SOFTWARE = "Software, each as often as there is some"
_SHARED = "What else of the host is there"
_USER = "User and environment"
_ROOT = "The root"
_INSTEAD = "Instead of a shell"

SHELL: tuple[Option, ...] = (
    Option(_SOFTWARE, "--venv", "DIR", "A virtual environment, with the Python behind it."),
    Option(_SOFTWARE, "--pip", "REQUIREMENT", "A distribution from the package index: 'numpy>=2'."),
    Option(_SOFTWARE, "--apt", "PACKAGE", "A Debian package, with what it depends on."),
    Option(_SOFTWARE, "--rootfs", "DIR|TAR", "A root file system: a directory or an archive."),
    Option(_SOFTWARE, "--oci-image", "DIR", "An image, as a directory of the OCI image layout."),
    Option(_SOFTWARE, "--profile", "DIR", "A prefix with bin/, as a Guix or Nix profile."),
    Option(_SHARED, "--network -N", "", "The network: the host's, with what it takes to use it."),
    Option(_SHARED, "--share", "SRC[=DST]", "SRC of the host is seen, writable, as DST (or SRC)."),
    Option(_SHARED, "--expose", "SRC[=DST]", "The same, read-only."),
    Option(_SHARED, "--no-cwd", "", "The current directory is not there; start in HOME."),
    Option(_USER, "--user -u", "NAME", "Be NAME, with the id 1000 and the home /home/NAME."),
    Option(_USER, "--preserve -E", "REGEXP", "Keep the variables with a match in their name."),
    Option(_ROOT, "--symlink -S", "LINK=TO", "A link; TO is a path, or 'bin/x' of the software."),
    Option(_ROOT, "--writable-root", "", "Let the root be changed; changes end with the shell."),
    Option(_INSTEAD, "--check", "", "Say whether an interactive shell keeps its variables."),
    Option(_INSTEAD, "--dry-run", "", "Print what would be done, step by step, and stop."),
)

HELP = """\
Run a shell, or COMMAND, in a container that holds the named software, the current directory
(writable), and nothing else of the host."""
EPILOG = """\
The exit status is the command's; 128+n when signal n ended it; 125 when pycontainer failed, 126
when the command cannot be run, 127 when it is not there."""

ELSEWHERE = {
    # guix shell's
    "--container": "a shell is always in a container",
    "-C": "a shell is always in a container",
    "--pure": "nothing is inherited but what --preserve names",
    "--manifest": "name the software with --pip, --apt or --profile",
    "--development": "name the software with --pip, --apt or --profile",
    "--emulate-fhs": "use --apt, --rootfs or --oci-image, which have the usual directories",
    "--link-profile": "use --symlink",
    "--nesting": "use --profile, and --share for what is to be reached",
    # pycontainer run's
    "--bind": "use --share SRC=DST",
    "--ro-bind": "use --expose SRC=DST",
    "--host-network": "use --network",
    "--env": "use --preserve REGEXP, or `-- env NAME=VALUE COMMAND`",
    "--setenv": "use --preserve REGEXP, or `-- env NAME=VALUE COMMAND`",
    "--chdir": "go there before; or --no-cwd with --share",
}


def run(arguments: list[str]) -> int:
    """Run a command line without its ``shell``; return the exit status.

    Raises:
        MisuseError, ValueError: it is wrong.
        ContainerError: software cannot be had, or the container could not be started.
        OSError: something to share is not there.
    """
    given, command = read(
        "pycontainer shell",
        SHELL,
        arguments,
        help=HELP,
        epilog=EPILOG,
        usage="[OPTIONS] [--] [COMMAND [ARGUMENTS]...]",
        elsewhere=ELSEWHERE,
    )
    values: dict[str, list[str]] = {}
    for name, one in given:
        values.setdefault(name, []).extend(one or ("",))
    tty = os.isatty(0) and os.isatty(1) and "--check" not in values
    if "--check" in values:
        if command:
            raise MisuseError(f"--check looks at the interactive shell: without {command[0]}")
        from .shell_check import check

        return check(_container(values, None))
    terminal = os.environ.get("TERM", "dumb") if tty else None
    if "--dry-run" in values:
        _show(_container(values, terminal))
        return 0
    if not command and not any(name in values for name in _PROVIDERS):
        print("pycontainer shell: no software is named: there is a shell only", file=sys.stderr)
    kept = recall(values, terminal)
    if kept is not None:
        runs: list[bool] = []
        try:
            return _run(kept, command, tty, lambda: runs.append(True))
        except OSError:
            if runs:
                raise
            # What was there is not: now it is said in words, or has become something else.
    container = _container(values, terminal)
    shell = _prepared(container)
    try:
        status = _run(shell, command, tty, lambda: keep(values, terminal, shell))
    except FileNotFoundError as error:
        if not command or getattr(error, "step", "") != _EXECUTE or "/" in command[0]:
            raise
        from ..launch.codec.text import printable
        from .shell_check import not_found

        print(printable(not_found(container, command[0])), file=sys.stderr)
        return 127
    return status


_EXECUTE = "execute the program"


def _show(container: Container) -> None:
    from ..launch.codec.text import printable
    from ..plan.compile import explain

    # An image names files and variables as it likes.
    sys.stdout.write(printable(explain(container)))
    sys.stdout.write("environment\n")
    for name, value in container.env.items():
        sys.stdout.write(printable(f"     {name}={value}\n"))


def interactive_command(container: Container) -> list[str]:
    """What is run where no command is given."""
    from ..shell.lookup import Lookup

    shell = container.env["SHELL"]
    # Debian's /etc/bash.bashrc sets a prompt of its own, which does not show where one is; but one
    # that the user has brought is wanted.
    own = Lookup(container.mounts).exists(f"{container.env['HOME']}/.bashrc")
    return [shell, "--norc"] if shell.endswith("/bash") and not own else [shell]


_BUILT_IN = ("[", "command", "echo", "false", "kill", "printf", "pwd", "test", "true")
"""Commands that every shell knows itself (POSIX, 1.6 Built-In Utilities, and what dash has)."""


def _prepared(container: Container) -> Prepared:
    from ..plan.compile import compile
    from ..shell.lookup import Lookup

    lookup = Lookup(container.mounts)
    path = container.env["PATH"].split(":")
    return Prepared(
        compile(container),
        container.env,
        container.namespaces,
        (container.guest_uid, container.guest_gid),
        interactive_command(container),
        frozenset(name for name in _BUILT_IN if lookup.find_program(name, path) is None),
    )


_PROVIDERS = ("--venv", "--pip", "--apt", "--rootfs", "--oci-image", "--profile")


def _requests(values: dict[str, list[str]]) -> list[Request]:
    """In the order in which their options were first given."""
    from ..shell import software

    requests: list[Request] = []
    for name, given in values.items():
        if name == "--pip":
            requests.append(software.Pip(tuple(given)))
        elif name == "--apt":
            requests.append(software.Apt(tuple(given)))
        elif name in _PROVIDERS:
            kinds: dict[str, Any] = {
                "--venv": software.Venv,
                "--rootfs": software.Rootfs,
                "--oci-image": software.OciImage,
                "--profile": software.Profile,
            }
            requests += [kinds[name](_path(name, one)) for one in given]
    return requests


def _container(values: dict[str, list[str]], terminal: str | None) -> Container:
    from ..shell.container import shell_container

    requests = _requests(values)
    if "--dry-run" in values:
        progress = None
    else:
        from .progress import Fetching

        progress = Fetching("pycontainer shell")
    try:
        return shell_container(
            requests,
            network="--network" in values,
            share=[_mapping("--share", one) for one in values.get("--share", ())],
            expose=[_mapping("--expose", one) for one in values.get("--expose", ())],
            cwd=None if "--no-cwd" in values else ".",
            user=_last(values, "--user"),
            preserve=values.get("--preserve", ()),
            symlinks=[_link(one) for one in values.get("--symlink", ())],
            writable_root="--writable-root" in values,
            terminal=terminal,
            progress=progress,
        )
    finally:
        if progress is not None:
            progress.stop()


def _last(values: dict[str, list[str]], name: str) -> str | None:
    given = values.get(name)
    return given[-1] if given else None


def _path(option: str, text: str) -> str:
    if not text:
        raise MisuseError(f"{option} takes a directory, and was given nothing")
    return os.path.expanduser(text)


def _mapping(option: str, text: str) -> tuple[str, str] | str:
    source, equals, target = text.partition("=")
    if not source or (equals and not target):
        raise MisuseError(f"{option} takes SRC or SRC=DST, not {text!r}")
    if equals and not target.startswith(("/", "~/")):
        raise MisuseError(f"{option} {text}: the place inside, {target}, does not begin with /")
    if not equals:
        return source
    return source, target


def _link(text: str) -> tuple[str, str]:
    place, equals, to = text.partition("=")
    if not equals or not to or not place.startswith("/"):
        raise MisuseError(f"--symlink takes LINK=TO, as /usr/bin/env=bin/env, not {text!r}")
    return place, to


def _run(
    shell: Prepared, command: list[str], tty: bool, started: Callable[[], object] = int
) -> int:
    """Run it in the foreground; call *started* once it runs."""
    from ..launch.command import Command
    from ..launch.foreground import run_in_foreground, start_program

    if not command:
        command = shell.interactive
    elif command[0] in shell.built_in:
        command = ["/bin/sh", "-c", '"$0" "$@"', *command]

    def start() -> Running[None]:
        program = Command.of(command, shell.env)
        running = start_program(shell, program, tty, plan=shell.plan)
        started()
        return running

    return run_in_foreground(start, lambda _: None)

"""``pycontainer exec``: a program of a running container, inside it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..errors import SetupError
from ..host.processes import children_of
from .option import Option
from .parse import MisuseError
from .reading import read

if TYPE_CHECKING:
    from ..launch.results import Completed
    from ..launch.running import Running

__all__ = ["ELSEWHERE", "EXEC", "run"]

_COMMAND = "The command"
_TERMINAL = "Terminal and output"

EXEC: tuple[Option, ...] = (
    Option(_COMMAND, "--env -e", "NAME[=VALUE]", "Set a variable; without a value, the caller's."),
    Option(_COMMAND, "--workdir --chdir -w", "DIR", "Start in DIR. Default: /."),
    Option(
        _TERMINAL,
        "--tty -t",
        "",
        "A terminal of its own. The default where stdin and stdout are terminals.",
    ),
    Option(_TERMINAL, "--no-tty", "", "No terminal of its own."),
    Option(_TERMINAL, "--interactive -i", "", "stdin is the caller's. The default."),
    Option(_TERMINAL, "--json", "", "At the end print how it ended, as one line of JSON."),
    Option(_TERMINAL, "--json-file", "FILE", "The same into FILE; a number is a descriptor."),
)

ELSEWHERE = {
    "--user": "it runs as process PID does",
    "-u": "it runs as process PID does",
    "--privileged": "it has the capabilities of process PID, and no more",
    "--cap-add": "it has the capabilities of process PID, and no more",
    "--detach": "use the shell's `&`",
    "-d": "use the shell's `&`",
    "--env-file": "use --env for each",
    "--latest": "name a process; `pycontainer ps` lists them",
}
"""Options of podman exec that this has not, and what to use in their place."""

HELP = """\
Run COMMAND, a program of the container that process PID is in, inside it.

It has the namespaces, the ids and at most the capabilities of PID, whoever made the container. Of
the environment it has TERM, PATH as PID has it, and what --env names."""
EPILOG = """\
The exit status is the command's; 128+n when signal n ended it; 125 when pycontainer failed, 126
when the command cannot be run, 127 when it is not there."""

_MOST_NAMES = 10_000  # of programs that a name is compared with
_MOST_PATH = 4096  # bytes


def run(arguments: list[str]) -> int:
    """Run a command line without its ``exec``; return the exit status.

    Raises:
        MisuseError, ValueError: it is wrong.
        SetupError: the container cannot be joined, or the program not be executed.
    """
    given, words = read(
        "pycontainer exec",
        EXEC,
        arguments,
        help=HELP,
        epilog=EPILOG,
        usage="[OPTIONS] PID COMMAND [ARGUMENTS]...",
        elsewhere=ELSEWHERE,
    )
    env, cwd, tty, json = _settings(given)
    if not words:
        raise MisuseError("there is no process to join")
    pid, command = _pid_of(words[0]), words[1:]
    if command[:1] == ["--"]:
        del command[0]
    if not command:
        raise MisuseError("there is no command to run")
    if tty is None:
        tty = os.isatty(0) and os.isatty(1) and json != ""
    path = _path_of(_program_below(pid) or pid)
    if path is not None:
        env.setdefault("PATH", path)
    _check_apart(pid)
    return _run(_joinable(pid), command, env, cwd, tty, json)


def _settings(
    given: list[tuple[str, tuple[str, ...]]],
) -> tuple[dict[str, str], str, bool | None, str | None]:
    env: dict[str, str] = {}
    if "TERM" in os.environ:
        env["TERM"] = os.environ["TERM"]
    cwd, json = "/", None
    tty: bool | None = None
    for name, values in given:
        if name == "--env":
            variable, equals, value = values[0].partition("=")
            if equals:
                env[variable] = value
            elif variable in os.environ:
                env[variable] = os.environ[variable]
        elif name == "--workdir":
            cwd = values[0]
        elif name in ("--tty", "--no-tty"):
            tty = name == "--tty"
        elif name in ("--json", "--json-file"):
            json = values[0] if values else ""
    return env, cwd, tty, json


def _run(
    pid: int, command: list[str], env: dict[str, str], cwd: str, tty: bool, json: str | None
) -> int:
    from ..commands import start_exec
    from ..launch.foreground import run_in_foreground

    def start() -> Running[Any]:
        # What is no terminal goes past it.
        stderr = 2 if tty and not os.isatty(2) else None
        return start_exec(pid, command, env=env, cwd=cwd, tty=tty, streams=(None, None, stderr))

    def ended(completed: Completed[Any]) -> None:
        if json is not None:
            from .running import report

            report(completed, json)

    try:
        return run_in_foreground(start, ended)
    except SetupError as error:
        if isinstance(error, FileNotFoundError) and error.step == "execute the program":
            _suggest(error, pid, command[0], env.get("PATH"))
        raise


# ---- the process


def _pid_of(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 10:
        raise MisuseError(f"PID is the number of a process, not {text!r}")
    return int(text)


def _read(path: str, most: int) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(most)
    except OSError:
        return b""


def _program_below(pid: int) -> int | None:
    """The program that *pid* waits for, where that is no more than the init of its container."""
    status = _read(f"/proc/{pid}/status", 1 << 16)
    numbers = next((line for line in status.splitlines() if line.startswith(b"NSpid:")), b"")
    if _read(f"/proc/{pid}/comm", 64).strip() not in _INITS or numbers.split()[-1:] != [b"1"]:
        return None
    return next((child for child in children_of(pid) if _links(child)), None)


_INITS = (b"container-init", b"bwrap")
"""Names of inits, whose environment is the host's."""


def _joinable(pid: int) -> int:
    """*pid*, or its program where only root may join the init itself: ours are non-dumpable."""
    return pid if _links(pid) else _program_below(pid) or pid


def _links(pid: int) -> tuple[str, ...]:
    """Its namespaces; () where they may not be looked at."""
    kinds = ("user", "pid", "mnt", "net", "ipc", "uts", "cgroup")
    try:
        return tuple(os.readlink(f"/proc/{pid}/ns/{kind}") for kind in kinds)
    except OSError:
        return ()


def _path_of(pid: int) -> str | None:
    """The PATH of a process, which says where its container has programs."""
    for variable in _read(f"/proc/{pid}/environ", 1 << 20).split(b"\0"):
        name, _, value = variable.partition(b"=")
        if name == b"PATH" and 0 < len(value) <= _MOST_PATH:
            return os.fsdecode(value)
    return None


def _check_apart(pid: int) -> None:
    """Refuse a process that is in no container: the command would run on the host.

    Raises:
        MisuseError: naming one of its descendants that is in a container, if there is one.
    """
    own = _links(os.getpid())
    if not own or _links(pid) != own:
        return
    error = MisuseError(f"process {pid} is in no container: its namespaces are the caller's")
    for descendant in _descendants(pid):
        if _links(descendant) not in ((), own):
            error.add_note(f"did you mean process {descendant}, which it has started?")
            break
    else:
        error.add_note("`pycontainer ps` lists containers")
    raise error


def _descendants(pid: int) -> Iterator[int]:
    waiting = children_of(pid)
    for _ in range(1000):
        if not waiting:
            return
        child = waiting.pop(0)
        yield child
        waiting += children_of(child)


# ---- a program that is not there


def _suggest(error: SetupError, pid: int, name: str, path: str | None) -> None:
    """Note the nearest name among the container's programs."""
    from difflib import get_close_matches

    from ..errors import ContainerError
    from ..excursion import container_excursion
    from ..launch.codec.text import one_line
    from ..launch.command import SEARCH_PATH

    if "/" in name:
        return
    places = (path or SEARCH_PATH).split(":")
    most = _MOST_NAMES

    def look() -> list[str]:
        found: set[str] = set()
        for place in places:
            try:
                found.update(os.listdir(place or "."))
            except OSError:
                continue
        return sorted(found)[:most]

    try:
        names = container_excursion(pid, look, timeout=5.0)
    except ContainerError:
        return  # it has ended
    near = get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        error.add_note(f"did you mean {one_line(near[0])}?")  # a name of the container's

"""What ``pycontainer shell`` says about shells that change variables, and commands not found."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ..launch.codec.text import printable
from ..shell.lookup import Lookup

if TYPE_CHECKING:
    from ..declare.container import Container

__all__ = ["check", "not_found"]

# What a shell sets for itself.
_ITS_OWN = frozenset({"OLDPWD", "PWD", "SHLVL", "_", "PS1", "TERM"})
_MARK = "# what the shell has:"


def check(container: Container) -> int:
    """Start the interactive shell and compare its variables with those that it was given.

    Its startup files, which a root file system or a shared HOME may bring, can change them.
    Returns 0 when all are as they were, else 1.
    """
    from ..commands import run_command
    from .shell import interactive_command

    shell = interactive_command(container)
    print(f"checking the variables that {shell[0]} has ...", flush=True)
    done = run_command(
        container,
        [*shell, "-i", "-c", f"echo '{_MARK}'; export -p"],
        tty=True,
        stdin=-3,  # DEVNULL
        capture_output=True,
        timeout=60,
    )
    found = _exported((done.stdout or b"").decode(errors="surrogateescape"))
    wrong = list(_differences(container.env, found))
    for line in wrong:
        print(printable(line))
    if wrong:
        print("its startup files have changed them: look at those below /etc and in HOME")
        return 1
    print("all is well: it has the variables that it was given")
    return 0


def _exported(text: str) -> dict[str, str]:
    """What "export -p" says: export A='b', or declare -x A="b"."""
    import shlex

    found = {}
    for word in shlex.split(text.partition(_MARK)[2], comments=False):
        name, equals, value = word.partition("=")
        if equals:
            found[name] = value
    return found


def _differences(given: Mapping[str, str], found: Mapping[str, str]) -> Iterator[str]:
    for name, value in given.items():
        if name in _ITS_OWN:
            continue
        if name not in found:
            yield f"  {name} is not there; it was {value!r}"
        elif found[name] != value:
            yield f"  {name} is {found[name]!r}; it was {value!r}"


def not_found(container: Container, name: str) -> str:
    """The message for a command that is nowhere in PATH, with what may have been meant."""
    from difflib import get_close_matches

    lookup = Lookup(container.mounts)
    path = container.env["PATH"].split(":")
    lines = [f"pycontainer shell: {name}: there is no such command in the shell"]
    known = [
        one
        for directory in path
        for one in lookup.names(directory)
        if lookup.is_program(os.path.join(directory, one))
    ]
    near = get_close_matches(name, dict.fromkeys(known), n=1, cutoff=0.6)
    if near:
        lines.append(f"  did you mean {near[0]}?")
    lines += _of_host(name)
    if len(lines) == 1:
        lines.append(f"  it was looked for in {', '.join(path)}")
    return "\n".join(lines)


def _of_host(name: str) -> list[str]:
    """Where the host has it, and how a shell would."""
    import shutil

    place = shutil.which(name)
    if place is None:
        return []
    package = _package_of(place)
    option = f"--apt {package}" if package else f"--expose {place}"
    return [f"  the host has {place}, but a shell holds what is named: {option} would bring it"]


def _package_of(place: str) -> str | None:
    """The Debian package that has brought a file of the host."""
    import shutil
    import subprocess

    if shutil.which("dpkg-query") is None:
        return None
    for path in dict.fromkeys((place, os.path.realpath(place), place.removeprefix("/usr"))):
        done = subprocess.run(
            ["dpkg-query", "-S", path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=20,
            check=False,
        )
        if done.returncode == 0:
            return done.stdout.partition(":")[0].partition(",")[0]
    return None

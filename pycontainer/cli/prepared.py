"""A shell that is ready to be started, and how it is kept for the next time.

Most of what a short command takes would be spent on finding out again what the same command line
has meant a minute ago.  So the plan is kept, with marks of all the files that it depends on; it is
made anew when one of them has changed.  Only a shell of virtual environments is kept: what other
software depends on is known to its providers alone.
"""

from __future__ import annotations

import marshal
import os
import stat
import sys

from ..plan.plan import Plan
from ..plan.steps import Op, Step
from ..shell.places import cache_directory
from ..shell.records import read_record, write_record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Prepared", "keep", "recall"]

_KEPT = frozenset(
    "--venv --network --share --expose --no-cwd --user --writable-root".split()  # noqa: SIM905
)
"""Options with which a shell may be kept."""


class Prepared:
    """A container, as far as its start asks for it, and what is run in it.

    Attributes:
        interactive: what is run where no command is given.
        built_in: names of commands that the shell itself has, and no directory of PATH.
    """

    __slots__ = (
        "built_in",
        "env",
        "guest_gid",
        "guest_uid",
        "interactive",
        "namespaces",
        "plan",
    )

    # As a container has them by default.
    child_is_pid1 = None
    host_gid_start = None
    host_uid_start = None
    host_uids = 1
    limits = None
    seccomp = None
    set_id_files = False

    def __init__(
        self,
        plan: Plan,
        env: Mapping[str, str],
        namespaces: frozenset[str],
        ids: tuple[int, int],
        interactive: list[str],
        built_in: frozenset[str],
    ) -> None:
        self.plan = plan
        self.env = env
        self.namespaces = namespaces
        self.guest_uid, self.guest_gid = ids
        self.interactive = interactive
        self.built_in = built_in


def recall(values: Mapping[str, list[str]], terminal: str | None) -> Prepared | None:
    """The shell of the options *values*, if it has been kept and nothing has changed since."""
    key = _key(values, terminal)
    if key is None:
        return None
    content = read_record(_shelf(), key)
    if content is None:
        return None
    try:
        rows, hook, start, env, namespaces, ids, interactive, built_in = marshal.loads(content)
        steps = tuple([Step(Op(row[0]), *row[1:]) for row in rows])
    except (EOFError, ValueError, TypeError):
        return None
    return Prepared(Plan(steps, hook, start), env, namespaces, ids, interactive, built_in)


def keep(values: Mapping[str, list[str]], terminal: str | None, shell: Prepared) -> None:
    """Keep *shell* for the next time, if that is possible."""
    key = _key(values, terminal)
    if key is None:
        return
    rows = [
        (int(s.op), s.path, s.other, s.options, s.content, int(s.mode), int(s.flags), s.numbers)
        for s in shell.plan.steps
    ]
    content = marshal.dumps(
        (
            rows,
            shell.plan.hook,
            shell.plan.start,
            dict(shell.env),
            shell.namespaces,
            (shell.guest_uid, shell.guest_gid),
            shell.interactive,
            shell.built_in,
        )
    )
    write_record(_shelf(), key, _files(values, shell), content)


def _shelf() -> str:
    return os.path.join(cache_directory(), "shells")


def _key(values: Mapping[str, list[str]], terminal: str | None) -> str | None:
    """What decides about a shell beside files; None for one that cannot be kept."""
    if not _KEPT.issuperset(values) or "--venv" not in values:
        return None
    home = os.environ.get("HOME", "")
    try:
        where = os.getcwd()
        shared = [
            (os.path.realpath(place), stat.S_IFMT(os.stat(place).st_mode))
            for name in ("--share", "--expose")
            for one in values.get(name, ())
            for place in (os.path.expanduser(one.partition("=")[0]),)
        ]
    except OSError:
        return None  # which the long way puts into words
    known = (
        sorted(values.items()),
        [name for name in values if name in ("--share", "--expose")],
        shared,
        where,
        os.path.realpath(cache_directory()),  # which is hidden in what is shared
        (os.getuid(), os.geteuid(), os.getgid()),
        (home, os.path.realpath(home)),
        (terminal, os.environ.get("TERMINFO")),
        sys.version,
    )
    return repr(known)


def _files(values: Mapping[str, list[str]], shell: Prepared) -> Iterator[str]:
    """The files and directories that would make another shell if they were others."""
    from ..host.mounts import NETWORK
    from ..host.venv import venv_extensions

    package = os.path.dirname(os.path.dirname(__file__))
    for directory in ("cli", "declare", "host", "plan", "shell", "shell/providers"):
        with os.scandir(os.path.join(package, directory)) as entries:
            yield from (one.path for one in entries if one.name.endswith(".py"))
    yield from ("/etc/passwd", "/etc/group", "/etc/ld.so.cache", "/bin/bash", "/bin/sh")
    for given in values["--venv"]:
        venv = os.path.abspath(os.path.expanduser(given))
        python = os.path.realpath(os.path.join(venv, "bin", "python"))
        prefix = os.path.dirname(os.path.dirname(python))
        yield from (venv, f"{venv}/pyvenv.cfg", f"{venv}/bin/python", python)
        yield from (prefix, f"{prefix}/lib", f"{prefix}/lib64")
        yield from venv_extensions(venv)
    yield from shell.env["PATH"].split(":")
    yield from NETWORK
    # A link in the place of a file would have something else shown.
    for step in shell.plan.steps:
        if step.op is Op.BIND and not os.path.isdir(step.other):
            yield step.other

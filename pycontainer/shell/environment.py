"""Who one is in a shell, and what one's variables are."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

from ..declare.checks import is_below
from ..declare.record import Record, set_field
from .software import Software

__all__ = ["Person", "group_file", "passwd_file", "person", "variables"]

_NOBODY = 65534  # /proc/sys/kernel/overflowuid: what is not mapped (user_namespaces(7))
_TEMPORARY = ("TMPDIR", "TEMPDIR", "TMP", "TEMP")
_SYSTEM_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


class Person(Record):
    """The user inside.

    Attributes:
        home: of the user inside.
        outer_home: the caller's, which is another one where the user has an invented name.
    """

    __slots__ = ("gid", "group", "home", "name", "outer_home", "uid")

    def __init__(
        self, name: str, uid: int, gid: int, group: str, home: str, outer_home: str
    ) -> None:
        set_field(self, "name", name)
        set_field(self, "uid", uid)
        set_field(self, "gid", gid)
        set_field(self, "group", group)
        set_field(self, "home", home)
        set_field(self, "outer_home", outer_home)

    name: str
    uid: int
    gid: int
    group: str
    home: str
    outer_home: str

    def inside(self, path: str) -> str:
        """Where a path of the host is seen: below an invented home what is below the real one."""
        if self.home != self.outer_home and is_below(path, self.outer_home):
            return self.home + path[len(self.outer_home) :]
        return path


def person(name: str | None = None) -> Person:
    """The caller, or an invented user *name* with the id 1000 and the home /home/NAME.

    Raises:
        ValueError: *name* cannot be a user's name.
    """
    uid, gid = os.getuid(), os.getgid()
    login, home = _account(uid)
    if name is not None:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}\$?", name):
            raise ValueError(
                f"user {name!r}: a name has at most 32 letters, digits and any of . _ -, and does "
                "not begin with . or -"
            )
        return Person(name, 1000, 1000, name, f"/home/{name}", home)
    if home == "/":
        return Person(login, uid, gid, _group(gid, login), f"/home/{login}", "/home")
    return Person(login, uid, gid, _group(gid, login), home, home)


def _account(uid: int) -> tuple[str, str]:
    """The caller's name and home."""
    import pwd

    try:
        entry = pwd.getpwuid(uid)
        name, home = entry.pw_name, entry.pw_dir
    except KeyError:  # as in a container of another kind
        name, home = "user", "/home/user"
    given = os.environ.get("HOME", "")
    return name, os.path.normpath(given if os.path.isabs(given) else home)


def _group(gid: int, otherwise: str) -> str:
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return otherwise


def passwd_file(person: Person, shell: str, before: bytes | None) -> bytes:
    """The text of /etc/passwd (passwd(5)): *person* above the users that the software has."""
    own = f"{person.name}:x:{person.uid}:{person.gid}:{person.name}:{person.home}:{shell}\n"
    usual = f"root:x:0:0:root:/root:{shell}\nnobody:x:{_NOBODY}:{_NOBODY}:nobody:/:{shell}\n"
    return _with_others(own, usual.encode() if before is None else before)


def group_file(person: Person, before: bytes | None) -> bytes:
    """The text of /etc/group (group(5)), in the same way."""
    usual = f"root:x:0:\nnogroup:x:{_NOBODY}:\n"
    return _with_others(
        f"{person.group}:x:{person.gid}:\n", usual.encode() if before is None else before
    )


def _with_others(line: str, others: bytes) -> bytes:
    """*line*, and those of *others* that have another name and another id."""
    own = os.fsencode(line)
    name, _, number = own.split(b":")[:3]
    kept = []
    for other in others.splitlines():
        fields = other.split(b":")
        if len(fields) > 2 and fields[0] != name and fields[2] != number:
            kept.append(other + b"\n")
    return own + b"".join(kept)


def variables(
    person: Person,
    software: Iterable[Software],
    *,
    preserved: Mapping[str, str],
    terminal: str | None,
    system_path: bool,
) -> dict[str, str]:
    """The whole environment.

    Arguments:
        software: what it brings goes before *preserved*, as it describes the container.
        preserved: the caller's variables that are kept; they count for LANG, TERM and PS1, and
            for nothing else that a shell has by itself.
        terminal: TERM, where there is a terminal.
        system_path: look for programs in the usual places as well, as they are there.
    """
    env = {"LANG": "C.UTF-8"}
    if terminal:
        env["TERM"] = terminal
    env |= preserved
    places: dict[str, list[str]] = {"PATH": []}
    for one in software:
        env |= one.env
        for name, more in one.search_paths.items():
            places.setdefault(name, []).extend(more)
    places["PATH"] += _SYSTEM_PATH if system_path else ("/bin",)
    for name, found in places.items():
        env[name] = ":".join(dict.fromkeys(found))
    env |= {"HOME": person.home, "USER": person.name, "LOGNAME": person.name}
    env |= dict.fromkeys(_TEMPORARY, "/tmp")
    env["XDG_RUNTIME_DIR"] = f"/run/user/{person.uid}"
    return env

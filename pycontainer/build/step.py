"""A step of a build as data: ``Step``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from attrs import field, frozen

from ..declare.checks import (
    ID_MAX,
    Problems,
    check_flag,
    check_guest_path,
    check_text,
    guest_path,
    is_int,
    parents,
    refuse,
    text_of,
)
from ..declare.container import HOSTNAME_MAX, Environment
from ..declare.entries import Symlink
from ..declare.mounts import Mount

__all__ = ["Secrets", "Step"]

_OURS = ("/", "/proc", "/dev", "/dev/pts", "/sys", "/dev/shm", "/dev/mqueue", "/etc/hosts")
"""Places at which a step's own mounts would hide what every step has."""


class Secrets(Mapping[str, bytes]):
    """Values by the place where a step finds them; immutable, hashable, and silent about values."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, bytes]) -> None:
        places = {guest_path(place): _bytes_of(value) for place, value in values.items()}
        self._values: dict[str, bytes] = dict(sorted(places.items(), key=lambda one: str(one[0])))

    def __getitem__(self, place: str) -> bytes:
        return self._values[place]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(tuple(self._values.items()))

    def __repr__(self) -> str:
        places = ", ".join(f"{place!r}: ..." for place in self._values)
        return f"{{{places}}}"

    def __reduce__(self) -> tuple[Any, ...]:
        return Secrets, (self._values,)


def _bytes_of(value: Any) -> Any:
    return bytes(value) if isinstance(value, (bytearray, memoryview)) else value


def _secrets_of(secrets: Any) -> Any:
    return Secrets(secrets) if isinstance(secrets, Mapping) else secrets


def _environment_of(env: Any) -> Any:
    return Environment(env) if isinstance(env, Mapping) else env


def _arguments_of(argv: Any) -> Any:
    if isinstance(argv, (str, bytes, os.PathLike)) or not isinstance(argv, Iterable):
        return argv  # the check says that it is no list
    return tuple(text_of(one) for one in argv)


def _ids_of(user: Any) -> Any:
    return tuple(user) if isinstance(user, list) else user


def _mounts_of(mounts: Any) -> Any:
    """Flattened one level, as a container's."""
    if not isinstance(mounts, Iterable) or isinstance(mounts, (str, bytes)):
        return mounts
    flat: list[Any] = []
    for one in mounts:
        if isinstance(one, Iterable) and not isinstance(one, (str, bytes)):
            flat += one
        else:
            flat.append(one)
    return tuple(flat)


@frozen(cache_hash=True)
class Step:
    """A step of a build: a program that runs in a root file system and may change it.

    Attributes:
        argv: the program and its arguments.  One without a slash is looked for in the PATH of
            *env*.
        cwd: where it starts.
        hostname: the host name that it sees.
        user: its user and group id.
        env: its whole environment.
        mounts: ``bind(source, target, writable=...)``: nosuid and nodev, as binds are; and links,
            as ``host_system()`` has them beside its binds.  Where the root file system has no place
            for one, it is made, and removed afterwards; a link, where nothing is in its place.
        network: whether it has the host's network, and its /etc/resolv.conf; else none.
        secrets: the content (bytes) of files that it can read and not change, by their places.
            The step's user owns them.  Nothing is left of them when it ends.
        fast_sync: fsync(2) and its like return at once: what a crash of the machine leaves of an
            unfinished build does not matter.

    Raises:
        ValueError: its message lists everything that is wrong, a line each.
    """

    argv: tuple[str, ...] = field(converter=_arguments_of)
    cwd: str = field(default="/", converter=guest_path)
    hostname: str = "builder"
    user: tuple[int, int] = field(default=(0, 0), converter=_ids_of)
    env: Mapping[str, str] = field(factory=dict, converter=_environment_of)
    mounts: tuple[Mount | Symlink, ...] = field(default=(), converter=_mounts_of)
    network: bool = False
    secrets: Mapping[str, bytes] = field(factory=dict, converter=_secrets_of)
    fast_sync: bool = False

    def __attrs_post_init__(self) -> None:
        problems: Problems = []
        _check_argv(problems, self.argv)
        check_guest_path(problems, "cwd", self.cwd)
        _check_hostname(problems, self.hostname)
        _check_user(problems, self.user)
        _check_env(problems, self.env)
        places = _check_mounts(problems, self.mounts)
        check_flag(problems, "network", self.network)
        _check_secrets(problems, self.secrets, places)
        check_flag(problems, "fast_sync", self.fast_sync)
        refuse("step", problems)


def _check_argv(problems: Problems, argv: Any) -> None:
    if not isinstance(argv, tuple):
        problems.append(f"argv must be a list of the program and its arguments, not {argv!r}")
    elif not argv:
        problems.append("argv is empty: its first word is the program")
    else:
        for number, word in enumerate(argv):
            if word != "" or number == 0:  # an empty argument is one
                check_text(problems, f"argv[{number}]", word)


def _check_hostname(problems: Problems, hostname: Any) -> None:
    if not check_text(problems, "hostname", hostname):
        return
    length = len(os.fsencode(hostname))
    if length > HOSTNAME_MAX:
        problems.append(f"hostname is {length} bytes long; the kernel takes {HOSTNAME_MAX}")
    if any(character.isspace() or character == "/" for character in hostname):
        problems.append(f"hostname {hostname!r} contains white space or a slash")


def _check_user(problems: Problems, user: Any) -> None:
    if not isinstance(user, tuple) or len(user) != 2 or not all(map(is_int, user)):
        problems.append(f"user must be a user and a group id, as (1000, 1000), not {user!r}")
    elif not all(0 <= one <= ID_MAX for one in user):
        problems.append(f"user {user} is outside 0 to {ID_MAX}")


def _check_env(problems: Problems, env: Any) -> None:
    if not isinstance(env, Environment):
        problems.append(f"env must be a mapping of names to values, not {type(env).__name__}")
        return
    for name, value in env.items():
        if check_text(problems, "env: a name", name) and "=" in name:
            problems.append(f"env: name {name!r} contains '='")
        found: Problems = []
        # Its value may be a secret, and stays out of the message.
        if value != "" and not check_text(found, "", value):
            problems.append(f"env: the value of {name!r} is no text without NUL characters")


def _check_mounts(problems: Problems, mounts: Any) -> set[str]:
    """The places of the mounts."""
    places: set[str] = set()
    if not isinstance(mounts, tuple):
        problems.append(f"mounts must be a collection of bind(...), not {mounts!r}")
        return places
    for mount in mounts:
        if isinstance(mount, Symlink):
            _check_place(problems, "mounts", mount.path, places)
            continue
        if not isinstance(mount, Mount) or mount.type != "bind":
            what = f"{mount.type} at {mount.target}" if isinstance(mount, Mount) else repr(mount)
            problems.append(
                f"mounts: {what}: a step has binds; the rest is in its root file system"
            )
            continue
        if not (mount.nosuid and mount.nodev) or mount.device:
            problems.append(f"mounts: {mount.target}: a step's binds are nosuid and nodev")
        _check_place(problems, "mounts", mount.target, places)
    return places


def _check_place(problems: Problems, name: str, place: str, places: set[str]) -> None:
    if place in _OURS or place.startswith(("/proc/", "/sys/")):
        problems.append(f"{name}: {place} is a place that every step has already")
    elif place in places:
        problems.append(f"{name}: {place} is given twice")
    places.add(place)


def _check_secrets(problems: Problems, secrets: Any, places: set[str]) -> None:
    if not isinstance(secrets, Secrets):
        problems.append(
            f"secrets must be a mapping of places to bytes, not {type(secrets).__name__}"
        )
        return
    for place, value in secrets.items():
        if not isinstance(value, bytes):
            kind = type(value).__name__  # and not the value
            problems.append(f"secrets: the value of {place!r} is a {kind}, not bytes")
        if check_guest_path(problems, "secrets", place):
            _check_place(problems, "secrets", place, places)
    known = set(secrets)
    for place in secrets:
        if isinstance(place, str) and place[:1] == "/":
            above = known.intersection(parents(place))
            problems += [f"secrets: {place} lies below the file {one}" for one in sorted(above)]

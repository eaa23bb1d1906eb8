"""A container of the named software, the current directory, and nothing else of the host."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeAlias

from attrs import evolve

from ..declare.arrangement import Item
from ..declare.capabilities import ALL
from ..declare.checks import StrPath, is_below, parents, text_of
from ..declare.container import Container
from ..declare.entries import Symlink, file, symlink
from ..declare.mounts import Mount, bind, tmpfs
from ..declare.namespaces import NAMESPACES
from .arranging import arranged, flattened
from .environment import Person, group_file, passwd_file, person, variables
from .lookup import Lookup
from .places import cache_directory
from .software import Request, Software, provide
from .system_shell import system_shell

if TYPE_CHECKING:
    from .cache import Cache
    from .software import Progress

__all__ = ["Shared", "shell_container"]

Shared: TypeAlias = "StrPath | tuple[StrPath, StrPath]"
"""A place of the host, or it and its place in the container."""


def shell_container(
    requests: Request | Software | Iterable[Request | Software] = (),
    *,
    network: bool = False,
    share: Iterable[Shared] = (),
    expose: Iterable[Shared] = (),
    cwd: StrPath | None = ".",
    user: str | None = None,
    preserve: str | re.Pattern[str] | Iterable[str | re.Pattern[str]] = (),
    symlinks: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    writable_root: bool = False,
    terminal: str | None = None,
    cache: Cache | None = None,
    progress: Progress | None = None,
) -> Container:
    """A container that holds the software of *requests*, *cwd*, and nothing else of the host.

    It has what programs take for granted: HOME, USER and the like, a tmpfs at /tmp, HOME and
    /run/user/UID, /etc/passwd and group with the user in it, and /bin/sh: that of the software, or
    else the host's bash (or sh) with its libraries.  Software is read-only.  Give it to
    ``run_command``, ``call_with_container`` or any other front door.

    Arguments:
        requests: what software, the first one first in every search path.  What is in a root file
            system (of an ``Apt``, ``Rootfs`` or ``OciImage``) yields to that of other requests.
        network: share the caller's network, with the files that it takes (``host_network()``).
        share: what else of the host is shown, writable: paths, or pairs of a path and its place
            in the container.
        expose: the same, read-only.
        cwd: a directory of the host that is shown at its own path, writable, and started in.
            None: none; it starts in HOME, or where the software wants to be started.
        user: an invented user of this name, with the id 1000 and the home /home/NAME; what lies
            below the caller's home is seen below that one.  None: the caller.
        preserve: regular expressions; the caller's variables whose names have a match are kept.
        symlinks: links to make, by path; a relative one leads to what the software has of that
            name in one of its prefixes, as "bin/env".
        writable_root: changes to the root can be made; they end with the container.
        terminal: the value of TERM; with it the terminal's description is there too.
        cache, progress: as for ``provide``.

    Raises:
        SoftwareError: software cannot be had.
        FileNotFoundError: something to share does not exist.
        ValueError: an argument makes no sense; or *cwd* is a directory that cannot be shared: "/",
            the caller's home, or one that holds a place of the shell's own, such as /etc or /tmp.
    """
    who = person(user)
    software = _provided(requests, cache, progress)
    rootfs = _rootfs_of(software)
    needed = [item for one in software for item in flattened(one.mounts)]
    if network:
        from ..host.mounts import host_network

        needed += host_network()
    kept = _preserved(preserve)
    env = variables(
        who, software, preserved=kept, terminal=terminal, system_path=rootfs is not None
    )
    path = env["PATH"].split(":")
    where = cache_directory() if cache is None else cache.directory
    lookup = Lookup(needed, rootfs)
    interactive, extra = system_shell(lookup, path, where)
    bash = os.path.basename(interactive) == "bash"
    env.setdefault("PS1", r"\u@\h \w [env]\$ " if bash else "$PWD [env]$ ")
    env["SHELL"] = interactive
    own: list[Item] = [
        *extra,
        tmpfs(who.home, mode=0o700),
        tmpfs(f"/run/user/{who.uid}", mode=0o700),
        file("/etc/passwd", passwd_file(who, interactive, lookup.content("/etc/passwd"))),
        file("/etc/group", group_file(who, lookup.content("/etc/group"))),
    ]
    if network:
        own += _certificate_links(lookup)
    if terminal:
        from .terminfo import terminal_description

        own += terminal_description(terminal, lookup)
    given: list[Item] = [_link(place, to, lookup, path) for place, to in _pairs(symlinks)]
    start = next((one.cwd for one in software if one.cwd), who.home)
    if cwd is not None:
        directory = _current_directory(cwd, who, where)
        start = who.inside(directory)
        given.append(bind(directory, start, writable=True))
    given += [_shared(one, who, writable=False) for one in expose]
    given += [_shared(one, who, writable=True) for one in share]
    needed += _hidden(where, given)
    return Container(
        arranged(own, needed, given, rootfs=rootfs, writable=writable_root),
        namespaces=NAMESPACES - {"net"} if network else NAMESPACES,
        writable_root=writable_root,
        guest_uid=who.uid,
        guest_gid=who.gid,
        env=env,
        cwd=start,
        # An ordinary user has none; with all of them as ambient ones no mode would hold it.
        capabilities=ALL if who.uid == 0 else (),
    )


def _certificate_links(lookup: Lookup) -> Iterator[Symlink]:
    """Where Debian's OpenSSL looks for certificates; they lead to what ``host_network()`` shows.

    A container that has something of its own there has an OpenSSL of its own.
    """
    for place in ("/usr/lib/ssl/certs", "/usr/lib/ssl/cert.pem"):
        if os.path.islink(place) and lookup.source("/usr/lib") is None:
            yield symlink(place, os.readlink(place))


def _provided(
    requests: Request | Software | Iterable[Request | Software],
    cache: Cache | None,
    progress: Progress | None,
) -> list[Software]:
    several = requests if isinstance(requests, Iterable) else [requests]
    return [
        one if isinstance(one, Software) else provide(one, cache=cache, progress=progress)
        for one in several
    ]


def _rootfs_of(software: Iterable[Software]) -> str | None:
    found = [one for one in software if one.rootfs is not None]
    if len(found) > 1:
        names = " and ".join(one.label for one in found)
        raise ValueError(f"{names} are root file systems, and a container has one root: choose one")
    return found[0].rootfs if found else None


def _preserved(
    preserve: str | re.Pattern[str] | Iterable[str | re.Pattern[str]],
) -> dict[str, str]:
    """The caller's variables that are kept."""
    several = [preserve] if isinstance(preserve, (str, re.Pattern)) else preserve
    kept = {}
    for one in several:
        try:
            pattern = re.compile(one)
        except re.error as error:
            raise ValueError(f"preserve: {one!r} is no regular expression: {error}") from None
        kept.update({name: text for name, text in os.environ.items() if pattern.search(name)})
    return kept


def _pairs(symlinks: Mapping[str, str] | Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return list(symlinks.items() if isinstance(symlinks, Mapping) else symlinks)


def _link(place: str, to: str, lookup: Lookup, path: list[str]) -> Symlink:
    if to.startswith("/"):
        return symlink(place, to)
    prefixes = [os.path.dirname(directory) for directory in path]
    for prefix in prefixes:
        if lookup.exists(os.path.join(prefix, to)):
            return symlink(place, os.path.join(prefix, to))
    raise ValueError(
        f"symlink {place}: the software has no {to}; looked for in {', '.join(prefixes)}"
    )


def _current_directory(cwd: StrPath, who: Person, cache: str) -> str:
    """*cwd* as an absolute path without links, if it can be shared.

    Raises:
        ValueError: it cannot, and why.
        OSError: it is not there.
    """
    try:
        directory = os.path.realpath(cwd)
    except FileNotFoundError:  # of getcwd(3)
        raise FileNotFoundError("the current directory is gone: it has been removed") from None
    if not os.path.isdir(directory):
        os.stat(directory)  # says why
        raise NotADirectoryError(f"{directory} is no directory")
    home = os.path.realpath(who.outer_home)
    where = f"the current directory, {directory},"
    if directory == home:
        raise _unshared(f"{where} is your home: all that is yours would be writable inside")
    if is_below(home, directory) and directory != "/":
        raise _unshared(f"{where} holds your home: all that is yours would be writable inside")
    if is_below(directory, os.path.realpath(cache)):
        raise _unshared(f"{where} lies in the cache of software, {cache}")
    for place in _OWN_PLACES:
        if is_below(place, directory):
            raise _unshared(f"{where} holds {place}, of which the shell has its own")
    for place in _KERNEL_PLACES:
        if is_below(directory, place):
            raise _unshared(f"{where} lies in {place}, of which the shell has its own")
    return directory


_OWN_PLACES = ("/etc/passwd", "/run/user", "/tmp", "/dev", "/proc", "/sys")
_KERNEL_PLACES = ("/dev", "/proc", "/sys")


def _unshared(why: str) -> ValueError:
    error = ValueError(why)
    error.add_note(
        "go to the directory of a project; or start without it (--no-cwd, cwd=None), and share "
        "what is needed (--share, share=)"
    )
    return error


def _shared(given: Shared, who: Person, writable: bool) -> Mount:
    source, target = given if isinstance(given, tuple) else (given, None)
    place = os.path.abspath(os.path.expanduser(text_of(source)))
    status = os.stat(place)  # FileNotFoundError here names it more briefly than a step would
    inside = who.inside(place) if target is None else text_of(target)
    if target is not None and inside.startswith("~/"):
        inside = who.home + inside[1:]
    if target is not None:
        inside = who.inside(inside)
    if inside == "/":
        raise ValueError(f"{place} cannot be shared as /: name a place below it")
    devices = stat.S_ISCHR(status.st_mode) or is_below(place, "/dev")
    return bind(place, inside, writable=writable, nodev=not devices)


def _hidden(cache: str, given: Iterable[Item]) -> Iterator[Mount]:
    """What keeps writable binds from showing *cache*: whoever writes there decides about the next
    shell."""
    place = os.path.realpath(cache)
    mounts = {item.target: item for item in given if isinstance(item, Mount)}
    for item in mounts.values():
        if not item.writable or item.source is None:
            continue
        source = os.path.realpath(item.source)
        if not is_below(place, source):
            continue
        try:
            os.makedirs(place, 0o700, exist_ok=True)
        except OSError:
            continue  # then nobody can have one
        target = os.path.normpath(item.target + place[len(source.rstrip("/")) :])
        yield tmpfs(target, mode=0o700)
        # No more can what lies above it be renamed, and made anew with another cache in it: a
        # directory on which something is mounted stays where it is (rename(2), EBUSY).
        for above in parents(target):
            nearest = next((mounts[one] for one in (above, *parents(above)) if one in mounts), None)
            if above == item.target or nearest is not item:
                break
            inner = os.path.normpath(source + above[len(item.target.rstrip("/")) :])
            yield evolve(item, source=inner, target=above, recursive=False)

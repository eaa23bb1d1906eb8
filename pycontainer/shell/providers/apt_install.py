"""Resolving, downloading and unpacking Debian packages.

apt runs in a container that can write one directory, with an empty list of installed packages, so
that it takes all that is needed; apt itself verifies signatures and digests.  No script of a
package runs, here or there: ``debian_root`` does what matters of what they would do.
"""

from __future__ import annotations

import os
import re
import shutil
import tarfile
import time
from collections.abc import Callable, Sequence
from typing import IO, cast

from attrs import frozen

from ...commands import start_command
from ...declare.entries import file
from ...declare.mounts import bind
from ...host.mounts import host_system
from ...launch.results import Completed
from ...launch.stdio import DEVNULL, PIPE
from ..cache import Cache, remove_tree
from ..fetching import growth, network_settings, paths_in, run_fetcher, trouble
from ..software import Progress, SoftwareError
from ..unpacking import Unpacker
from .apt_settings import AptSettings, apt_settings
from .debian_root import Alternatives, prepare_root, settle_root

__all__ = ["install"]

BASE = ("base-files", "bash", "coreutils", "dash", "libc-bin")
"""What makes a root file system one that a shell can be started in."""

WORK = "/work"
LISTS = "/lists"
CONFIGURATION = "/apt.conf"
STATUS = "/status"
DAY = 86400  # how old a list of packages may be, in seconds
KEPT_DAYS = 3


@frozen
class _Apt:
    """apt, with what it needs for one request."""

    settings: AptSettings
    sources: tuple[str, ...]  # files of the host that sources name
    scratch: str
    lists: str
    what: str

    def run(
        self, argv: Sequence[str], *, network: bool, lists_writable: bool = False
    ) -> Completed[None]:
        """Run a program of apt.  *scratch* is what it can write."""
        writable = {self.scratch: WORK}
        if lists_writable:
            writable[self.lists] = LISTS
        return run_fetcher(
            argv,
            writable,
            parts=[
                file(CONFIGURATION, "\n".join((*self.settings.lines, *_own_settings(), ""))),
                file(STATUS, b""),
                *(() if lists_writable else (bind(self.lists, LISTS),)),
            ],
            shown=[*self.settings.shown(), *self.sources],
            env={"APT_CONFIG": CONFIGURATION, **network_settings()},
            network=network,
        )


def _own_settings() -> tuple[str, ...]:
    return (
        'Dir::Etc::main "/dev/null";',
        'Dir::Etc::parts "/dev/null";',
        f'Dir::State "{WORK}";',
        f'Dir::State::lists "{LISTS}";',
        f'Dir::State::status "{STATUS}";',
        f'Dir::Cache "{WORK}";',
        f'Dir::Cache::archives "{WORK}/archives";',
        'Dir::Cache::pkgcache "";',
        'Dir::Cache::srcpkgcache "";',
        'Dir::Log "/tmp";',
        'APT::Sandbox::User "root";',  # the one id that is mapped
        'APT::Install-Recommends "false";',
        'Acquire::Languages "none";',
        'Acquire::Retries "1";',
        'Debug::NoLocking "true";',  # nobody else is in this directory
    )


def install(
    packages: Sequence[str],
    directory: str,
    cache: Cache,
    what: str,
    sources_key: str,
    progress: Progress | None,
) -> None:
    """Make *directory*/root, a root file system with *packages* and what they depend on.

    Raises:
        SoftwareError: one does not exist or cannot be installed, no network, a full disk.
    """
    scratch = os.path.join(directory, ".scratch")
    os.mkdir(scratch, 0o700)
    settings = apt_settings()
    apt = _Apt(settings, _named_files(settings), scratch, "", what)
    archives = os.path.join(scratch, "archives")
    os.makedirs(os.path.join(archives, "partial"))
    for attempt in range(2):
        apt = _with_lists(apt, cache, sources_key, progress)
        command, total = _resolve(apt, packages)
        with growth(progress, what, archives, total):
            done = apt.run(command, network=True)
        if not done.returncode:
            break
        if "404" in f"{done.stdout}{done.stderr}" and attempt == 0:
            # The lists are of this morning, and the package has been replaced since.
            remove_tree(apt.lists)
            continue
        raise trouble(what, done, directory)
    root = os.path.join(directory, "root")
    _unpack(apt, archives, root, progress)
    remove_tree(scratch)


def _named_files(settings: AptSettings) -> tuple[str, ...]:
    """The host's files that package sources name: keyrings, and repositories on the disk."""
    found: list[str] = []
    for place in settings.source_places():
        names = [place]
        if os.path.isdir(place):
            names = [os.path.join(place, name) for name in os.listdir(place)]
        for name in names:
            if os.path.isfile(name):
                with open(name, encoding="utf-8", errors="replace") as source:
                    text = source.read()
                # file:/srv, copy:///srv, mirror+file:/srv, signed-by=/etc/key.gpg
                text = re.sub(r"\b(?:mirror\+)?(?:file|copy):(?://)?(?=/)|signed-by=", " ", text)
                found += paths_in(text.replace("[", " ").replace("]", " ").splitlines())
    return tuple(dict.fromkeys(one for one in found if not one.startswith("/usr/")))


# ---- lists of packages ----


def _with_lists(apt: _Apt, cache: Cache, key: str, progress: Progress | None) -> _Apt:
    """*apt* with the lists of packages, not older than a day."""
    import attrs

    day = int(time.time() // DAY)

    def make(directory: str) -> None:
        fresh = attrs.evolve(apt, lists=directory)
        _seed(directory, os.path.dirname(directory), key)
        os.makedirs(os.path.join(directory, "partial"), exist_ok=True)
        with growth(progress, f"{apt.what}: lists of packages", directory):
            done = fresh.run(["apt-get", "update", "-q"], network=True, lists_writable=True)
        failed = "Failed to fetch" in done.stderr or done.returncode
        names = os.listdir(directory)
        if failed and not (done.returncode == 0 and any("_Packages" in name for name in names)):
            raise trouble(f"{apt.what}: lists of packages", done, directory)
        if failed:
            error = trouble(f"{apt.what}: lists of packages", done, directory)
            if "no network" in str(error) or "no space" in str(error):
                raise error

    entry = cache.entry(
        "apt-lists",
        f"{key}-{day}",
        make,
        what=f"{apt.what}: lists of packages",
        progress=progress,
    )
    _remove_old_lists(os.path.dirname(entry), day)
    return attrs.evolve(apt, lists=entry)


def _seed(directory: str, shelf: str, key: str) -> None:
    """Begin with the lists of another day, or the host's: apt fetches only what has changed."""
    older = sorted(
        (name for name in os.listdir(shelf) if re.fullmatch(rf"{key}-\d+", name)), reverse=True
    )
    places = [os.path.join(shelf, name) for name in older]
    if "APT_CONFIG" not in os.environ:  # the host's lists are of the host's sources
        places.append("/var/lib/apt/lists")
    for place in places:
        if not os.path.isdir(place) or os.stat(place).st_uid not in (0, os.geteuid()):
            continue
        for name in os.listdir(place):
            source = os.path.join(place, name)
            if os.path.isfile(source) and not os.path.islink(source) and name != "lock":
                try:
                    shutil.copy2(source, os.path.join(directory, name))
                except PermissionError:
                    pass  # apt gets it
        return


def _remove_old_lists(shelf: str, day: int) -> None:
    for name in os.listdir(shelf):
        number = name.rpartition("-")[2]
        if number.isdigit() and int(number) < day - KEPT_DAYS:
            remove_tree(os.path.join(shelf, name))


# ---- packages ----


def _resolve(apt: _Apt, packages: Sequence[str]) -> tuple[list[str], int]:
    """The command that downloads all that *packages* need, and how many bytes that is."""
    base = list(BASE)
    while True:
        command = ["apt-get", "install", "-q", "-y", "--download-only", *packages, *base]
        done = apt.run([*command[:4], "--print-uris", *command[4:]], network=False)
        if not done.returncode:
            break
        absent = re.findall(r"(?m)^E: Unable to locate package (\S+)", done.stderr)
        if absent and not set(absent) & set(packages) and set(absent) <= set(base):
            base = [one for one in base if one not in absent]  # not Debian's sources
            continue
        raise _refusal(apt, packages, done)
    lines = re.findall(r"(?m)^'[^']+' \S+ (\d+)", done.stdout)
    return command, sum(map(int, lines))


def _refusal(apt: _Apt, packages: Sequence[str], done: Completed[None]) -> SoftwareError:
    """Why apt does not install *packages*, in words."""
    for pattern in (
        r"Unable to locate package (\S+)",
        r"Package '?(\S+?)'? has no installation candidate",
        r"Couldn't find any package by (?:glob|regex) '(\S+)'",
    ):
        absent = re.search(pattern, done.stderr)
        if absent:
            name = absent[1]
            return SoftwareError(
                f"{apt.what}: the host's package sources have no package {name}"
                f"{_nearest(apt, name)}"
            )
    version = re.search(r"(Version|Release) '(\S+)' for '(\S+)' was not found", done.stderr)
    if version:
        shown = apt.run(["apt-cache", "madison", version[3]], network=False)
        versions = [line.split("|")[1].strip() for line in shown.stdout.splitlines() if "|" in line]
        there = f"; there is {', '.join(dict.fromkeys(versions))}" if versions else ""
        return SoftwareError(
            f"{apt.what}: no {version[1].lower()} {version[2]} of {version[3]}{there}"
        )
    if "unmet dependencies" in f"{done.stdout}{done.stderr}":
        error = SoftwareError(f"{apt.what}: these packages cannot be installed together")
        error.add_note("\n".join(done.stdout.strip().splitlines()[-12:]))
        return error
    return trouble(apt.what, done, apt.scratch)


def _nearest(apt: _Apt, name: str) -> str:
    from ...declare.checks import nearest

    done = apt.run(["apt-cache", "pkgnames"], network=False)
    name = name.split(":", maxsplit=1)[0]
    similar = [
        one for one in done.stdout.split() if one[:1] == name[:1] and abs(len(one) - len(name)) < 4
    ]
    return nearest(name, similar) or "; `apt-cache search WORD` finds names"


def _unpack(apt: _Apt, archives: str, root: str, progress: Progress | None) -> None:
    prepare_root(root)
    told: Callable[[int], None] | None = None
    if progress is not None:
        informed = progress

        def told(done: int) -> None:
            informed(f"{apt.what}: unpacking", done, None)

    unpacker = Unpacker(root, apt.what, keep_links=True, told=told)
    alternatives = Alternatives()
    for name in sorted(os.listdir(archives)):
        if name.endswith(".deb"):
            package = os.path.join(archives, name)
            _stream(package, "--fsys-tarfile", unpacker.unpack)
            _stream(package, "--ctrl-tarfile", lambda script: _read_script(script, alternatives))
    unpacker.finish()
    settle_root(root, alternatives)
    done = run_fetcher(["ldconfig", "-r", WORK], {root: WORK}, env={}, network=False)
    if done.returncode:
        raise trouble(f"{apt.what}: ldconfig", done, root)


def _stream(package: str, option: str, read: Callable[[IO[bytes]], None]) -> None:
    """Have *read* take what dpkg-deb makes of *package*, in a container that can write nothing."""
    running = start_command(
        [host_system(), bind(package, "/package")],
        ["dpkg-deb", option, "/package"],
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=DEVNULL,
    )
    with running:
        assert running.stdout is not None
        read(cast(IO[bytes], running.stdout))
        while running.stdout.read(1 << 18):
            pass
        if running.wait().returncode != 0:
            raise SoftwareError(f"{os.path.basename(package)}: dpkg-deb cannot read it")


def _read_script(archive: IO[bytes], alternatives: Alternatives) -> None:
    with tarfile.open(fileobj=archive, mode="r|") as members:
        for member in members:
            if member.name.removeprefix("./") == "postinst" and member.isreg():
                script = members.extractfile(member)
                assert script is not None
                alternatives.read(script.read(1 << 20).decode("utf-8", "replace"))

"""Programs that fetch and unpack software, run in containers that can write one directory."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from ..commands import run_command
from ..declare.mounts import bind
from ..declare.namespaces import NAMESPACES
from ..declare.part import Part
from ..host.mounts import host_network, host_system
from ..launch.results import Completed
from .software import Progress, SoftwareError

__all__ = ["network_settings", "paths_in", "run_fetcher", "trouble"]

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# What programs that fetch read to find their way out (curl(1), OpenSSL, requests).
NETWORK_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
PROXY_VARIABLES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")

NO_NETWORK = (
    "Temporary failure in name resolution",
    "Temporary failure resolving",
    "Name or service not known",
    "Could not resolve",
    "Network is unreachable",
    "Could not connect to",
    "Connection refused",
    "No route to host",
    "Failed to establish a new connection",
    "NewConnectionError",
    "ConnectTimeoutError",
    "Connection timed out",
    "ProxyError",
    "dns error",
    "error sending request",
)
"""How pip, uv and apt say that they reach nobody."""

WRONG_DIGEST = ("Hash Sum mismatch", "DO NOT MATCH THE HASHES", "Hash mismatch")

NO_SPACE = ("No space left on device", "Disk quota exceeded", "File too large", "ENOSPC")


def network_settings() -> dict[str, str]:
    """The caller's variables about proxies and certificates."""
    names = [*NETWORK_VARIABLES, *PROXY_VARIABLES, *map(str.upper, PROXY_VARIABLES)]
    return {name: os.environ[name] for name in names if os.environ.get(name)}


def paths_in(values: Iterable[str]) -> list[str]:
    """The files and directories of the host that settings name, by path or as a file: URL."""
    found = []
    for value in values:
        for word in value.replace(",", " ").split():
            path = word.removeprefix("file://").split("#")[0]
            if path.startswith("/") and path.strip("/") and os.path.exists(path):
                found.append(os.path.normpath(path))
    return list(dict.fromkeys(found))


def run_fetcher(
    argv: Sequence[str],
    writable: Mapping[str, str],
    *,
    parts: Iterable[Part | Iterable[Part]] = (),
    shown: Iterable[str] = (),
    env: Mapping[str, str],
    network: bool = True,
    guest_id: int = 0,
) -> Completed[None]:
    """Run a program of the host that can write only the directories *writable*.

    Arguments:
        argv: the program and its arguments.
        writable: directories of the host, and where each is in the container.
        parts: more mounts and entries.
        shown: more files and directories of the host to show, read-only, where they are.
        env: variables; there are PATH and LANG besides.
        network: share the host's network.
        guest_id: the user and group id that it sees itself as.

    Returns:
        how it ended, with its output as text.
    """
    return run_command(
        [
            host_system(),
            host_network() if network else (),
            *parts,
            [bind(path, optional=True) for path in shown],
            *(bind(path, place, writable=True) for path, place in writable.items()),
        ],
        argv,
        env={"PATH": PATH, "LANG": "C.UTF-8", **env},
        namespaces=NAMESPACES - {"net"} if network else NAMESPACES,
        guest_uid=guest_id,
        guest_gid=guest_id,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )


def trouble(what: str, completed: Completed[None], directory: str) -> SoftwareError:
    """What the failure of a fetcher comes to, if it is not about *what* itself."""
    output = f"{completed.stdout}\n{completed.stderr}"
    if any(words in output for words in NO_SPACE) or _is_full(directory):
        return SoftwareError(
            f"{what}: no space left in the cache ({os.path.dirname(directory)}); make room, or "
            "name another place with XDG_CACHE_HOME. Nothing half-made was kept"
        )
    if any(words in output for words in NO_NETWORK):
        error = SoftwareError(
            f"{what}: no network: nobody answers where it would come from; what is in the cache "
            "already can be used without"
        )
        lines = [line for line in output.splitlines() if any(one in line for one in NO_NETWORK)]
        reason = re.search(r"\[Errno -?\d+\] ([^'\")]+)", lines[-1])  # of pip's many words
        error.add_note(reason[1] if reason else lines[-1].strip()[-300:])
        return error
    if any(words in output for words in WRONG_DIGEST):
        return SoftwareError(
            f"{what}: what came is not what its source promises (it has another digest): somebody "
            "on the way changed it, or the source is broken; try again, and tell who runs it"
        )
    lines = [line for line in output.splitlines() if line.strip()]
    error = SoftwareError(f"{what}: {completed.args[0]} ended with {completed.status}")
    if lines:
        error.add_note("\n".join(lines[-8:]))
    return error


def _is_full(directory: str) -> bool:
    free = os.statvfs(directory)
    return free.f_bavail * free.f_frsize < 4096 or (free.f_files > 0 and free.f_favail == 0)


@contextmanager
def growth(
    progress: Progress | None, words: str, directory: str, total: int | None = None
) -> Iterator[None]:
    """Tell *progress* now and then how much there is in *directory*."""
    if progress is None:
        yield
        return
    told = progress
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.2 if total is not None else 0.5):
            told(words, size_of(directory), total)

    told(words, 0, total)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
    told(words, size_of(directory), total)


def size_of(directory: str) -> int:
    """How many bytes the files below *directory* hold, as far as they can be seen."""
    total = 0
    for parent, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size
            except OSError:
                pass  # it comes and goes
    return total

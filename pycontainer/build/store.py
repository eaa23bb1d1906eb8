"""Where results are kept: ``Store``, a protocol, and ``DirectoryStore``, on local disk.

    DIR/objects/HASH/tree     a file, directory or link in its canonical form, by its hash
    DIR/results/HASH          JSON: the outputs of the request of that hash
    DIR/inputs/HASH           JSON: what an input of the host was, by the times of its files
    DIR/roots/NAME            a link to an object or a result that is kept
    DIR/work/ID, ID.lock      what a running build works in, and the lock that says that it runs
    DIR/turns/…               locks: one build of a request at once, and so many builds in all

An object and a result appear by rename(2), complete or not at all, and a result only after its
objects.  Whatever was made by a process that has been killed lies in ``work``, under a lock that
nobody holds any more, and is removed by the next that comes along.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from attrs import frozen

from ..declare.checks import StrPath, is_int
from .locks import FileLock
from .scan import scan
from .trees import remove_of_any

__all__ = ["BuildOutput", "Check", "Collected", "DirectoryStore", "Store", "StoredPath"]

Check = Callable[[], None]
"""Called now and then; it raises when the work is to end."""

FORMAT = "1"


@frozen
class StoredPath:
    """Something in a store.

    Attributes:
        path: where it is: absolute.
        hash: "sha256:" and 64 hexadecimal digits: what it is (see ``pycontainer.build.scan``).
    """

    path: str
    hash: str


@frozen
class BuildOutput(StoredPath):
    """An output of a build.

    Attributes:
        references: the needles of the request that are in it, sorted.
    """

    references: tuple[str, ...] = ()


class Workplace(Protocol):
    """What a store gives a build while it is open."""

    @property
    def directory(self) -> str:
        """A directory of the build's own, on local disk, gone when it ends."""
        ...

    def take_input(self, path: str, check: Check) -> StoredPath:
        """The content of *path* of the host, in the store and in its canonical form."""
        ...

    def find(self, request: str) -> Mapping[str, BuildOutput] | None:
        """The result that is known of the request of this hash."""
        ...

    def turn(self, request: str, check: Check) -> AbstractContextManager[object]:
        """Wait until this request may be built: alone, and as one of so many."""
        ...

    def take_output(
        self, place: int, path: str, needles: Iterable[str], check: Check
    ) -> BuildOutput:
        """Copy what *place* (an O_PATH descriptor) is of into the store; *path* is for errors."""
        ...

    def keep(self, request: str, outputs: Mapping[str, BuildOutput]) -> None:
        """Keep the result of the request of this hash."""
        ...


class Store(Protocol):
    """Where builds get their inputs from and leave their outputs."""

    def open(self) -> AbstractContextManager[Workplace]:
        """A place to work in; whatever is not kept is gone when it is closed."""
        ...


@frozen
class Collected:
    """What a garbage collection has removed.

    Attributes:
        results, objects: how many.
        bytes: how much disk it took.
    """

    results: int
    objects: int
    bytes: int


class DirectoryStore:
    """Content-addressed directories on local disk, for any number of threads and processes.

    Attributes:
        path: the directory: absolute, made when there is none.
        max_builds: how many builds run at once in this store, whichever process they are of.
        durable: whether what is kept is on the disk before it is named, so that it outlasts the
            power as well as the process.

    Raises:
        ValueError: *max_builds* is no positive int, or the directory is a store of another format.
        OSError: the directory cannot be made or written to.
    """

    def __init__(
        self, path: StrPath, *, max_builds: int | None = None, durable: bool = True
    ) -> None:
        self.path = os.path.abspath(path)
        self.max_builds = max_builds if max_builds is not None else os.cpu_count() or 1
        if not is_int(self.max_builds) or self.max_builds < 1:
            raise ValueError(f"max_builds must be a positive int, not {max_builds!r}")
        self.durable = durable
        os.makedirs(self.path, exist_ok=True)
        for name in ("objects", "results", "inputs", "roots", "work", "turns"):
            try:
                os.mkdir(self.at(name))
            except FileExistsError:
                pass
        self._check_format()

    def at(self, *names: str) -> str:
        """A path in the store's directory."""
        return os.path.join(self.path, *names)

    def _check_format(self) -> None:
        try:
            with open(self.at("format")) as file:
                found = file.read().strip()
        except FileNotFoundError:
            self.write("format", FORMAT + "\n")
            return
        if found != FORMAT:
            raise ValueError(f"{self.path} is a store of format {found!r}; this reads {FORMAT}")

    def __repr__(self) -> str:
        return f"DirectoryStore({self.path!r})"

    # What is in it

    def object_path(self, digest: str) -> str:
        """Where the object of this hash is, if there is one."""
        return self.at("objects", hexadecimal(digest), "tree")

    def has(self, digest: str) -> bool:
        """Whether there is an object of this hash."""
        return os.path.lexists(self.object_path(digest))

    def find(self, request: str) -> Mapping[str, BuildOutput] | None:
        """The outputs that are kept of the request of this hash, or None.

        Raises:
            ValueError: what is kept there is no result.
        """
        name = self.at("results", hexadecimal(request))
        try:
            with open(name, "rb") as file:
                outputs = json.load(file)["outputs"]
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{name} is no result: remove it") from None
        return {
            path: BuildOutput(self.object_path(one["hash"]), one["hash"], tuple(one["references"]))
            for path, one in outputs.items()
        }

    def objects(self) -> list[str]:
        """The hashes of all objects, sorted."""
        return ["sha256:" + name for name in sorted(os.listdir(self.at("objects")))]

    def results(self) -> list[str]:
        """The hashes of all requests whose result is kept, sorted."""
        return ["sha256:" + name for name in sorted(os.listdir(self.at("results")))]

    def verify(self) -> list[str]:
        """Read everything again; what is wrong, a line each."""
        wrong = []
        for digest in self.objects():
            try:
                found = scan(self.object_path(digest)).hash
            except OSError as error:
                wrong.append(f"object {digest}: {error}")
                continue
            if found != digest:
                wrong.append(f"object {digest}: its content is {found}")
        for request in self.results():
            try:
                outputs = self.find(request) or {}
            except ValueError as error:
                wrong.append(f"result {request}: {error}")
                continue
            for path, output in outputs.items():
                if not self.has(output.hash):
                    wrong.append(f"result {request}: {path}: there is no object {output.hash}")
        return wrong

    # Roots and garbage

    def add_root(self, name: str, kept: str | StoredPath) -> None:
        """Keep an object, or a request's result with its objects, until ``remove_root``.

        Arguments:
            name: what the root is called; one of that name is replaced.
            kept: a hash, or what a build or ``find`` gave.

        Raises:
            ValueError: the name is no file name, or there is nothing of that hash.
        """
        if not name or "/" in name or name.startswith("."):
            raise ValueError(f"a root's name is a file name without a dot first, not {name!r}")
        digest = hexadecimal(kept if isinstance(kept, str) else kept.hash)
        with self.reading():
            for kind in ("results", "objects"):
                if os.path.exists(self.at(kind, digest)):
                    new = self.at("work", f".{os.urandom(8).hex()}")
                    os.symlink(f"../{kind}/{digest}", new)
                    os.rename(new, self.at("roots", name))
                    return
        raise ValueError(f"{self.path} holds nothing of hash {digest}")

    def remove_root(self, name: str) -> None:
        """Keep it no longer; nothing if there is no root of this name."""
        try:
            os.unlink(self.at("roots", name))
        except FileNotFoundError:
            pass

    def collect_garbage(self, older_than: float = 0.0) -> Collected:
        """Remove what no root keeps, no running build uses and nobody has used for a while.

        Arguments:
            older_than: in seconds: what was used since then is kept.
        """
        from .garbage import collect  # few that build collect too

        return collect(self, older_than)

    # For builds

    def open(self) -> AbstractContextManager[Workplace]:
        """A place to work in."""
        from .workplace import open_workplace

        return open_workplace(self)

    @contextmanager
    def reading(self, check: Check | None = None) -> Iterator[None]:
        """While this is held nothing is removed."""
        with FileLock.wait(self.at("lock"), check, shared=True):
            yield

    @contextmanager
    def changing(self) -> Iterator[None]:
        """While this is held nobody relies on what is there."""
        with FileLock.wait(self.at("lock")):
            yield

    def write(self, name: str, content: str, folder: str | None = None) -> None:
        """Write a file of the store, complete or not at all.

        Arguments:
            folder: a directory of ``work``, where it is made first.
        """
        new = os.path.join(folder or self.at("work"), f".{os.urandom(8).hex()}")
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            with open(fd, "w") as file:
                file.write(content)
                file.flush()
                self.fsync(fd)
            os.rename(new, self.at(name))
        except BaseException:
            os.unlink(new)
            raise
        self.fsync_directory(os.path.dirname(self.at(name)))

    def fsync(self, fd: int) -> None:
        """fsync(2), if the store is durable."""
        if self.durable:
            os.fsync(fd)

    def fsync_directory(self, path: str) -> None:
        """The names in a directory are on the disk."""
        if self.durable:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def sweep(self) -> list[str]:
        """Remove what processes that were killed have left; what they were called.

        It is done whenever a build begins.
        """
        swept = []
        work = self.at("work")
        for name in sorted({name.removesuffix(".lock") for name in os.listdir(work)}):
            lock = FileLock.attempt(os.path.join(work, name + ".lock"))
            if lock is None:
                continue  # it lives
            try:
                self.discard(name)
            except OSError:
                lock.release()  # it stays; what one build has left stops no other
                continue
            except BaseException:
                lock.release()
                raise
            swept.append(name)
            lock.release(remove=True)
        for name in os.listdir(self.at("turns")):
            lock = None if name.startswith("slot-") else FileLock.attempt(self.at("turns", name))
            if lock is not None:
                lock.release(remove=True)  # of a build that is no more
        return swept

    @contextmanager
    def working(self) -> Iterator[str]:
        """The path of a new directory of ``work``, for as long as the ``with`` statement lasts.

        What is left there of processes that were killed is removed before.
        """
        self.sweep()
        lock = None
        while lock is None:  # a sweep that has just seen the new lock may be quicker to take it
            name = f"{os.getpid()}-{os.urandom(6).hex()}"
            lock = FileLock.attempt(self.at("work", name + ".lock"))
        try:
            os.mkdir(self.at("work", name), 0o700)
            yield self.at("work", name)
        finally:
            try:
                self.discard(name)
            finally:
                lock.release(remove=True)

    def discard(self, name: str) -> None:
        """Remove a directory of ``work``; its lock is held."""
        remove_of_any(self.at("work", name))


def hexadecimal(digest: Any) -> str:
    """The 64 digits of a hash, with or without "sha256:" before them.

    Raises:
        ValueError: it is no hash.
    """
    digits = digest.removeprefix("sha256:") if isinstance(digest, str) else ""
    if len(digits) != 64 or not set(digits) <= set("0123456789abcdef"):
        raise ValueError(f"{digest!r} is no hash: 'sha256:' and 64 hexadecimal digits")
    return digits

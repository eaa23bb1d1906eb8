"""What a build of a ``DirectoryStore`` works in."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from .locks import PAUSE, FileLock
from .scan import O_PLACE, Scanned, Stream
from .store import BuildOutput, Check, DirectoryStore, StoredPath, hexadecimal
from .trees import copy_canonical, remove

__all__ = ["DirectoryWorkplace", "open_workplace"]

RECENT = 2.0
"""How old the last change of an input must be, in seconds, before its times say that it is the
same: the times of files advance in steps."""


@contextmanager
def open_workplace(store: DirectoryStore) -> Iterator[DirectoryWorkplace]:
    """A new directory of ``work`` to work in."""
    with store.working() as directory:
        os.mkdir(os.path.join(directory, "pins"))
        yield DirectoryWorkplace(store, directory)


class DirectoryWorkplace:
    """See ``pycontainer.build.store.Workplace``."""

    def __init__(self, store: DirectoryStore, directory: str) -> None:
        self._store = store
        self._count = 0
        self.directory = directory

    def take_input(self, path: str, check: Check) -> StoredPath:
        # Whoever names an input means what is there, so a link is followed; none below it is.
        real = os.path.realpath(path, strict=True)
        if os.path.commonpath([real, os.path.realpath(self._store.path)]) == real:
            raise ValueError(f"input {path} holds the store {self._store.path}, where it is copied")
        digest = self._known_object(real) or self._known_input(real, check)
        if digest is None:
            began = time.time()
            seen = _signature(real, check)
            place = os.open(real, O_PLACE)
            try:
                digest = self._copy(place, path, (), False, check).hash
            finally:
                os.close(place)
            if seen.newest < began - RECENT and _signature(real, check).text == seen.text:
                kept = {"path": real, "signature": seen.text, "hash": digest}
                self._store.write(_input_name(real), json.dumps(kept), self.directory)
        return StoredPath(self._store.object_path(digest), digest)

    def find(self, request: str) -> Mapping[str, BuildOutput] | None:
        with self._store.reading():
            outputs = self._store.find(request)
            if outputs is None or not all(self._store.has(one.hash) for one in outputs.values()):
                return None
            os.utime(self._store.at("results", hexadecimal(request)))
            for output in outputs.values():
                os.utime(self._store.at("objects", hexadecimal(output.hash)))
            return outputs

    @contextmanager
    def turn(self, request: str, check: Check) -> Iterator[None]:
        turns = self._store.at("turns")
        same = FileLock.wait(os.path.join(turns, hexadecimal(request)), check)
        try:
            while (slot := self._free_slot(turns)) is None:
                check()
                time.sleep(PAUSE)
            with slot:
                yield
        finally:
            same.release(remove=True)

    def _free_slot(self, turns: str) -> FileLock | None:
        for number in range(self._store.max_builds):
            lock = FileLock.attempt(os.path.join(turns, f"slot-{number}"))
            if lock is not None:
                return lock
        return None

    def take_output(
        self, place: int, path: str, needles: Iterable[str], check: Check
    ) -> BuildOutput:
        found = self._copy(place, path, needles, True, check)
        return BuildOutput(self._store.object_path(found.hash), found.hash, found.references)

    def keep(self, request: str, outputs: Mapping[str, BuildOutput]) -> None:
        found = {
            path: {"hash": one.hash, "references": list(one.references)}
            for path, one in outputs.items()
        }
        with self._store.reading():
            text = json.dumps({"outputs": found}, indent=1) + "\n"
            self._store.write(f"results/{hexadecimal(request)}", text, self.directory)

    def _known_object(self, real: str) -> str | None:
        """The hash of an object that is named by its own path."""
        folder, last = os.path.split(real)
        objects, name = os.path.split(folder)
        if last != "tree" or not os.path.exists(objects):
            return None
        if not os.path.samefile(objects, self._store.at("objects")):
            return None
        return self._pinned("sha256:" + name)

    def _known_input(self, real: str, check: Check) -> str | None:
        """The hash of an input that has not changed since it was copied."""
        try:
            with open(self._store.at(_input_name(real)), "rb") as file:
                kept = json.load(file)
            if kept["path"] == real and kept["signature"] == _signature(real, check).text:
                return self._pinned(kept["hash"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            pass
        return None

    def _pinned(self, digest: str) -> str | None:
        """Keep garbage collections from an object; None if there is none."""
        with self._store.reading():
            if not self._store.has(digest):
                return None
            self._pin(digest)
            os.utime(self._store.at("objects", hexadecimal(digest)))
        return digest

    def _pin(self, digest: str) -> None:
        with open(os.path.join(self.directory, "pins", hexadecimal(digest)), "w"):
            pass

    def _copy(
        self, place: int, path: str, needles: Iterable[str], ours: bool, check: Check
    ) -> Scanned:
        """Copy into a new directory here, and rename that to the object that it turns out to be."""
        self._count += 1
        new = os.path.join(self.directory, f"new-{self._count}")
        os.mkdir(new, 0o755)
        os.chmod(new, 0o755)  # whatever the umask
        folder = os.open(new, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        stream = Stream(needles, check)
        try:
            stream.begin()
            copy_canonical(stream, place, path, folder, "tree", ours=ours, fsync=self._store.fsync)
            found = stream.finish()
            self._store.fsync(folder)
        finally:
            stream.close()
            os.close(folder)
        self._name(new, found.hash)
        return found

    def _name(self, new: str, digest: str) -> None:
        objects = self._store.at("objects")
        with self._store.reading():
            self._pin(digest)
            try:
                os.rename(new, os.path.join(objects, hexadecimal(digest)))
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
                os.utime(os.path.join(objects, hexadecimal(digest)))  # it is there already
            else:
                self._store.fsync_directory(objects)
                return
        work = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            remove(work, os.path.basename(new))
        finally:
            os.close(work)


class _Signature:
    """What the kernel says of a tree without its content being read.

    Attributes:
        text: a hash of all names, kinds, sizes, inodes and times.
        newest: when something in it changed last, in seconds since 1970.
    """

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self.newest = 0.0

    @property
    def text(self) -> str:
        return self.hash.hexdigest()

    def add(self, name: str, status: os.stat_result) -> None:
        row = (
            *(status.st_dev, status.st_ino, status.st_mode, status.st_size),
            *(status.st_mtime_ns, status.st_ctime_ns),
        )
        self.hash.update(os.fsencode(name) + b"\0" + repr(row).encode() + b"\0")
        self.newest = max(self.newest, status.st_mtime, status.st_ctime)


def _signature(path: str, check: Check) -> _Signature:
    """The signature of what is at *path*; no link is followed."""
    found = _Signature()
    status = os.stat(path, follow_symlinks=False)
    found.add("", status)
    pending = [path] if stat.S_ISDIR(status.st_mode) else []
    while pending:
        check()
        folder = pending.pop()
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: os.fsencode(entry.name)):
                found.add(entry.path, entry.stat(follow_symlinks=False))
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
    return found


def _input_name(real: str) -> str:
    return f"inputs/{hashlib.sha256(os.fsencode(real)).hexdigest()}"

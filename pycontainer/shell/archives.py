"""Archives as streams: digested while they are read, and decompressed where tarfile cannot."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, cast

from .software import SoftwareError

__all__ = ["Digesting", "file_digest", "open_archive", "open_regular"]

GZIP, BZIP2, XZ, ZSTD = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"
"""How compressed files begin (RFC 1952, RFC 8878; file(1) for the others)."""


class Digesting:
    """A file that is read once, and digested and counted on the way."""

    def __init__(self, file: IO[bytes], algorithm: str = "sha256") -> None:
        self._file = file
        self._digest = hashlib.new(algorithm)
        self.size = 0

    def read(self, size: int = -1) -> bytes:
        """As of any file."""
        chunk = self._file.read(size)
        self._digest.update(chunk)
        self.size += len(chunk)
        return chunk

    def hexdigest(self) -> str:
        """The digest of the whole file: what is left of it is read first."""
        while self.read(1 << 20):
            pass
        return self._digest.hexdigest()


def open_regular(path: str) -> IO[bytes]:
    """*path* for reading; only a regular file, as one can wait for a FIFO forever.

    Raises:
        SoftwareError: it is something else, or cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise SoftwareError(f"{path}: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise SoftwareError(f"{path} is neither a directory nor a file")
    return os.fdopen(descriptor, "rb")


def file_digest(file: IO[bytes]) -> str:
    """The SHA-256 of what *file* holds."""
    return hashlib.file_digest(cast(Any, file), "sha256").hexdigest()


@contextmanager
def open_archive(file: IO[bytes] | Digesting) -> Iterator[IO[bytes]]:
    """*file*, decompressed if it begins as gzip's, bzip2's, xz's or Zstandard's.

    tarfile would do most of that too, but without a look at the checksums.  Python has Zstandard
    from 3.14 on; before, the program ``zstd`` in a container does it.

    Raises:
        SoftwareError: it is Zstandard's, and there is neither.
    """
    start = cast(IO[bytes], _Rewound(file))
    head = start.head  # type: ignore[attr-defined]
    if head.startswith(ZSTD):
        with _zstd(start) as plain:
            yield plain
    elif head.startswith((GZIP, BZIP2, XZ)):
        import bz2
        import gzip
        import lzma

        decompressor: Any = {GZIP[:1]: gzip, BZIP2[:1]: bz2, XZ[:1]: lzma}[head[:1]]
        with decompressor.open(start, "rb") as plain:
            yield plain
    else:
        yield start


@contextmanager
def _zstd(compressed: IO[bytes]) -> Iterator[IO[bytes]]:
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        yield from _by_program(compressed)
    else:
        with zstd.open(compressed, "rb") as plain:
            yield plain


def _by_program(compressed: IO[bytes]) -> Iterator[IO[bytes]]:
    import shutil
    import threading

    from ..commands import start_command
    from ..host.mounts import host_system
    from ..launch.stdio import DEVNULL, PIPE

    if shutil.which("zstd") is None:
        raise SoftwareError(
            "the archive is compressed by zstd, which this Python does not know; install the "
            "program (Debian: apt-get install zstd), or compress the archive by gzip or xz"
        )
    running = start_command(
        [host_system()], ["zstd", "-dcq"], stdin=PIPE, stdout=PIPE, stderr=DEVNULL
    )
    with running:
        target, source = running.stdin, running.stdout
        assert target is not None and source is not None

        def feed() -> None:
            try:
                while chunk := compressed.read(1 << 18):
                    target.write(chunk)
            except OSError:
                pass  # it has ended; what it has written shows why
            finally:
                target.close()

        feeder = threading.Thread(target=feed, daemon=True)
        feeder.start()
        try:
            yield source
        finally:
            source.close()
            running.kill()
            feeder.join()


class _Rewound:
    """A file whose first bytes have been looked at."""

    def __init__(self, file: IO[bytes] | Digesting) -> None:
        self._file = file
        self.head = file.read(len(XZ))
        self._again = self.head

    def read(self, size: int = -1) -> bytes:
        again, self._again = self._again, b""
        if not again:
            return self._file.read(size)
        if size < 0:
            return again + self._file.read(size)
        self._again = again[size:]
        return again[:size]

    def readable(self) -> bool:
        return True

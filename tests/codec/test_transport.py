"""Messages travel inline or in a sealed memfd, and nothing else is read."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pycontainer.errors import ResultError
from pycontainer.launch.codec import wire
from pycontainer.launch.codec.decode import decode_value
from pycontainer.launch.codec.encode import encode_value
from pycontainer.launch.codec.transport import from_memfd, to_memfd, to_wire

MIB = 1 << 20
ALWAYS = (
    "os",
    "os.path",
    "posixpath",
    "genericpath",
    "stat",
    "_stat",
    "_collections_abc",
)
ALL = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


def memfd(size: int = 4096, seals: int | None = ALL) -> int:
    fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    if seals is not None:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def refused(fd: int, match: str, limit: int = MIB) -> None:
    start = time.monotonic()
    with pytest.raises(ResultError, match=match):
        from_memfd(fd, limit)
    assert time.monotonic() - start < 1
    assert not is_open(fd)


def test_to_wire_short_is_inline() -> None:
    assert to_wire([b"a", bytearray(b"b"), memoryview(b"c")]) == b"abc"
    assert type(to_wire([bytes(wire.INLINE)])) is bytes


def test_to_wire_long_is_a_sealed_memfd() -> None:
    fd = to_wire([b"a" * 10, memoryview(b"b" * 100_000), b"", bytearray(b"c")])
    assert type(fd) is int
    assert fcntl.fcntl(fd, fcntl.F_GET_SEALS) == ALL
    assert not os.get_inheritable(fd)
    assert bytes(from_memfd(fd, MIB)) == b"a" * 10 + b"b" * 100_000 + b"c"
    assert not is_open(fd)


def test_to_memfd_of_very_many_chunks() -> None:
    chunks = [bytes([i % 256]) * (i % 7) for i in range(5000)]
    assert bytes(from_memfd(to_memfd(chunks), MIB)) == b"".join(chunks)


def test_to_memfd_partial_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.writev
    sizes: list[int] = []

    def short(fd: int, buffers: Any) -> int:
        joined = b"".join(buffers)[:1000]
        sizes.append(len(joined))
        return real(fd, [joined])

    monkeypatch.setattr(os, "writev", short)
    chunks = [os.urandom(n) for n in (1, 999, 1000, 1001, 5000, 3)]
    assert bytes(from_memfd(to_memfd(chunks), MIB)) == b"".join(chunks)
    assert len(sizes) >= 8


def test_from_memfd_is_writable_and_private() -> None:
    fd = to_memfd([b"x" * 5000])
    other = os.dup(fd)
    view = from_memfd(fd, MIB)
    view[0:3] = b"abc"
    assert bytes(view[:4]) == b"abcx"
    assert os.pread(other, 4, 0) == b"xxxx"
    os.close(other)


def test_from_memfd_size_at_the_limit() -> None:
    assert len(from_memfd(memfd(5000), 5000)) == 5000
    refused(memfd(5001), "5001 bytes are more than the 5000 bytes", 5000)


@pytest.mark.parametrize("missing", ["SHRINK", "GROW", "WRITE", "SEAL"])
def test_from_memfd_without_a_seal(missing: str) -> None:
    refused(memfd(seals=ALL & ~getattr(fcntl, f"F_SEAL_{missing}")), "not sealed")


def test_from_memfd_that_is_none() -> None:
    reading, writing = os.pipe()
    refused(reading, "no memfd")
    os.close(writing)
    left, right = socket.socketpair()
    refused(left.detach(), "no memfd")
    right.close()
    refused(os.open("/", os.O_RDONLY), "no memfd|not sealed")
    refused(os.open("/", os.O_PATH), "no memfd")
    refused(os.open("/dev/zero", os.O_RDWR), "no memfd|not sealed")
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * 100)
        refused(os.dup(file.fileno()), "no memfd|not sealed")
    with tempfile.TemporaryFile(dir="/dev/shm") as file:  # tmpfs knows seals, but has only one
        file.write(b"x" * 100)
        refused(os.dup(file.fileno()), "not sealed")


def test_from_memfd_empty() -> None:
    refused(memfd(0), "empty")


def test_from_memfd_of_10_gib_of_nothing() -> None:
    refused(memfd(10 << 30), "10240.0 MiB are more than the 256.0 MiB", wire.DEFAULT_LIMIT)


def test_from_memfd_of_huge_pages() -> None:
    try:
        fd = os.memfd_create("huge", os.MFD_ALLOW_SEALING | os.MFD_HUGETLB)
        os.ftruncate(fd, 2 << 20)
    except OSError as error:
        pytest.skip(f"no huge pages: {error}")
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, ALL)
    refused(fd, "ordinary pages", 4 << 20)


def test_from_memfd_of_zeros_is_malformed() -> None:
    with pytest.raises(ResultError, match="malformed"):
        decode_value(from_memfd(memfd(), MIB))


def test_nothing_stays_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        value = decode_value(from_memfd(to_memfd(encode_value(b"x" * 100_000)), MIB))
        assert len(value) == 100_000
    assert len(os.listdir("/proc/self/fd")) == before


def test_array_outlives_the_message() -> None:
    array = decode_value(from_memfd(to_memfd(encode_value(np.arange(100_000))), MIB))
    assert array.flags.writeable
    assert array.flags.aligned
    array += 1
    assert array.sum() == 100_000 * 100_001 // 2


def test_helper_side_is_lean() -> None:
    """In a bare interpreter the helper's half loads nothing that is not there anyway."""
    code = (
        "import sys; before = set(sys.modules)\n"
        # A package without code: what it imports itself is tested elsewhere.
        "sys.modules['pycontainer'] = type(sys)('pycontainer')\n"
        "sys.modules['pycontainer'].__path__ = [sys.argv[1] + '/pycontainer']\n"
        "import pycontainer.launch.codec.encode, pycontainer.launch.codec.exceptions\n"
        "import pycontainer.launch.codec.transport\n"
        "pycontainer.launch.codec.exceptions.encode_exception(ValueError(1))\n"
        "print(*sorted(m for m in set(sys.modules) - before if not m.startswith('pycontainer')))"
    )
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, root], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert loaded <= {"__future__", "_struct", "errno", "fcntl", "struct"} | set(ALWAYS)


class Pages:
    """The memfds that are made; a writable mapping has the kernel find their pages in use."""

    def __init__(self, monkeypatch, busy: int):
        self.made: list[mmap.mmap | None] = []
        self._busy = busy
        self._create = os.memfd_create
        monkeypatch.setattr(os, "memfd_create", self.create)

    def create(self, name: str, flags: int) -> int:
        fd = self._create(name, flags)
        os.ftruncate(fd, 4096)
        self.made.append(mmap.mmap(fd, 4096) if len(self.made) < self._busy else None)
        return fd

    def release(self) -> None:
        for pages in self.made:
            if pages is not None:
                pages.close()


def open_memfds() -> int:
    links = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
    return sum(os.readlink(link).startswith("/memfd:") for link in links if os.path.islink(link))


def test_pages_that_are_in_use_for_a_moment(monkeypatch):
    """EBUSY: whoever moves or reclaims pages has a reference to them, and then none."""
    pages = Pages(monkeypatch, busy=1)
    release = threading.Timer(0.05, pages.release)
    release.start()
    content = b"x" * MIB
    try:
        assert from_memfd(to_memfd([content]), MIB) == content
    finally:
        release.join()
    assert len(pages.made) == 1


def test_pages_that_stay_in_use(monkeypatch):
    """Then other ones are taken; and when those are no better, the error is the caller's."""
    before = open_memfds()
    pages = Pages(monkeypatch, busy=1)
    content = os.urandom(MIB)
    assert from_memfd(to_memfd([content[:10], content[10:]]), MIB) == content
    assert len(pages.made) == 2
    pages.release()
    pages = Pages(monkeypatch, busy=100)
    with pytest.raises(OSError, match="busy") as caught:
        to_memfd([content])
    assert caught.value.errno == errno.EBUSY
    pages.release()
    assert open_memfds() == before

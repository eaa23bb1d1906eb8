"""Row 42: stdio that is opened again.

The kernel lets an owner open /proc/self/fd/0 of ``program < data`` for writing, and truncate it:
the descriptor's being read-only is not asked for.
"""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import tempfile
import textwrap
from typing import Any

import pytest

from pycontainer import DEVNULL, PIPE, SetupError, call_with_container, run_container

CONTENT = b"0123456789" * 10

IDENTITIES = [
    {},
    {"guest_uid": 1000, "guest_gid": 1000},
    {"child_is_pid1": False},
    {"start_method": "fork"},
    pytest.param({"host_uid_start": 0, "host_gid_start": 0}, marks=pytest.mark.is_root),
]


@pytest.fixture
def data(tmp_path):
    """A file that anyone may write; it must not change."""
    path = tmp_path / "data"
    path.write_bytes(CONTENT)
    path.chmod(0o666)
    before = path.stat()
    yield path
    after = path.stat()
    assert path.read_bytes() == CONTENT
    assert (after.st_mode, after.st_uid, after.st_mtime_ns) == (
        before.st_mode,
        before.st_uid,
        before.st_mtime_ns,
    )
    assert os.listxattr(path) == []


def tamper():
    """What each way of changing the file behind stdin says, and what can be read."""
    said: dict[str, str] = {}

    def say(name, act, *arguments, **options):
        try:
            act(*arguments, **options)
            said[name] = "done"
        except OSError as error:
            said[name] = errno.errorcode[error.errno or 0]

    for path in ("/proc/self/fd/0", "/proc/1/fd/0", "/dev/stdin", "/dev/fd/0"):
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND):
            say(f"open {path}", os.open, path, flags)
        say(f"chmod {path}", os.chmod, path, 0o4777)
        say(f"truncate {path}", os.truncate, path, 0)
        say(f"setxattr {path}", os.setxattr, path, "user.x", b"x")
        say(f"utime {path}", os.utime, path)
    say("fchmod", os.fchmod, 0, 0o4777)
    say("ftruncate", os.ftruncate, 0, 0)
    say("write", os.write, 0, b"x")
    return said, os.read(0, 1000)


@pytest.mark.parametrize("identity", IDENTITIES)
@pytest.mark.parametrize("mode", ["rb", "r+b"])
def test_file_as_stdin(data, identity, mode):
    with open(data, mode) as file:
        said, read = call_with_container([], tamper, stdin=file, timeout=20, **identity)
    assert "done" not in said.values(), said
    assert read == CONTENT


def test_descriptor_and_offset(data):
    """It starts where the caller is; the caller stays where it was."""
    fd = os.open(data, os.O_RDONLY)
    try:
        os.lseek(fd, 90, os.SEEK_SET)
        said, read = call_with_container([], tamper, stdin=fd, timeout=20)
        assert "done" not in said.values(), said
        assert read == CONTENT[90:]
        assert os.lseek(fd, 0, os.SEEK_CUR) == 90
    finally:
        os.close(fd)


def test_file_can_be_sought_and_mapped(data):
    def fn():
        import mmap

        os.lseek(0, -5, os.SEEK_END)
        end = os.read(0, 10)
        with mmap.mmap(0, 10, prot=mmap.PROT_READ) as mapped:
            return stat.S_ISREG(os.fstat(0).st_mode), end, mapped[:10]

    with open(data, "rb") as file:
        answer = call_with_container([], fn, stdin=file, preload=("mmap",), timeout=20)
    assert answer == (True, b"56789", b"0123456789")


SCRIPT = """
    import os, sys
    sys.path.insert(0, sys.argv[1])
    from pycontainer import call_with_container
    from test_row_42_stdio import CONTENT, tamper

    # As ``while read line; do program; done < data`` would have it.
    os.lseek(0, 10, os.SEEK_SET)
    said, read = call_with_container([], tamper, start_method=sys.argv[2], timeout=20)
    assert "done" not in said.values(), said
    assert read == CONTENT[10:], read
    assert os.lseek(0, 0, os.SEEK_CUR) == 10
"""


@pytest.mark.parametrize("method", ["forkserver", "fork"])
def test_inherited_stdin(data, method):
    with open(data, "rb") as file:
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(SCRIPT), os.path.dirname(__file__), method],
            stdin=file,
            check=True,
            timeout=30,
        )


def test_files_that_nobody_finds_again(tmp_path):
    """A here-document or a temporary file has no name left: nothing is guarded, all is read."""
    with tempfile.TemporaryFile() as file:
        file.write(CONTENT)
        file.seek(0)
        assert call_with_container([], lambda: os.read(0, 1000), stdin=file, timeout=20) == CONTENT
    memory = os.memfd_create("x")
    os.write(memory, CONTENT)
    os.lseek(memory, 0, os.SEEK_SET)
    try:
        read = call_with_container([], lambda: os.read(0, 1000), stdin=memory, timeout=20)
    finally:
        os.close(memory)
    assert read == CONTENT


def test_file_whose_name_is_another_ones(data, tmp_path):
    """Under the old name lies another file: neither is handed over."""
    moved = tmp_path / "moved"
    moved.write_bytes(b"other")
    with open(data, "rb") as file:
        # Behind the kernel's back only a mount can do this.
        script = """
            import os, subprocess, sys
            from pycontainer import SetupError, call_with_container

            subprocess.run(["mount", "--bind", sys.argv[2], sys.argv[1]], check=True)
            ran = False
            try:
                call_with_container([], lambda: None, timeout=20)
                ran = True
            except SetupError as error:
                assert "stdin" in str(error) and "PIPE" in str(error), error
            assert not ran
        """
        unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "-Urm"]
        subprocess.run(
            [*unshare, sys.executable, "-c", textwrap.dedent(script), str(data), str(moved)],
            stdin=file,
            check=True,
            timeout=30,
        )


@pytest.mark.unprivileged
def test_file_that_this_user_may_not_change():
    """There is nothing to guard, whether or not it can be found by name."""
    with open("/etc/passwd", "rb") as file:
        said, read = call_with_container([], tamper, stdin=file, timeout=20)
    assert "done" not in said.values(), said
    assert read


@pytest.mark.parametrize("stream", ["stdin", "stdout", "stderr"])
def test_directory(tmp_path, stream):
    """Descriptor-relative paths would start on the host."""
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        given: Any = {stream: fd}
        with pytest.raises(SetupError, match=f"{stream}.*directory") as caught:
            call_with_container([], lambda: None, timeout=20, **given)
        assert isinstance(caught.value, IsADirectoryError)
        assert caught.value.filename == str(tmp_path)
    finally:
        os.close(fd)


def test_directory_by_path_only(tmp_path):
    fd = os.open(tmp_path, os.O_PATH)
    try:
        with pytest.raises(SetupError, match="directory"):
            call_with_container([], lambda: None, stdin=fd, timeout=20)
    finally:
        os.close(fd)


def test_no_descriptor_stays_open(data):
    call_with_container([], lambda: None, timeout=20)
    before = sorted(os.listdir("/proc/self/fd"))
    with open(data, "rb") as file:
        for _ in range(3):
            call_with_container([], lambda: None, stdin=file, timeout=20)
            with pytest.raises(OSError):
                call_with_container([], lambda: None, stdin=file, stdout=9999, timeout=20)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_file_as_stdout(tmp_path):
    """It is the caller's own descriptor, with the caller's offset: this is given away."""
    path = tmp_path / "log"
    with open(path, "wb", 0) as file:
        file.write(b"before\n")
        call_with_container(
            [], lambda: os.write(1, b"inside\n"), stdout=file, stdin=DEVNULL, timeout=20
        )
        file.write(b"after\n")
    assert path.read_bytes() == b"before\ninside\nafter\n"


def test_pipes_are_pipes():
    def fn():
        return [stat.S_ISFIFO(os.fstat(number).st_mode) for number in (1, 2)]

    completed = run_container([], fn, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, timeout=20)
    assert completed.result() == [True, True]

"""Row 16: unpickling a container's bytes (smolagents CVE-2025-14931).

Code in the container holds the call's socket and may say there what it likes.  Nothing that it
says runs code in the caller, undoes the start, or leaks a descriptor.
"""

from __future__ import annotations

import fcntl
import gc
import os
import pickle
import resource
import socket
import struct

import pytest

from pycontainer import ContainerError, ResultError, call_with_container

CALL = 3  # PC_FD_CALL
# PC_SAY_* of pycontainer.h
SETUP_FAILED, LOAD_FAILED, THREADED, READY, VALUE, EXCEPTION, UNENCODABLE = range(1, 8)
ENDED, HOOK_FAILED, VALUE_PICKLE = 8, 9, 10
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


class _Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture
def bomb(tmp_path):
    """A pickle that makes a directory where it is loaded; afterwards there must be none."""
    place = tmp_path / "exploded"
    yield pickle.dumps(_Bomb(str(place)))
    assert not place.exists(), "the caller has run a pickle of the container"


@pytest.fixture(autouse=True)
def no_fd_leaks():
    call_with_container([], lambda: None)  # the helper is there
    before = sorted(os.listdir("/proc/self/fd"))
    yield
    gc.collect()  # the mapping of a memfd that was no result hangs on the exception
    assert sorted(os.listdir("/proc/self/fd")) == before


def says(*messages, files=None, returns="data", timeout=20):
    """Call a function that sends (kind, body) by itself, with the descriptors of *files()*."""

    def fn():
        with socket.socket(fileno=CALL) as call:
            for kind, body in messages:
                fds = files() if files else []
                socket.send_fds(call, [bytes([kind]) + body], fds)
                for fd in set(fds):
                    os.close(fd)
        os._exit(0)

    return call_with_container([], fn, returns=returns, timeout=timeout)


def memfd(content, seals=SEALS, size=None):
    def files():
        fd = os.memfd_create("x", os.MFD_ALLOW_SEALING)
        os.write(fd, content)
        if size is not None:
            os.ftruncate(fd, size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
        return [fd]

    return files


@pytest.mark.parametrize("kind", [VALUE, VALUE_PICKLE, EXCEPTION, UNENCODABLE])
def test_pickle_inline(bomb, kind):
    with pytest.raises(ResultError):
        says((kind, bomb))


@pytest.mark.parametrize("kind", [VALUE, VALUE_PICKLE, EXCEPTION, UNENCODABLE])
def test_pickle_by_memfd(bomb, kind):
    with pytest.raises(ResultError):
        says((kind, b""), files=memfd(bomb))


def test_pickle_where_one_is_wanted():
    """What ``returns="pickle"`` gives away is exactly this, and nothing else does."""
    assert says((VALUE_PICKLE, pickle.dumps(42)), returns="pickle") == 42


@pytest.mark.parametrize("kind", [SETUP_FAILED, LOAD_FAILED, THREADED, READY, HOOK_FAILED, 0, 200])
def test_word_out_of_turn(bomb, kind):
    """After its function has started a container can no longer say that it has not."""
    body = struct.pack("<4i", 0, 1, 0, 0) if kind == SETUP_FAILED else bomb
    with pytest.raises(ResultError, match="malformed message"):
        says((kind, body))


def test_garbage_of_every_kind():
    for kind in (*range(VALUE_PICKLE + 2), 255):
        for body in (b"", b"\xff" * 40, bytes(range(256))):
            with pytest.raises(ContainerError):
                says((kind, body))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (memfd(b"x" * 100, seals=0), "not sealed"),
        (memfd(b"x" * 100, seals=fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK), "not sealed"),
        (memfd(b""), "empty"),
        (memfd(b"x" * 100), "malformed"),
        (memfd(b"", size=10 << 30), "more than"),
        (lambda: [os.open("/dev/zero", os.O_RDWR)], "no memfd"),
        (lambda: [os.open("/", os.O_PATH)], "no memfd"),
        (lambda: [os.open("/tmp", os.O_RDWR | os.O_TMPFILE)], "memfd"),
        (lambda: [os.dup(CALL)], "no memfd"),
    ],
    ids=[
        "unsealed",
        "half-sealed",
        "empty",
        "garbage",
        "10GiB",
        "device",
        "O_PATH",
        "tmpfile",
        "itself",
    ],
)
def test_result_in_something_else(files, words):
    with pytest.raises(ResultError, match=words):
        says((VALUE, b""), files=files)


@pytest.mark.parametrize("count", [2, 16, 17, 253])
@pytest.mark.parametrize("kind", [VALUE, READY, 200])
def test_many_descriptors(count, kind):
    """Beyond what is expected they are closed, wherever the kernel cuts them off."""
    with pytest.raises(ContainerError):
        says(*[(kind, b"")] * 3, files=lambda: [os.dup(0)] * count)


def test_long_message():
    with pytest.raises(ContainerError):
        says((VALUE, bytes(150_000)), (VALUE, bytes(150_000)))


def test_empty_message():
    def fn():
        os.write(CALL, b"")
        socket.socket(fileno=CALL).send(b"")
        return 1

    with pytest.raises(ContainerError):
        call_with_container([], fn, timeout=20)


def test_descriptor_without_a_word():
    """An empty message looks like the end of the socket."""

    def fn():
        with socket.socket(fileno=os.dup(CALL)) as call:
            call.sendmsg(
                [b""], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", os.dup(0)))]
            )
        return 1

    assert call_with_container([], fn, timeout=20) == 1


def test_second_result_is_not_heard(bomb):
    """The first one counts, whatever follows it."""

    def fn():
        with socket.socket(fileno=os.dup(CALL)) as call:
            call.send(bytes([VALUE_PICKLE]) + bomb)
        return "late"

    with pytest.raises(ResultError):
        call_with_container([], fn, timeout=20)


def test_status_is_not_the_containers_to_say():
    """PC_SAY_ENDED is the init's word: it may colour the status, never make a value."""
    with pytest.raises(ContainerError, match="without a value"):
        says((ENDED, (9).to_bytes(4, "little")))


def test_many_messages_keep_the_memory():
    """What is not heard yet lies in the socket, and there is room for little."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ContainerError):
        says(*[(200, bytes(60_000))] * 500, timeout=1)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB

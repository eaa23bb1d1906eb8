"""Row 21: ``masked_paths`` and ``readonly_paths`` that root inside can remove."""

from __future__ import annotations

import errno
import os

import pytest

from pycontainer import bind, call_with_container

MS_RDONLY, MS_REMOUNT, MS_BIND, MS_MOVE, MS_REC = 1, 32, 4096, 8192, 1 << 14
MNT_DETACH = 2
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
DENIED = {errno.EINVAL, errno.EPERM}
PLACES = (b"/data/secret", b"/data/file", b"/data/closed", b"/proc/sys", b"/proc/uptime")


def call(name, *arguments):
    """The errno of a C library function, 0 when it works."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    ctypes.set_errno(0)
    return ctypes.get_errno() if getattr(libc, name)(*arguments) == -1 else 0


@pytest.fixture
def sealed(tmp_path):
    """An errno or more from inside, of fn, with places of each kind."""
    source = tmp_path / "source"
    (source / "secret").mkdir(parents=True)
    (source / "closed").mkdir()
    (source / "secret" / "key").write_text("secret")
    (source / "file").write_text("intact")

    def run(fn, **options):
        return call_with_container(
            [bind(source, "/data", writable=True)],
            fn,
            masked_paths=["/data/secret", "/data/file", "/proc/uptime"],
            readonly_paths=["/data/closed", "/proc/sys"],
            preload=("ctypes",),
            timeout=20,
            **options,
        )

    yield run
    assert (source / "file").read_text() == "intact"
    assert (source / "secret" / "key").read_text() == "secret"
    assert os.listdir(source / "closed") == []


def test_unmount(sealed):
    def fn():
        return {call("umount2", place, flags) for place in PLACES for flags in (0, MNT_DETACH)}

    assert sealed(fn) <= DENIED


@pytest.mark.parametrize("unshared", [CLONE_NEWNS, CLONE_NEWUSER | CLONE_NEWNS])
def test_unmount_in_namespaces_of_its_own(sealed, unshared):
    def fn():
        return call("unshare", unshared), {call("umount2", place, MNT_DETACH) for place in PLACES}

    made, found = sealed(fn)
    assert made == 0
    assert found <= DENIED


def test_remount_writable(sealed):
    def fn():
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        found = set()
        for place in (b"/data/secret", b"/data/closed", b"/proc/sys"):
            found.add(call("mount", None, place, None, MS_REMOUNT | MS_BIND, None))
            for recursive in (0, 0x8000):  # AT_RECURSIVE
                attributes = (ctypes.c_uint64 * 4)(0, 1, 0, 0)  # attr_clr = MOUNT_ATTR_RDONLY
                if libc.syscall(442, -100, place, recursive, attributes, 32) == -1:
                    found.add(ctypes.get_errno())
                else:
                    found.add(0)
        return found

    assert sealed(fn) <= DENIED


def test_move_away(sealed):
    def fn():
        os.mkdir("/tmp/there")
        return {call("mount", place, b"/tmp/there", None, MS_MOVE, None) for place in PLACES}

    assert sealed(fn) <= DENIED


def test_look_below_through_another_bind(sealed):
    def fn():
        os.mkdir("/tmp/there")
        plain = call("mount", b"/data", b"/tmp/there", None, MS_BIND, None)
        whole = call("mount", b"/data", b"/tmp/there", None, MS_BIND | MS_REC, None)
        with open("/tmp/there/file") as file:
            return plain, whole, os.listdir("/tmp/there/secret"), file.read()

    plain, *rest = sealed(fn)
    assert plain in DENIED
    assert rest == [0, [], ""]


def test_without_the_lock_the_mask_does_come_off(sealed):
    """What ``lock_mounts=False`` gives away; so the tests above test the lock."""

    def fn():
        return call("umount2", b"/data/secret", 0), os.listdir("/data/secret")

    assert sealed(fn, lock_mounts=False) == (0, ["key"])

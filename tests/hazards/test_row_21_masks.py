"""Row 21: masks that root inside can remove (Guix a57ed98).

A container's root holds CAP_SYS_ADMIN, yet what hides or protects something of the host stays:
the mounts belong to a user namespace above its own.
"""

from __future__ import annotations

import errno
import os

import pytest

from pycontainer import bind, call_with_container, tmpfs

CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_MOVE, MS_REC, MS_PRIVATE = 1, 32, 4096, 8192, 1 << 14, 1 << 18
MNT_FORCE, MNT_DETACH = 1, 2
MS_NOSUID, MS_NODEV = 2, 4


def call(name, *arguments):
    """The errno of a C library function, 0 when it works."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    ctypes.set_errno(0)
    # -1: a failure of every function that is called here.
    return ctypes.get_errno() if getattr(libc, name)(*arguments) == -1 else 0


def mount(source, target, flags, kind=None):
    return call("mount", source, target, kind, flags, None)


@pytest.fixture
def masked(tmp_path):
    """Mounts of a read-only directory with a mask in it, and an errno from inside for fn."""
    source = tmp_path / "source"
    (source / "secret").mkdir(parents=True)
    (source / "secret" / "key").write_text("secret")
    (source / "file").write_text("intact")
    mounts = [bind(source, "/data"), tmpfs("/data/secret"), bind("/dev/null", "/data/file")]

    def run(fn, **options):
        return call_with_container(mounts, fn, preload=("ctypes",), timeout=20, **options)

    yield run
    assert (source / "file").read_text() == "intact"
    assert (source / "secret" / "key").read_text() == "secret"


DENIED = {errno.EINVAL, errno.EPERM}


@pytest.mark.parametrize("flags", [0, MNT_FORCE, MNT_DETACH])
@pytest.mark.parametrize("target", [b"/data/secret", b"/data/file", b"/data", b"/proc", b"/"])
def test_unmount(masked, target, flags):
    assert masked(lambda: call("umount2", target, flags)) in DENIED


@pytest.mark.parametrize("target", [b"/data", b"/sys", b"/", b"/dev/null"])
def test_remount_writable(masked, target):
    def fn():
        return [
            mount(None, target, MS_REMOUNT | MS_BIND),
            mount(None, target, MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV),
            mount(None, target, MS_REMOUNT),
        ]

    assert set(masked(fn)) <= DENIED


def test_clear_read_only_by_mount_setattr(masked):
    """The only way to change one flag alone, and recursively."""

    def fn():
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        found = []
        for recursive in (0, 0x8000):  # AT_RECURSIVE
            attributes = (ctypes.c_uint64 * 4)(0, 1, 0, 0)  # attr_clr = MOUNT_ATTR_RDONLY
            if libc.syscall(442, -100, b"/data", recursive, attributes, 32) == -1:
                found.append(ctypes.get_errno())
        return found

    assert masked(fn) == [errno.EPERM] * 2


def test_move_away(masked):
    def fn():
        os.mkdir("/tmp/there")
        return [mount(b"/data/secret", b"/tmp/there", MS_MOVE), mount(b"/data", b"/tmp", MS_MOVE)]

    assert set(masked(fn)) <= DENIED


def test_look_below_through_another_bind(masked):
    """A bind that is not recursive would show what lies under the mask."""

    def fn():
        os.mkdir("/tmp/there")
        plain = mount(b"/data", b"/tmp/there", MS_BIND)
        whole = mount(b"/data", b"/tmp/there", MS_BIND | MS_REC)
        seen = os.listdir("/tmp/there/secret") if whole == 0 else []
        rewritten = mount(None, b"/tmp/there", MS_REMOUNT | MS_BIND) if whole == 0 else 1
        return plain, whole, seen, rewritten, call("umount2", b"/tmp/there/secret", 0)

    plain, whole, seen, rewritten, unmounted = masked(fn)
    assert plain in DENIED
    assert whole == 0  # with the mask in it
    assert seen == []
    assert rewritten in DENIED
    assert unmounted in DENIED


@pytest.mark.parametrize("flags", [CLONE_NEWNS, CLONE_NEWUSER | CLONE_NEWNS])
def test_in_namespaces_of_its_own(masked, flags):
    def fn():
        made = call("unshare", flags)
        return (
            made,
            [
                call("umount2", b"/data/secret", MNT_DETACH),
                call("umount2", b"/data/file", MNT_DETACH),
                mount(None, b"/data", MS_REMOUNT | MS_BIND),
            ],
        )

    made, rest = masked(fn)
    assert made == 0
    assert set(rest) <= DENIED


def test_mount_over_it_is_the_containers_own(masked):
    """Covering a mask is allowed, and uncovering it again shows the mask."""

    def fn():
        covered = mount(b"none", b"/data/secret", 0, b"tmpfs")
        uncovered = call("umount2", b"/data/secret", 0)
        return covered, uncovered, os.listdir("/data/secret")

    assert masked(fn) == (0, 0, [])


def test_write_through_the_read_only_bind(masked):
    def fn():
        found = []
        for path in ("/data/new", "/data/file/x", "/new", "/sys/power/state"):
            try:
                os.open(path, os.O_CREAT | os.O_WRONLY)
                found.append(path)
            except OSError:
                pass
        return found

    assert masked(fn) == []


def test_without_the_lock_the_mask_does_come_off(masked):
    """What ``lock_mounts=False`` gives away; so the tests above test the lock."""

    def fn():
        return call("umount2", b"/data/secret", 0), os.listdir("/data/secret")

    assert masked(fn, lock_mounts=False) == (0, ["key"])

"""Row 31: setuid, file-capability and device files left behind (Guix strips S_ISUID).

Host root's containers write through idmapped binds: a set-id file or a file capability made inside
would be *root's* outside, for any user of the host.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import stat
from typing import Any

import pytest

from pycontainer import (
    NAMESPACES,
    bind,
    call_with_container,
    container_excursion,
    overlay,
    start_container,
)
from pycontainer.declare.capabilities import CAPABILITIES as ALL_NAMES

pytestmark = pytest.mark.is_root

WITHOUT_USER = NAMESPACES - {"user"}
IDENTITIES: list[Any] = [
    {},
    {"guest_uid": 1000, "guest_gid": 1000},
    {"host_uid_start": 0, "host_gid_start": 0},
    {"no_new_privs": False},
    {"lock_mounts": False},
    {"child_is_pid1": False},
    {"start_method": "fork"},
    # The host's own root.  With CAP_MKNOD it makes devices, as it could anywhere.
    {"namespaces": WITHOUT_USER, "capabilities": []},
    {"namespaces": WITHOUT_USER, "capabilities": sorted(set(ALL_NAMES) - {"CAP_MKNOD"})},
]
OPENAT2, FCHMODAT2, IO_URING_SETUP = 437, 452, 425
FSOPEN, FSCONFIG, FSMOUNT, MOVE_MOUNT = 430, 431, 432, 429
AT_FDCWD = -100

# A file capability as setcap(8) writes it: cap_sys_admin=ep, versions 2 and 3 (with a root id).
CAPABILITY = [
    b"\x01\x00\x00\x02\x00\x00\x20\x00" + bytes(12),
    b"\x01\x00\x00\x03\x00\x00\x20\x00" + bytes(12) + (0).to_bytes(4, "little"),
    b"\x01\x00\x00\x03\x00\x00\x20\x00" + bytes(12) + (0x70000000).to_bytes(4, "little"),
]


@pytest.fixture
def outside(tmp_path):
    """A directory that is bound writable; what is left in it must be harmless."""
    folder = tmp_path / "bind"
    folder.mkdir()
    (folder / "program").write_text("#!/bin/sh\n")
    (folder / "program").chmod(0o755)
    yield folder
    for path in (folder, *folder.rglob("*")):
        mode = path.lstat().st_mode
        assert not mode & (stat.S_ISUID | stat.S_ISGID), (path, oct(mode))
        assert not stat.S_ISCHR(mode) and not stat.S_ISBLK(mode), path
        if not path.is_symlink():
            assert "security.capability" not in os.listxattr(path), path


def run(outside, fn, **options):
    # start_method="fork" has ctypes from here.
    if options.get("start_method") != "fork":
        options["preload"] = ("ctypes",)
    else:
        import ctypes  # noqa: F401
    return call_with_container([bind(outside, "/data", writable=True)], fn, timeout=20, **options)


def attempts():
    """What each way of making a set-id file says: 0 where it worked."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    said: dict[str, int | None] = {}

    def say(name, act, *arguments, **options):
        try:
            act(*arguments, **options)
            said[name] = 0
        except OSError as error:
            said[name] = error.errno

    def syscall(name, *arguments):
        ctypes.set_errno(0)
        value = libc.syscall(*[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
        said[name] = ctypes.get_errno() if value == -1 else 0

    program = "/data/program"
    fd = os.open(program, os.O_RDWR)
    directory = os.open("/data", os.O_RDONLY)
    for mode in (0o4755, 0o2755, 0o6755, 0o7777, 0o4000):
        say(f"chmod {mode:o}", os.chmod, program, mode)
        say(f"fchmod {mode:o}", os.fchmod, fd, mode)
        say(f"fchmodat {mode:o}", os.chmod, "program", mode, dir_fd=directory)
        say(f"chmod fd link {mode:o}", os.chmod, f"/proc/self/fd/{fd}", mode)
        say(f"mkdir {mode:o}", os.mkdir, f"/data/directory{mode:o}", mode)
        say(f"chmod . {mode:o}", os.chmod, "/data", mode)
        say(f"mknod {mode:o}", os.mknod, f"/data/node{mode:o}", mode | stat.S_IFREG)
        say(f"mkfifo {mode:o}", os.mkfifo, f"/data/fifo{mode:o}", mode)
        say(f"open {mode:o}", os.open, f"/data/new{mode:o}", os.O_CREAT | os.O_RDWR, mode)
        say(f"tmpfile {mode:o}", os.open, "/data", os.O_TMPFILE | os.O_RDWR, mode)
        syscall(f"fchmodat2 {mode:o}", FCHMODAT2, AT_FDCWD, program.encode(), mode, 0)
        syscall(f"fchmodat2 link {mode:o}", FCHMODAT2, AT_FDCWD, program.encode(), mode, 0x100)
        # The high half of a 64-bit argument is not the kernel's concern, nor may it be a filter's.
        syscall(f"fchmod high {mode:o}", SYS_FCHMOD, fd, mode | 1 << 40)
        how = (ctypes.c_uint64 * 3)(os.O_CREAT | os.O_RDWR, mode, 0)
        syscall(f"openat2 {mode:o}", OPENAT2, AT_FDCWD, f"/data/o{mode:o}".encode(), how, 24)
    parameters = (ctypes.c_uint32 * 64)()
    syscall("io_uring", IO_URING_SETUP, 4, parameters)
    say("device", os.mknod, "/data/sda", 0o666 | stat.S_IFBLK, os.makedev(8, 0))
    say("mem", os.mknod, "/data/mem", 0o666 | stat.S_IFCHR, os.makedev(1, 1))
    for number, value in enumerate(CAPABILITY):
        say(f"setcap {number}", os.setxattr, program, "security.capability", value)
        say(f"fsetcap {number}", os.setxattr, fd, "security.capability", value)
    return said


HARMLESS = ("mkdir", "mkfifo")
"""Their set-id bits are lost on the way: the kernel keeps none.  The fixture looks afterwards."""


def worked(said):
    return [name for name, error in said.items() if error == 0 and not name.startswith(HARMLESS)]


SYS_FCHMOD = 91 if platform.machine() == "x86_64" else 52


@pytest.mark.parametrize("identity", IDENTITIES)
def test_every_way_is_refused(outside, identity):
    said = run(outside, attempts, **identity)
    assert not worked(said), said
    assert set(said.values()) <= {
        0,
        errno.EPERM,
        errno.ENOSYS,
        errno.EACCES,
        errno.EOPNOTSUPP,
        errno.EINVAL,
    }


@pytest.mark.parametrize("identity", IDENTITIES)
def test_ordinary_modes_work(outside, identity):
    def fn():
        os.chmod("/data/program", 0o700)
        os.mkdir("/data/directory", 0o750)
        os.mkdir("/data/shared", 0o777)
        os.chmod("/data/shared", 0o1777)
        os.close(os.open("/data/file", os.O_CREAT | os.O_WRONLY, 0o640))
        if attributes:
            os.setxattr("/data/file", "user.note", b"fine")
        # Without O_CREAT the third argument is rubbish that nobody reads.
        os.close(os.open("/data/file", os.O_RDONLY, 0o6755))
        return True

    # Refused altogether where host root is not id 0 inside.
    attributes = _user_xattrs(outside) and not identity.get("guest_uid")
    assert run(outside, fn, **identity)
    assert stat.S_IMODE((outside / "program").stat().st_mode) == 0o700
    assert stat.S_IMODE((outside / "shared").stat().st_mode) == 0o1777


def _user_xattrs(folder):
    try:
        os.setxattr(folder, "user.probe", b"x")
    except OSError:
        return False
    return True


@pytest.mark.parametrize("identity", IDENTITIES)
def test_in_a_nested_user_namespace(outside, identity):
    """Capabilities over a namespace of its own give none over the bind, and no other filter."""

    def fn():
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        uid, gid = os.getuid(), os.getgid()
        if libc.unshare(0x10000000 | 0x20000) == 0:
            try:
                with open("/proc/self/setgroups", "w") as file:
                    file.write("deny")
            except OSError:
                pass
            for kind, number in (("gid", gid), ("uid", uid)):
                try:
                    with open(f"/proc/self/{kind}_map", "w") as file:
                        file.write(f"0 {number} 1")
                except OSError:
                    pass
        return attempts()

    said = run(outside, fn, **identity)
    assert not worked(said), said


@pytest.mark.parametrize("identity", IDENTITIES)
def test_in_the_hook(outside, identity):
    """populate_filesystem runs before the lock, and may be made of what an fn brought along."""

    def populate():
        said = attempts()
        os.mkdir("/data/made", 0o750)
        os.chown("/data/made", 0, 0)
        os.chmod("/data/made", 0o700)
        os.mkdir("/made")
        os.chmod("/made", 0o1777)
        with open("/tmp/said", "w") as file:
            json.dump(said, file)

    def fn():
        with open("/tmp/said") as file:
            return json.load(file), attempts(), sorted(os.listdir("/data")), os.path.isdir("/made")

    during, after, names, made = run(outside, fn, populate_filesystem=populate, **identity)
    if identity.get("namespaces") is WITHOUT_USER:
        # It has the host root's capabilities, of which a filter of modes takes none.
        for name, path in (("device", outside / "sda"), ("mem", outside / "mem")):
            if during.pop(name) == 0:
                path.unlink()
    assert not worked(during), during
    assert not worked(after), after
    assert "made" in names
    assert made


@pytest.mark.parametrize("identity", IDENTITIES)
def test_in_an_excursion(outside, identity):
    options = {name: value for name, value in identity.items() if name != "start_method"}
    with start_container([bind(outside, "/data", writable=True)], **options) as running:
        for target in (running, running.pid):
            said = container_excursion(target, attempts, preload=["ctypes"])
            assert not worked(said), said


@pytest.mark.parametrize("identity", IDENTITIES)
def test_through_a_new_overlay(outside, identity):
    """An overlay's copy-up writes files without any of the calls above."""

    def fn():
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        for name in ("lower", "merged"):
            os.mkdir(f"/tmp/{name}")
        for name in ("upper", "work"):
            os.mkdir(f"/data/{name}")
        made = []
        options = b"lowerdir=/tmp/lower,upperdir=/data/upper,workdir=/data/work,userxattr"
        # The second is 0 with an old mark, which holds the bits of flags that may be set.
        for flags in (0, 0xC0ED0000):
            word = ctypes.c_ulong(flags)
            made.append(libc.mount(b"overlay", b"/tmp/merged", b"overlay", word, options))
        made.append(libc.syscall(FSOPEN, b"overlay", 0))
        for path in ("/tmp/merged/x",):
            try:
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o755))
                os.chmod(path, 0o6755)
            except OSError:
                pass
        return made

    assert run(outside, fn, **identity) == [-1, -1, -1]


MOUNTS = {  # flags of mount(2) that make nothing new
    "bind": 0x1000,
    "bind, with the old mark": 0x1000 | 0xC0ED0000,
    "recursive bind": 0x1000 | 0x4000,
    "read-only bind": 0x1000 | 0x20 | 0x7,
    "private": 0x40000,
    "private, recursive": 0x40000 | 0x4000,
}


@pytest.mark.parametrize("flags", MOUNTS.values(), ids=MOUNTS)
def test_mounts_of_what_is_there_already_work(outside, flags):
    def fn():
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        os.mkdir("/tmp/place")
        assert libc.mount(b"/tmp/place", b"/tmp/place", None, ctypes.c_ulong(0x1000), None) == 0
        if libc.mount(b"/tmp/place", b"/tmp/place", None, ctypes.c_ulong(flags), None) == 0:
            return 0
        return ctypes.get_errno()

    assert run(outside, fn) == 0


@pytest.mark.parametrize("guest", [0, 1000])
def test_as_another_id_with_a_namespace_below(outside, guest):
    """The ids of a whole range are mapped: any of them may be the root of a namespace below."""

    def fn():
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        os.setresgid(1000, 1000, 1000)
        os.setresuid(1000, 1000, 1000)
        libc.prctl(4, 1)  # PR_SET_DUMPABLE: /proc/self is ours again
        assert libc.unshare(0x10000000) == 0
        for kind, text in (("setgroups", "deny"), ("gid_map", "0 1000 1"), ("uid_map", "0 1000 1")):
            with open(f"/proc/self/{kind}", "w") as file:
                file.write(text)
        for value in CAPABILITY:
            try:
                os.setxattr("/data/program", "security.capability", value)
                return "given"
            except OSError:
                pass
        return "refused"

    assert run(outside, fn, guest_uid=guest, guest_gid=guest) == "refused"


def test_upper_directory_of_an_overlay(outside, tmp_path):
    """It is written to like a bind (with the host's ids; by default it is not writable)."""
    for name in ("lower", "work"):
        (tmp_path / name).mkdir()
    (tmp_path / "lower" / "program").touch(0o755)
    mounts = [overlay(tmp_path / "lower", "/data", upper=outside, work=tmp_path / "work")]
    said = call_with_container(
        mounts, attempts, preload=("ctypes",), timeout=20, host_uid_start=0, host_gid_start=0
    )
    assert not worked(said), said


def test_without_a_writable_bind_nothing_is_filtered(outside):
    """The filter costs what it forbids; a container that reaches nothing of the host has none."""

    def fn():
        os.mkdir("/tmp/directory", 0o755)
        os.chmod("/tmp/directory", 0o2755)
        with open("/proc/self/status") as file:
            return next(line for line in file if line.startswith("Seccomp:")).split()[1]

    assert call_with_container([bind(outside, "/data")], fn, timeout=20) == "0"


def test_file_behind_stdout(tmp_path):
    """With the host's own ids inside, it belongs to somebody there; no bind is needed."""

    def fn():
        refused = []
        for change in (lambda: os.fchmod(1, 0o4755), lambda: os.chmod("/proc/self/fd/1", 0o4755)):
            try:
                change()
            except PermissionError:
                refused.append(True)
        return refused

    explicit: Any = {"host_uid_start": 0, "host_gid_start": 0, "host_uids": 65536}
    choices: list[Any] = [{}, explicit]
    for ids in choices:
        with open(tmp_path / "out", "wb") as out:
            assert call_with_container([], fn, stdout=out, **ids) == [True, True]
        assert not (tmp_path / "out").stat().st_mode & stat.S_ISUID

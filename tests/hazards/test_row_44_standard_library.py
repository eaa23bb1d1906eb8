"""Row 44: the directory of the host that containers and excursions hold, to import from.

A detached mount belongs to whoever is root in a user namespace and holds its descriptor: a
container could make it writable, mount something upon it for all others, or leave it by "..".
Ours belongs to no mount namespace, and shows the standard library alone.
"""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from pycontainer import (
    NAMESPACES,
    call_with_container,
    container_excursion,
    host_system,
    start_container,
)
from pycontainer._native import lib
from pycontainer.launch import forkserver as forkservers

STDLIB = lib.PC_FD_STDLIB
OPTIONS = [
    {},
    {"child_is_pid1": False},
    {"lock_mounts": False},
    {"guest_uid": 1000, "guest_gid": 1000},
    pytest.param({"host_uid_start": 0, "host_gid_start": 0}, marks=pytest.mark.is_root),
]
# Numbers since Linux 5.0 are the same on every architecture.
OPEN_TREE, MOVE_MOUNT, FSOPEN, FSCONFIG, FSMOUNT, MOUNT_SETATTR = 428, 429, 430, 431, 432, 442


@pytest.fixture
def stdlib(tmp_path, monkeypatch, victim):
    """A standard library that belongs to this user and is writable for all, with what is not part
    of one beside it."""
    directory = tmp_path / "lib"
    for name in ("encodings", "site-packages/others", "on_path/deep", "lib-dynload"):
        (directory / name).mkdir(parents=True)
    (directory / "colorsys.py").write_text("whose = 'the host'\n")
    (directory / "os.py").write_text("")
    (directory / "encodings/__init__.py").write_text("")
    (directory / "encodings/cp1140.py").write_text("whose = 'the host'\n")
    (directory / "site-packages/others/secret.py").write_text("secret = 1\n")
    (directory / "on_path/deep/secret.py").write_text("secret = 1\n")
    (directory / "wave.py").symlink_to("/tmp/planted.py")
    (directory / "shelve.py").symlink_to(victim / "f")
    (directory / "sched.py").symlink_to("colorsys.py")
    for path in (directory, *directory.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o777)
    monkeypatch.syspath_prepend(str(directory / "on_path"))
    forkservers._end()
    monkeypatch.setattr(os, "__file__", str(directory / "os.py"))
    call_with_container([], lambda: None)  # its helper starts here
    monkeypatch.undo()
    before = look(directory)
    yield directory
    forkservers._end()
    assert look(directory) == before


def look(directory):
    return {
        str(path): (path.lstat().st_mode, path.lstat().st_mtime_ns, path.lstat().st_uid)
        for path in (directory, *directory.rglob("*"))
    }


def attack(fd):
    """Everything that a container may try with the descriptor; returns what worked."""
    readable = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
    return sorted({*mount_attacks(fd), *mount_attacks(readable), *file_attacks(fd)})


def attempt_all(attempts):
    worked = []
    for name, act, *arguments in attempts:
        try:
            if act(*arguments) is not False:
                worked.append(name)
        except OSError:
            pass
    return worked


def mount_attacks(fd):
    libc = ctypes.CDLL(None, use_errno=True)

    def call(*arguments):
        return libc.syscall(*arguments) >= 0

    def mount_on(path, source=b"none", kind=b"tmpfs", flags=0):
        return libc.mount(source, path, kind, flags, None) == 0

    def set_attributes(cleared):
        # struct mount_attr: set, clear, propagation, user namespace (mount_setattr(2)).
        attributes = (ctypes.c_uint64 * 4)(0, cleared, 0, 0)
        return call(MOUNT_SETATTR, fd, b"", empty_path, attributes, 32)

    def open_handle():
        handle = ctypes.create_string_buffer(b"\x80\0\0\0" + bytes(200), 204)
        found = ctypes.c_int()
        if libc.name_to_handle_at(fd, b"colorsys.py", handle, ctypes.byref(found), 0):
            return False
        return libc.open_by_handle_at(fd, handle, os.O_RDONLY) >= 0

    empty_path, clone, recursive = 0x1000, 1, 0x8000
    made = libc.syscall(FSOPEN, b"tmpfs", 0)
    libc.syscall(FSCONFIG, made, 6, None, None, 0)
    made = libc.syscall(FSMOUNT, made, 0, 0)
    os.makedirs("/tmp/place", exist_ok=True)
    os.fchdir(fd)
    worked = attempt_all(
        [
            *((f"clear {flag}", set_attributes, flag) for flag in (1, 2, 4, 8, 0x200000)),
            ("clone", call, OPEN_TREE, fd, b"", empty_path | clone),
            ("clone all", call, OPEN_TREE, fd, b"", empty_path | clone | recursive),
            ("clone a part", call, OPEN_TREE, fd, b"encodings", clone),
            ("cover", call, MOVE_MOUNT, made, b"", fd, b"", 0x44),
            ("cover a part", call, MOVE_MOUNT, made, b"", fd, b"encodings", 4),
            ("move", call, MOVE_MOUNT, fd, b"", -100, b"/tmp/place", 4),
            ("bind", mount_on, b"/tmp/place", b".", None, 4096),
            ("mount in it", mount_on, b"encodings"),
            ("mount on it", mount_on, b"."),
            ("remount", mount_on, b".", b"none", None, 32 | 4096),
            ("unmount", lambda: libc.umount2(b".", 2) == 0),
            ("uncover", lambda: libc.umount2(b"site-packages", 2) == 0),
            ("handle", open_handle),
        ]
    )
    os.chdir("/")
    return worked


def file_attacks(fd):
    here, name = f"/proc/self/fd/{fd}", "colorsys.py"
    file = os.open(name, os.O_RDONLY, dir_fd=fd)
    flags = (os.O_WRONLY, os.O_RDWR | os.O_CREAT, os.O_WRONLY | os.O_TRUNC)
    places = ("new", name, "site-packages/new", "encodings/../new")
    return attempt_all(
        [
            ("mode", lambda: os.chmod(name, 0o4777, dir_fd=fd)),
            ("mode of all", lambda: os.chmod(here, 0o4777)),
            ("owner", lambda: os.chown(name, 0, 0, dir_fd=fd)),
            ("times", lambda: os.utime(name, dir_fd=fd)),
            ("remove", lambda: os.unlink(name, dir_fd=fd)),
            ("rename", lambda: os.rename(name, "x", src_dir_fd=fd, dst_dir_fd=fd)),
            ("hard link", lambda: os.link(name, "x", src_dir_fd=fd, dst_dir_fd=fd)),
            ("directory", lambda: os.mkdir("new", dir_fd=fd)),
            ("link", lambda: os.symlink("/", "new", dir_fd=fd)),
            ("node", lambda: os.mknod("new", 0o644, dir_fd=fd)),
            ("truncate", lambda: os.truncate(f"{here}/{name}", 0)),
            ("attribute", lambda: os.setxattr(f"{here}/{name}", "user.x", b"x")),
            ("reopen", lambda: os.open(f"/proc/self/fd/{file}", os.O_RDWR)),
            ("fchmod", lambda: os.fchmod(file, 0o4755)),
            *(
                (f"write {place}", lambda place, how: os.open(place, how, dir_fd=fd), place, how)
                for place in places
                for how in flags
            ),
            *(
                (f"write {place} by path", os.open, f"{here}/{place}", how)
                for place in places
                for how in flags
            ),
        ]
    )


def ways_up(fd):
    """Where ".." leads that is not the directory itself, and links that lead anywhere."""
    found = []
    top = os.fstat(fd)
    own = f"/proc/self/fd/{fd}"
    for place in ("..", "../../..", "encodings/../..", "./../encodings/../../.."):
        by_descriptor = os.stat(os.open(place, os.O_PATH, dir_fd=fd))
        by_path = os.stat(f"{own}/{place}")
        for there in (by_descriptor, by_path):
            if (there.st_dev, there.st_ino) != (top.st_dev, top.st_ino):
                found.append(place)
    for name in ("wave.py", "shelve.py", "sched.py"):
        try:
            os.open(name, os.O_RDONLY, dir_fd=fd)
            found.append(name)
        except OSError as error:
            if error.errno != 40:  # ELOOP
                found.append(f"{name}: {error}")
    os.fchdir(fd)
    os.chdir("../..")
    if os.stat(".").st_ino != top.st_ino:
        found.append("working directory")
    try:
        os.chroot(".")
    except PermissionError:
        pass
    else:
        there = os.stat("/../..")
        if (there.st_dev, there.st_ino) != (top.st_dev, top.st_ino):
            found.append("root")
    return found


@pytest.mark.parametrize("options", OPTIONS)
def test_nothing_can_be_done_with_it(stdlib, options):
    number = STDLIB
    assert call_with_container([], lambda: attack(number), timeout=20, **options) == []
    assert call_with_container([], lambda: whose_colors(), **options) == "the host"


@pytest.mark.parametrize("options", OPTIONS)
def test_it_cannot_be_left(stdlib, options):
    number = STDLIB
    assert call_with_container([], lambda: ways_up(number), timeout=20, **options) == []


def whose_colors():
    import colorsys

    return vars(colorsys)["whose"]


def test_in_excursions(stdlib):
    number = STDLIB
    with start_container([]) as running:
        assert container_excursion(running, lambda: attack(number), timeout=20) == []
        assert container_excursion(running, lambda: ways_up(number), timeout=20) == []
        assert container_excursion(running, lambda: whose_colors()) == "the host"


def test_no_other_container_sees_what_one_did(stdlib):
    """The mount is the same in all of them, and in the helper."""
    number = STDLIB

    def spoil():
        attack(number)
        os.makedirs("/tmp/x", exist_ok=True)
        return os.fstat(number).st_ino

    before = call_with_container([], spoil)
    for _ in range(3):
        after, whose = call_with_container([], lambda: (os.fstat(number).st_ino, whose_colors()))
        assert (after, whose) == (before, "the host")


def test_flags(stdlib):
    number = STDLIB
    flags = call_with_container([], lambda: os.statvfs(f"/proc/self/fd/{number}").f_flag)
    for flag in (os.ST_RDONLY, os.ST_NOSUID, os.ST_NODEV):
        assert flags & flag


def test_what_is_not_the_standard_library_is_hidden(stdlib):
    """site-packages, and whatever else is on the caller's path."""
    number = STDLIB

    def fn():
        found = []
        for name in ("site-packages", "on_path"):
            try:
                there = os.open(name, os.O_RDONLY, dir_fd=number)
                found += os.listdir(there)
            except OSError as error:
                if error.errno != 13:  # EACCES
                    raise
        for name in ("site-packages/others/secret.py", "on_path/deep/secret.py"):
            try:
                os.open(name, os.O_RDONLY, dir_fd=number)
                found.append(name)
            except OSError:
                pass
        return found

    assert call_with_container([], fn) == []


def test_mounts_of_the_host_stay_as_they_are(stdlib):
    """What hides is mounted where the host does not see it."""
    assert str(stdlib) not in Path("/proc/self/mountinfo").read_text()
    assert (stdlib / "site-packages/others/secret.py").read_text()


@pytest.mark.parametrize("pid1", [True, False])
def test_programs_do_not_inherit_it(pid1):
    def fn():
        ran = subprocess.run(
            ["/bin/sh", "-c", "echo /proc/self/fd/*"],
            capture_output=True,
            text=True,
            close_fds=False,
        )
        os.execv("/bin/sh", ["sh", "-c", f"echo {ran.stdout.strip()} and /proc/self/fd/*"])

    from pycontainer import run_container

    said = run_container(
        [*host_system()], fn, capture_output=True, text=True, child_is_pid1=pid1
    ).stdout
    numbers = {int(word.rpartition("/")[2]) for word in said.split() if word.startswith("/proc")}
    assert numbers <= {0, 1, 2, 3, 4}, said  # 3: the shell's own for the listing
    assert STDLIB not in numbers


@pytest.mark.parametrize(
    "namespaces",
    [
        pytest.param(NAMESPACES - {"user"}, marks=pytest.mark.is_root),
        NAMESPACES - {"mnt", "pid"},
    ],
)
def test_not_where_the_powers_reach_the_host(namespaces):
    """With a capability over the host's file systems one directory opens them all."""
    number = STDLIB

    def fn():
        try:
            os.fstat(number)
        except OSError as error:
            return error.errno
        return 0

    found = call_with_container([], fn, namespaces=namespaces, lock_mounts="user" in namespaces)
    assert found == errno.EBADF


def test_not_with_a_fork_of_the_caller(run_program):
    """Whose descriptor of that number is the caller's own."""
    said = run_program(f"""
    import os
    from pycontainer import call_with_container

    os.dup2(os.open("/", os.O_RDONLY), {STDLIB})

    def fn():
        return os.path.exists("/proc/self/fd/{STDLIB}")

    print(call_with_container([], fn, start_method="fork"))
    """)
    assert said.stdout == "False\n", said.stderr


def test_inits_do_not_hold_it():
    with start_container([]) as running:
        assert str(STDLIB) not in container_excursion(running, lambda: os.listdir("/proc/1/fd"))
    found = call_with_container([], lambda: os.listdir("/proc/1/fd"), child_is_pid1=False)
    assert str(STDLIB) not in found


def test_another_directory_on_its_number_is_not_imported_from():
    """In an excursion above all: it would be the container's."""
    number = STDLIB

    def fn():
        os.mkdir("/tmp/lib")
        with open("/tmp/lib/colorsys.py", "w") as out:
            out.write("planted = True")
        os.dup2(os.open("/tmp/lib", os.O_RDONLY), number)
        try:
            import colorsys
        except ModuleNotFoundError:
            return False
        return hasattr(colorsys, "planted")

    assert call_with_container([], fn) is False
    with start_container([]) as running:
        assert container_excursion(running, fn) is False


def test_a_link_of_the_library_into_the_container(stdlib):
    """In an excursion it would be the container's file."""

    def fn():
        with open("/tmp/planted.py", "w") as out:
            out.write("planted = True")
        try:
            import wave
        except ModuleNotFoundError:
            pass
        else:
            return wave.__file__
        import sched

        return vars(sched)["whose"]

    with start_container([]) as running:
        assert container_excursion(running, fn) == "the host"


def test_the_mount_is_of_no_namespace(tmp_path):
    """A copy of the descriptor of open_tree(2) would keep the mount alive; the helper has no
    threads and no forks, and checks."""
    directory = tmp_path / "lib"
    directory.mkdir()
    script = f"""
    import os
    from pycontainer._native import ffi, lib
    import ctypes

    print(lib.pc_hold_stdlib({str(directory)!r}.encode(), b"\\0"))
    attributes = (ctypes.c_uint64 * 4)(1, 0, 0, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.unshare(0x10020000)
    libc.syscall({MOUNT_SETATTR}, {STDLIB}, b"", 0x1000, attributes, 32)
    print(ctypes.get_errno())
    """
    import pycontainer

    said = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=os.environ | {"PYTHONPATH": str(Path(pycontainer.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said.split() == ["0", str(errno.EINVAL)]

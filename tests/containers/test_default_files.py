"""The file system, environment and descriptors that every container starts with."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

import pycontainer
from pycontainer import (
    DEVNULL,
    NAMESPACES,
    Container,
    bind,
    call_with_container,
    directory,
    file,
    host_python,
    run_container,
    symlink,
    tmpfs,
)
from pycontainer._native import lib

DEVICES = ("full", "null", "random", "tty", "urandom", "zero")


def mount_table():
    """From /proc/self/mountinfo (proc_pid_mountinfo(5)): target -> (type, flags, options)."""
    table = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, system = line.partition(" - ")
        target, flags = mount.split()[4:6]
        kind, _, options = system.split(" ", 2)
        table[target] = kind, set(flags.split(",")), set(options.split(","))
    return table


@pytest.fixture(scope="module")
def table():
    return call_with_container([], mount_table)


def test_every_mount_is_accounted_for(table):
    devices = {f"/dev/{name}" for name in DEVICES if os.path.exists(f"/dev/{name}")}
    assert table.keys() - devices == {
        "/", "/dev", "/dev/pts", "/dev/shm", "/proc", "/sys", "/tmp"
    }  # fmt: skip
    assert devices <= table.keys()


@pytest.mark.parametrize(
    ("target", "kind", "flags"),
    [
        ("/", "tmpfs", {"ro"}),
        ("/proc", "proc", {"rw", "nosuid", "nodev", "noexec"}),
        ("/sys", "sysfs", {"ro", "nosuid", "nodev", "noexec"}),
        ("/dev", "tmpfs", {"nosuid", "noexec"}),
        ("/dev/pts", "devpts", {"rw", "nosuid", "noexec"}),
        ("/dev/shm", "tmpfs", {"rw", "nosuid", "nodev"}),
        ("/tmp", "tmpfs", {"rw", "nosuid", "nodev"}),
        ("/dev/null", None, {"ro", "nosuid", "noexec"}),
        ("/dev/urandom", None, {"ro", "nosuid", "noexec"}),
    ],
)
def test_mount_flags(table, target, kind, flags):
    found, found_flags, _ = table[target]
    assert kind in (None, found)
    assert flags <= found_flags
    if kind is None or target == "/dev/pts":
        assert "nodev" not in found_flags


def test_root_is_writable_in_the_mount_table():
    assert "rw" in call_with_container([], mount_table, writable_root=True)["/"][1]


def test_devpts_options(table):
    assert {"mode=620", "ptmxmode=666"} <= table["/dev/pts"][2]


@pytest.mark.parametrize("target", ["/", "/tmp", "/dev/shm"])
def test_tmpfs_are_bounded(table, target):
    assert any(option.startswith("size=") for option in table[target][2])


def test_root_size():
    options = call_with_container([], mount_table, root_size=1 << 20)["/"][2]
    assert "size=1024k" in options


def test_names_in_the_root():
    assert call_with_container([], lambda: sorted(os.listdir("/"))) == [
        "dev", "etc", "proc", "sys", "tmp"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "mode"),
    [("/", 0o755), ("/tmp", 0o1777), ("/dev/shm", 0o1777), ("/dev", 0o755), ("/etc", 0o755)],
)
def test_directory_modes(path, mode):
    def fn():
        status = os.stat(path)
        return stat.S_IMODE(status.st_mode), status.st_uid

    assert call_with_container([], fn) == (mode, 0)


def test_modes_whatever_the_callers_umask():
    before = os.umask(0o077)
    try:
        modes = call_with_container(
            [directory("/a", 0o777), file("/b", "", 0o666), tmpfs("/c/d", mode=0o777)],
            lambda: [stat.S_IMODE(os.stat(name).st_mode) for name in ("/", "/a", "/b", "/c/d")],
        )
    finally:
        os.umask(before)
    assert modes == [0o755, 0o777, 0o666, 0o777]


def test_root_is_read_only():
    def fn():
        try:
            os.mkdir("/new")
        except OSError as error:
            return error.errno

    assert call_with_container([], fn) == errno.EROFS


def test_root_is_read_only_but_populated():
    def fn():
        try:
            os.mkdir("/new")
        except OSError as error:
            return error.errno, os.path.isdir("/populated")

    found = call_with_container([], fn, populate_filesystem=lambda: os.mkdir("/populated"))
    assert found == (errno.EROFS, True)


def test_writable_root():
    def fn():
        os.mkdir("/new")
        Path("/new/file").write_text("there")
        return Path("/new/file").read_text()

    assert call_with_container([], fn, writable_root=True) == "there"


def test_populate_filesystem_sees_the_mounts_and_the_root():
    def populate():
        os.mkdir("/etc/made")
        Path("/etc/made/of").write_text(" ".join(sorted(os.listdir("/mnt"))))
        os.symlink("made", "/etc/link")

    def fn():
        return Path("/etc/link/of").read_text()

    mounts = [tmpfs("/mnt"), directory("/mnt/a")]
    assert call_with_container(mounts, fn, populate_filesystem=populate) == "a"


# ---- /dev


def test_device_nodes_work():
    def fn():
        zeros = Path("/dev/zero").open("rb").read(8)
        null = Path("/dev/null").open("wb").write(b"gone")
        empty = Path("/dev/null").read_bytes()
        random = {len(Path(name).open("rb").read(16)) for name in ("/dev/random", "/dev/urandom")}
        try:
            with open("/dev/full", "wb", 0) as full:
                full.write(b"x")
        except OSError as error:
            return zeros, null, empty, random, error.errno

    assert call_with_container([], fn) == (bytes(8), 4, b"", {16}, errno.ENOSPC)


def test_device_links():
    def fn():
        return {name: os.readlink(f"/dev/{name}") for name in ("fd", "stdin", "stdout", "stderr")}

    assert call_with_container([], fn) == {
        "fd": "/proc/self/fd",
        "stdin": "/proc/self/fd/0",
        "stdout": "/proc/self/fd/1",
        "stderr": "/proc/self/fd/2",
    }


def test_ptmx_opens_a_terminal_of_the_containers_own():
    def fn():
        primary, secondary = os.openpty()
        os.write(primary, b"typed\n")
        return os.ttyname(secondary), os.read(secondary, 100), os.path.exists("/dev/ptmx")

    assert call_with_container([], fn) == ("/dev/pts/0", b"typed\n", True)


def test_console_is_the_terminal_of_stdin(is_root):
    primary, secondary = os.openpty()
    # A terminal belongs to whoever opened it, and devpts cannot be idmapped: for the container of
    # host root it is somebody else's, but for the descriptor that it was given.
    options: Any = {"host_uid_start": os.geteuid()} if is_root else {}
    try:

        def fn():
            with open("/dev/console", "wb", 0) as console:
                console.write(b"hello")
            return os.stat(0).st_rdev == os.stat("/dev/console").st_rdev

        assert call_with_container([], fn, stdin=secondary, **options)
        assert os.read(primary, 100) == b"hello"
    finally:
        os.close(primary)
        os.close(secondary)


OTHER_DEVPTS = """
import os, sys
from pycontainer import call_with_container

assert os.ttyname(0)
number = int(os.readlink("/proc/self/fd/0").rpartition("/")[2])
os.system("mount -t devpts -o newinstance,ptmxmode=666 devpts /dev/pts") and sys.exit("mount")
held = []
while not os.path.exists(f"/dev/pts/{number}"):
    held.append(os.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY))
assert os.stat(0).st_rdev == os.stat(f"/dev/pts/{number}").st_rdev
print(call_with_container([], lambda: os.path.exists("/dev/console"), host_uid_start=0))
"""


@pytest.mark.is_root
def test_no_console_from_another_devpts():
    """The terminal of that number is somebody else's there."""
    primary, secondary = os.openpty()
    try:
        done = subprocess.run(
            ["unshare", "-m", sys.executable, "-c", OTHER_DEVPTS],
            stdin=secondary,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": str(Path(pycontainer.__file__).parents[1])},
            timeout=40,
            check=False,
        )
    finally:
        os.close(primary)
        os.close(secondary)
    assert done.stdout == "False\n", done.stderr


def test_no_console_without_a_terminal():
    def fn():
        return os.path.exists("/dev/console")

    completed = run_container([], fn, stdin=DEVNULL)
    assert completed.result() is False


def test_shared_memory():
    def fn():
        from multiprocessing import shared_memory

        made = shared_memory.SharedMemory(create=True, size=100)
        try:
            return [name.lstrip("/") for name in os.listdir("/dev/shm")] == [made.name]
        finally:
            made.close()
            made.unlink()

    # Python's shared memory starts a second interpreter to look after it.
    assert call_with_container([host_python()], fn)


# ---- /etc


def test_hosts():
    def fn():
        return Path("/etc/hosts").read_text().splitlines(), stat.S_IMODE(
            os.stat("/etc/hosts").st_mode
        )

    lines, mode = call_with_container([], fn)
    assert "127.0.0.1 localhost" in lines
    assert mode == 0o444
    lines, _ = call_with_container([], fn, hostname="box")
    assert "127.0.0.1 box" in lines


def test_own_host_name_resolves():
    import socket

    def fn():
        return socket.gethostbyname(socket.gethostname()), socket.gethostbyname("localhost")

    assert call_with_container([], fn, hostname="box") == ("127.0.0.1", "127.0.0.1")


def test_no_hosts_file_with_the_callers_network():
    names = NAMESPACES - {"net"}
    found = call_with_container([], lambda: sorted(os.listdir("/etc")), namespaces=names)
    assert found == ["group", "passwd"]


# ---- defaults replaced


def test_mount_in_the_place_of_a_default(tmp_path):
    (tmp_path / "mine").write_text("mine")

    def fn():
        table = mount_table()
        return os.listdir("/tmp"), "/sys" in table, table["/sys"][0]

    listing, there, kind = call_with_container([bind(tmp_path, "/tmp"), tmpfs("/sys")], fn)
    assert (listing, there, kind) == (["mine"], True, "tmpfs")


def test_mount_in_the_place_of_dev():
    def fn():
        return os.listdir("/dev")

    assert call_with_container([tmpfs("/dev")], fn) == []


def test_mount_in_the_place_of_proc():
    assert call_with_container([tmpfs("/proc")], lambda: os.listdir("/proc")) == []


def test_file_in_the_place_of_a_default():
    mounts = [file("/etc/hosts", "10.0.0.1 elsewhere\n"), file("/etc/passwd", "")]

    def fn():
        return Path("/etc/hosts").read_text(), os.stat("/etc/passwd").st_size

    assert call_with_container(mounts, fn) == ("10.0.0.1 elsewhere\n", 0)


def test_symlink_in_the_place_of_a_default():
    mounts = [symlink("/tmp", "/var/tmp"), tmpfs("/var/tmp")]

    def fn():
        Path("/tmp/a").touch()
        return os.listdir("/var/tmp"), os.readlink("/tmp")

    assert call_with_container(mounts, fn) == (["a"], "/var/tmp")


def test_bind_of_a_parent_of_defaults(tmp_path):
    (tmp_path / "motd").write_text("welcome")

    def fn():
        return sorted(os.listdir("/etc"))

    assert call_with_container([bind(tmp_path, "/etc")], fn) == ["motd"]
    assert os.listdir(tmp_path) == ["motd"]


def test_bind_of_the_hosts_etc():
    def fn():
        return os.path.exists("/etc/passwd"), os.path.exists("/etc/hosts")

    assert call_with_container([bind("/etc")], fn) == (
        os.path.exists("/etc/passwd"),
        os.path.exists("/etc/hosts"),
    )


# ---- environment, directory, descriptors


def test_environment_is_empty():
    assert call_with_container([], lambda: dict(os.environ)) == {}


def test_environment_given():
    env = {"A": "1", "EMPTY": "", "UMLAUT": "\u00e4", "BYTES": "\udcff"}
    assert call_with_container([], lambda: dict(os.environ), env=env) == env
    assert call_with_container([], lambda: os.environb[b"BYTES"], env=env) == b"\xff"


def test_environment_of_the_c_library():
    """What a program started from here gets."""

    def fn():
        return Path("/proc/self/environ").read_bytes()

    assert b"PATH=" not in call_with_container([], fn)


def test_cwd():
    assert call_with_container([], os.getcwd) == "/"
    assert call_with_container([tmpfs("/work")], os.getcwd, cwd="/work") == "/work"


def test_callers_cwd_is_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call_with_container([], os.getcwd) == "/"
    assert os.getcwd() == str(tmp_path)


def test_descriptors_are_0_1_2():
    secret = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(secret, True)
    try:

        def fn():
            found = {}
            for name in os.listdir("/proc/self/fd"):
                try:
                    found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
                except OSError:
                    pass  # the one for the listing
            return found

        found = call_with_container([], fn)
    finally:
        os.close(secret)
    # Beyond these, one socket for the answer, and the standard library.
    assert found.pop(lib.PC_FD_STDLIB) == "/"
    others = {number: path for number, path in found.items() if number > 2}
    assert len(others) <= 1, others
    assert all(path.startswith("socket:") for path in others.values())


def test_umask_is_022():
    def fn():
        before = os.umask(0)
        os.umask(before)
        return before

    assert call_with_container([], fn) == 0o022


def test_random_numbers_differ():
    def fn():
        import random

        return random.random()

    numbers = {call_with_container([], fn, preload=["random"]) for _ in range(4)}
    assert len(numbers) == 4


def test_container_is_reused():
    container = Container([tmpfs("/mnt")], hostname="again", env={"A": "b"})

    def fn():
        Path("/mnt/file").touch(exist_ok=False)
        return os.uname().nodename, os.environ["A"]

    assert {call_with_container(container, fn) for _ in range(3)} == {("again", "b")}


def test_terminal_size_request_reaches_the_callers_terminal():
    primary, secondary = os.openpty()
    try:
        fcntl.ioctl(primary, termios.TIOCSWINSZ, b"\x0a\0\x14\0\0\0\0\0")
        found = call_with_container([], lambda: tuple(os.get_terminal_size(0)), stdin=secondary)
        assert found == (20, 10)
    finally:
        os.close(primary)
        os.close(secondary)

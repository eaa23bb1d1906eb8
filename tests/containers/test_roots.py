"""``rootfs=``, and the ready-made views of the host."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import pycontainer
from pycontainer import (
    NAMESPACES,
    SetupError,
    bind,
    call_with_container,
    host_network,
    host_python,
    host_system,
    run_container,
    tmpfs,
)

PYTHON = sys.executable


@pytest.fixture
def rootfs(tmp_path):
    """A small root with the places that mounts need."""
    root = tmp_path / "root"
    for name in ("dev", "proc", "sys", "tmp", "etc", "srv"):
        (root / name).mkdir(parents=True)
    (root / "etc/motd").write_text("welcome")
    return root


def test_rootfs(rootfs):
    def fn():
        return sorted(os.listdir("/")), Path("/etc/motd").read_text(), os.readlink("/proc/self")

    names, text, pid = call_with_container([], fn, rootfs=rootfs)
    assert names == ["dev", "etc", "proc", "srv", "sys", "tmp"]
    assert (text, pid) == ("welcome", "1")


def test_rootfs_is_read_only(rootfs):
    def fn():
        found = []
        for path in ("/new", "/etc/motd"):
            try:
                Path(path).write_text("x")
            except OSError as error:
                found.append(error.errno)
        Path("/tmp/new").touch()
        return found

    assert call_with_container([], fn, rootfs=rootfs) == [errno.EROFS] * 2
    assert (rootfs / "etc/motd").read_text() == "welcome"
    assert os.listdir(rootfs / "tmp") == []


def test_rootfs_writable(rootfs):
    def fn():
        Path("/new").write_text("from inside")

    call_with_container([], fn, rootfs=rootfs, writable_root=True)
    made = rootfs / "new"
    assert made.read_text() == "from inside"
    assert made.stat().st_uid == os.geteuid()


def test_nothing_is_made_in_a_rootfs(tmp_path):
    root = tmp_path / "bare"
    root.mkdir()
    assert call_with_container([], lambda: os.listdir("/"), rootfs=root) == []
    assert os.listdir(root) == []


def test_mount_in_a_rootfs(rootfs, tmp_path):
    (tmp_path / "x").touch()
    mounts = [bind(tmp_path / "x", "/etc/motd"), tmpfs("/srv")]

    def fn():
        Path("/srv/new").touch()
        return Path("/etc/motd").read_text(), os.listdir("/srv")

    assert call_with_container(mounts, fn, rootfs=rootfs) == ("", ["new"])
    assert os.listdir(rootfs / "srv") == []


def test_mount_without_a_place_in_the_rootfs(rootfs):
    with pytest.raises(FileNotFoundError) as caught:
        call_with_container([tmpfs("/absent")], os.getpid, rootfs=rootfs)
    assert "/absent" in str(caught.value)
    assert "nothing is created on the host" in caught.value.__notes__[0]
    assert not (rootfs / "absent").exists()


def test_rootfs_missing(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        call_with_container([], os.getpid, rootfs=tmp_path / "absent")
    assert caught.value.filename == str(tmp_path / "absent")


def test_rootfs_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SetupError) as caught:
        call_with_container([], os.getpid, rootfs=tmp_path / "file")
    assert caught.value.errno == errno.ENOTDIR


def test_program_in_a_rootfs(rootfs):
    """A static program would do; what is at hand is the host's, with its libraries."""
    for name in ("usr", "bin", "lib", "lib64"):
        if os.path.islink(f"/{name}"):
            (rootfs / name).symlink_to(os.readlink(f"/{name}"))
        else:
            (rootfs / name).mkdir()
    mounts = [bind("/usr")]
    if not os.path.islink("/bin"):
        mounts += [bind(f"/{name}") for name in ("bin", "lib", "lib64")]

    def fn():
        return subprocess.run(["/bin/cat", "/etc/motd"], capture_output=True).stdout

    assert call_with_container(mounts, fn, rootfs=rootfs, preload=["subprocess"]) == b"welcome"


# ---- host_python


def test_host_python_runs():
    def fn():
        import subprocess

        program = "import sys, json, ctypes, ssl; print(sys.version_info[:2])"
        done = subprocess.run([PYTHON, "-c", program], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    code, out, err = call_with_container([host_python()], fn)
    assert (code, out) == (0, f"{sys.version_info[:2]}\n"), err


def test_host_python_imports_inside_the_function():
    def fn():
        import colorsys

        return colorsys.rgb_to_hsv(1, 0, 0)

    assert call_with_container([host_python()], fn) == (0.0, 1.0, 1.0)


def test_host_python_is_read_only():
    def fn():
        try:
            Path(os.__file__).write_text("")
        except OSError as error:
            return error.errno

    assert call_with_container([host_python()], fn) == errno.EROFS


def test_host_python_path(tmp_path):
    (tmp_path / "named_module.py").write_text("VALUE = 7\n")
    where = str(tmp_path)

    def fn():
        sys.path.append(where)
        import named_module  # type: ignore[import-not-found]

        return named_module.VALUE

    assert call_with_container([host_python(path=[where])], fn) == 7


def test_host_python_does_not_show_the_project():
    where = str(Path(pycontainer.__file__).parents[1])
    shown = call_with_container([host_python()], lambda: os.path.exists(f"{where}/tests"))
    assert not shown


# ---- host_system


def test_host_system_runs_ls():
    def fn():
        done = subprocess.run(["/bin/ls", "/"], capture_output=True, text=True, check=False)
        return done.stdout.split(), done.returncode

    names, code = call_with_container([host_system()], fn, preload=["subprocess"])
    assert code == 0
    assert {"bin", "dev", "etc", "proc", "usr"} <= set(names)


def test_host_system_writes_to_the_callers_streams(capfd):
    completed = run_container(
        [host_system()], lambda: os.system("echo out; echo err >&2; exit 3"), capture_output=True
    )
    assert os.waitstatus_to_exitcode(completed.result()) == 3
    assert (completed.stdout, completed.stderr) == (b"out\n", b"err\n")


def test_host_system_with_host_python():
    def fn():
        return shutil.which("ls"), os.path.exists(PYTHON)

    where, there = call_with_container(
        [host_system(), host_python()], fn, env={"PATH": os.defpath}, preload=["shutil"]
    )
    assert where is not None
    assert there


@pytest.mark.unprivileged
def test_set_id_program_gives_nothing():
    """nosuid binds and no_new_privs, both."""

    def fn():
        return os.statvfs("/usr").f_flag & os.ST_NOSUID

    assert call_with_container([host_system()], fn)


# ---- host_network


def test_host_network():
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]

    def fn():
        with socket.create_connection(("localhost", port), timeout=5):
            return os.path.exists("/etc/resolv.conf"), os.path.exists("/etc/hosts")

    found = call_with_container(
        [host_network(), host_python()], fn, namespaces=NAMESPACES - {"net"}
    )
    server.close()
    assert found == (os.path.exists("/etc/resolv.conf"), os.path.exists("/etc/hosts"))

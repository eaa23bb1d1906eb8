"""An ordinary user's subordinate ids (subuid(5)), with newuidmap and newgidmap."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from pycontainer import (
    SetupError,
    bind,
    call_with_container,
    container_excursion,
    start_container,
)
from pycontainer.launch import forkserver as forkservers
from pycontainer.launch import ranges

pytestmark = pytest.mark.unprivileged


@pytest.fixture
def new_helper(monkeypatch):
    """The next call with ranges starts a helper of its own."""
    monkeypatch.setattr(forkservers, "_running", {})


@pytest.mark.parametrize("pid1", [True, False])
def test_ids_of_others(pid1):
    def fn():
        directory = Path("/tmp/of_another")
        directory.mkdir(mode=0o700)
        os.chown(directory, 1000, 2000)
        (directory / "x").touch()  # root inside may
        os.setgroups([7, 8])
        os.setresgid(2000, 2000, 2000)
        os.setresuid(999, 999, 999)
        try:
            os.listdir(directory)
        except PermissionError:
            denied = True
        status = os.stat(directory)
        return status.st_uid, status.st_gid, os.getuid(), os.getgroups(), denied

    found = call_with_container([], fn, host_uids=2001, child_is_pid1=pid1)
    assert found == (1000, 2000, 999, [7, 8], True)


def test_maps_outside():
    with start_container([], host_uids=1001, guest_uid=42, guest_gid=0) as running:
        maps = Path(f"/proc/{running.pid}/uid_map").read_text().split("\n")
        found = [tuple(map(int, line.split())) for line in maps if line]
    first, count = ranges.subordinate_ranges("/etc/subuid")[0]
    assert count >= 1001
    assert (42, os.geteuid(), 1) in found
    assert (1, first, 41) in found
    assert sum(length for _, _, length in found) == 1001


@pytest.mark.parametrize("pid1", [True, False])
def test_lock(tmp_path, pid1):
    """The second user namespace of the lock has all the ids too; mounts stay."""
    import ctypes

    (tmp_path / "x").touch()

    def fn():
        assert ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        unmounted = libc.umount2(b"/here", 2)
        return unmounted, ctypes.get_errno(), Path("/proc/self/uid_map").read_text().split()

    options: Any = {"host_uids": 11, "child_is_pid1": pid1}
    found = call_with_container([bind(tmp_path, "/here")], fn, preload=["ctypes"], **options)
    unmounted, error, maps = found
    assert (unmounted, error) == (-1, errno.EINVAL)
    assert maps == ["0", "0", "1", "1", "1", "10"] or maps == ["0", "0", "11"]


def test_files_outside(tmp_path):
    """What a container's other users make belongs to a subordinate id."""
    tmp_path.chmod(0o777)

    def fn():
        Path("/here/mine").touch()
        os.setresuid(5, 5, 5)
        Path("/here/theirs").touch()

    call_with_container([bind(tmp_path, "/here", writable=True)], fn, host_uids=10)
    first, _ = ranges.subordinate_ranges("/etc/subuid")[0]
    assert (tmp_path / "mine").stat().st_uid == os.geteuid()
    assert (tmp_path / "theirs").stat().st_uid == first + 4

    # Only the container can delete it from a directory that is not the user's own.
    def clean():
        os.unlink("/here/theirs")

    call_with_container([bind(tmp_path, "/here", writable=True)], clean, host_uids=10)


@pytest.mark.parametrize("guest", [0, 42])
def test_excursion(guest):
    def fn():
        Path("/tmp/x").touch()
        if guest == 0:
            os.chown("/tmp/x", 7, 8)
        status = os.stat("/tmp/x")
        return os.getuid(), status.st_uid, status.st_gid

    with start_container([], host_uids=100, guest_uid=guest, guest_gid=guest) as running:
        wanted = (0, 7, 8) if guest == 0 else (guest, guest, guest)
        assert container_excursion(running, fn) == wanted
        assert container_excursion(running.pid, os.getgid) == guest


def test_excursion_of_the_owner():
    with start_container([], host_uids=100) as running:
        assert container_excursion(running, os.getuid, owner=True) == 0


def test_beside_a_plain_container():
    with start_container([], host_uids=100) as wide, start_container([]) as narrow:
        lines = [
            Path(f"/proc/{running.pid}/uid_map").read_text().split() for running in (wide, narrow)
        ]
        assert lines[1] == ["0", str(os.geteuid()), "1"]
        assert len(lines[0]) > 3


def test_fork():
    """A fork of the caller is not in the namespace that newuidmap has mapped."""
    with pytest.raises(SetupError, match="use the forkserver") as caught:
        call_with_container([], os.getuid, host_uids=10, start_method="fork")
    assert caught.value.errno == errno.EPERM


def test_more_than_the_user_has():
    with pytest.raises(SetupError, match="ids, not") as caught:
        call_with_container([], os.getuid, host_uids=4_000_000_000)
    assert (caught.value.errno, caught.value.filename) == (errno.EPERM, "/etc/subuid")


def test_no_line(monkeypatch, new_helper, tmp_path):
    given = ranges.subordinate_ranges

    def none(path):
        return [] if path == "/etc/subgid" else given(path)

    monkeypatch.setattr(ranges, "subordinate_ranges", none)
    with pytest.raises(SetupError, match="no line for this user") as caught:
        call_with_container([], os.getuid, host_uids=10)
    assert (caught.value.errno, caught.value.filename) == (errno.EPERM, "/etc/subgid")
    assert "usermod --add-subgids" in caught.value.__notes__[0]


def test_no_file(monkeypatch, tmp_path):
    assert ranges.subordinate_ranges(str(tmp_path / "absent")) == []


def test_lines(tmp_path):
    import pwd

    name, uid = pwd.getpwuid(os.geteuid()).pw_name, os.geteuid()
    file = tmp_path / "subuid"
    file.write_text(
        f"# comment\nnobody-else:1:2\n{name}:100000:65536\n\n{name}:x:1\n{name}\n{uid}:300000:10\n"
    )
    assert ranges.subordinate_ranges(str(file)) == [(100000, 65536), (300000, 10)]


def test_program_is_missing(monkeypatch, new_helper):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(SetupError, match="newuidmap is not installed") as caught:
        call_with_container([], os.getuid, host_uids=10)
    assert "uidmap" in caught.value.__notes__[0]


def test_program_refuses(monkeypatch, new_helper):
    """A range that /etc/subuid does not give: newuidmap's own words are in a note."""
    monkeypatch.setattr(ranges, "subordinate_ranges", lambda path: [(1, 5)])
    with pytest.raises(SetupError, match="refused") as caught:
        call_with_container([], os.getuid, host_uids=3)
    assert caught.value.errno == errno.EPERM
    assert "not allowed" in caught.value.__notes__[0] or "map" in caught.value.__notes__[0]
    assert call_with_container([], os.getuid) == 0

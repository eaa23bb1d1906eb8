"""``masked_paths`` and ``readonly_paths``, and capabilities that are not ambient."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from pycontainer import (
    NAMESPACES,
    SetupError,
    bind,
    call_with_container,
    host_system,
    run_command,
    run_container,
    symlink,
    tmpfs,
)


@pytest.fixture
def source(tmp_path):
    """A directory of the host with a file, and a directory with a file in it."""
    made = tmp_path / "source"
    (made / "closed").mkdir(parents=True)
    (made / "closed/key").write_text("secret")
    (made / "file").write_text("secret")
    return made


def writes(*paths):
    """The errnos of making a file below each directory."""
    found: list[int | None] = []
    for path in paths:
        try:
            Path(path, "new").touch()
            found.append(0)
        except OSError as error:
            found.append(error.errno)
    return found


def test_masked(source):
    def fn():
        status = os.stat("/data/file")
        directory = os.stat("/data/closed")
        return (
            Path("/data/file").read_bytes(),
            stat.S_ISCHR(status.st_mode),
            (os.major(status.st_rdev), os.minor(status.st_rdev)),
            os.listdir("/data/closed"),
            stat.S_IMODE(directory.st_mode),
            writes("/data/closed"),
        )

    mounts = [bind(source, "/data", writable=True)]
    found = call_with_container(mounts, fn, masked_paths=["/data/file", "/data/closed"])
    assert found == (b"", True, (1, 3), [], 0o555, [errno.EROFS])


def test_masked_many_of_both_kinds(source):
    """The second of each kind is a clone of the first."""
    names = [f"{kind}{number}" for kind in ("file", "directory") for number in range(5)]
    for name in names:
        if name.startswith("file"):
            (source / name).write_text("secret")
        else:
            (source / name / "inner").mkdir(parents=True)

    def fn():
        return [
            Path("/data", name).read_bytes()
            if name.startswith("file")
            else os.listdir(f"/data/{name}")
            for name in names
        ]

    masked = [f"/data/{name}" for name in names]
    assert call_with_container([bind(source, "/data")], fn, masked_paths=masked) == [
        b"" if name.startswith("file") else [] for name in names
    ]


def test_masked_of_proc():
    def fn():
        return Path("/proc/uptime").read_bytes(), os.listdir("/proc/sys")

    assert call_with_container([], fn, masked_paths=["/proc/uptime", "/proc/sys"]) == (b"", [])


def test_readonly_with_the_mounts_below(source):
    mounts = [bind(source, "/data", writable=True), tmpfs("/data/closed"), tmpfs("/t")]

    def fn():
        return writes("/data", "/data/closed", "/t", "/tmp"), os.listdir("/data/closed")

    found = call_with_container(mounts, fn, readonly_paths=["/data", "/tmp"])
    assert found == ([errno.EROFS, errno.EROFS, 0, errno.EROFS], [])


def test_readonly_place_is_no_mount(source):
    """A directory and a file of a mount, which stays writable beside them."""

    def fn():
        with pytest.raises(OSError) as caught:
            Path("/data/file").write_text("changed")
        return caught.value.errno, writes("/data/closed", "/data")

    found = call_with_container(
        [bind(source, "/data", writable=True)],
        fn,
        readonly_paths=["/data/closed", "/data/file"],
    )
    assert found == (errno.EROFS, [errno.EROFS, 0])


def test_readonly_keeps_what_the_mount_had():
    """Its other flags."""

    def fn():
        lines = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        return [line[5].split(",") for line in lines if line[4] == "/proc/sys"]

    (flags,) = call_with_container([], fn, readonly_paths=["/proc/sys"])
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(flags)


def test_masked_in_a_readonly_place(source):
    def fn():
        return os.listdir("/data/closed"), writes("/data")

    found = call_with_container(
        [bind(source, "/data", writable=True)],
        fn,
        readonly_paths=["/data"],
        masked_paths=["/data/closed"],
    )
    assert found == ([], [errno.EROFS])


def test_what_is_not_there_is_passed_over(source):
    def fn():
        return writes("/data")

    places = ["/absent", "/data/absent/x", "/data/file/x"]
    found = call_with_container(
        [bind(source, "/data", writable=True)], fn, masked_paths=places, readonly_paths=places
    )
    assert found == [0]


@pytest.mark.parametrize("writable", [False, True])
def test_what_the_hook_has_made(source, writable):
    """With something writable, root's hook already runs under a filter that refuses openat2()."""

    def populate():
        os.mkdir("/made")
        Path("/made/key").write_text("secret")
        Path("/key").write_text("secret")

    def fn():
        return os.listdir("/made"), Path("/key").read_bytes(), writes("/data/closed")

    found = call_with_container(
        [bind(source, "/data", writable=writable)],
        fn,
        populate_filesystem=populate,
        masked_paths=["/made", "/key", "/absent/x", "/key/x"],
        readonly_paths=["/data/closed"],
    )
    assert found == ([], b"", [errno.EROFS])


def test_links_that_stay_inside(source):
    """As /var/run is one to /run; with or without a leading slash."""
    (source / "relative").symlink_to("closed")
    (source / "absolute").symlink_to("/data/file")

    def fn():
        return os.listdir("/data/closed"), Path("/data/file").read_bytes()

    mounts = [bind(source, "/data"), symlink("/link", "/data")]
    found = call_with_container(
        mounts, fn, masked_paths=["/link/relative", "/link/absolute"], readonly_paths=["/link"]
    )
    assert found == ([], b"")


@pytest.mark.parametrize("hook", [None, lambda: None], ids=["", "hook"])
@pytest.mark.parametrize("field", ["masked_paths", "readonly_paths"])
def test_magic_link_is_refused(source, field, hook):
    """It is there, so that it may not be passed over, and it is no path."""
    options = {field: ["/proc/self/root/tmp"], "populate_filesystem": hook}
    mounts = [bind(source, "/data", writable=True)]
    with pytest.raises(SetupError) as caught:
        call_with_container(mounts, lambda: None, **options)
    assert caught.value.errno == errno.ELOOP
    assert caught.value.filename == "/proc/self/root/tmp"


def test_rootfs(tmp_path):
    root = tmp_path / "root"
    for name in ("proc", "dev", "etc"):
        (root / name).mkdir(parents=True)
    (root / "etc/shadow").write_text("secret")

    def fn():
        return Path("/etc/shadow").read_bytes(), writes("/etc", "/")

    found = call_with_container(
        [],
        fn,
        rootfs=root,
        writable_root=True,
        masked_paths=["/etc/shadow"],
        readonly_paths=["/etc"],
    )
    assert found == (b"", [errno.EROFS, 0])
    assert (root / "etc/shadow").read_text() == "secret"


@pytest.mark.is_root
def test_without_user_namespace(source):
    def fn():
        return Path("/data/file").read_bytes(), writes("/data/closed")

    found = call_with_container(
        [bind(source, "/data", writable=True)],
        fn,
        namespaces=NAMESPACES - {"user"},
        masked_paths=["/data/file"],
        readonly_paths=["/data/closed"],
    )
    assert found == (b"", [errno.EROFS])


def test_note_for_a_write():
    def fn():
        Path("/tmp/x").touch()

    error = run_container([], fn, readonly_paths=["/tmp"]).exception
    assert isinstance(error, OSError)
    assert error.__notes__ == ["readonly_paths makes /tmp read-only"]


SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
KEPT = 0b100001


@pytest.mark.parametrize(
    ("uid", "ambient", "wanted"),
    [
        (0, True, (KEPT, KEPT, KEPT, KEPT, KEPT)),
        (0, False, (KEPT, KEPT, KEPT, KEPT, 0)),
        (1000, True, (KEPT, KEPT, KEPT, KEPT, KEPT)),
        (1000, False, (KEPT, 0, 0, KEPT, 0)),
    ],
)
def test_ambient_capabilities(uid, ambient, wanted):
    done = run_command(
        [host_system()],
        ["grep", "^Cap", "/proc/self/status"],
        capabilities=["chown", "kill"],
        ambient_capabilities=ambient,
        guest_uid=uid,
        capture_output=True,
        text=True,
        timeout=20,
    )
    lines = dict(line.split(":\t") for line in done.stdout.splitlines())
    assert tuple(int(lines[name], 16) for name in SETS) == wanted


@pytest.mark.is_root
@pytest.mark.parametrize(
    ("kept", "ambient", "wanted"),
    [
        (["chown", "kill"], True, (KEPT, KEPT, KEPT, KEPT, KEPT)),
        (["chown", "kill"], False, (KEPT, 0, 0, KEPT, 0)),
        ([], True, (0, 0, 0, 0, 0)),
    ],
)
def test_capabilities_without_user_namespace(kept, ambient, wanted):
    """Another uid than 0: what is not ambient is lost when a program is executed."""
    done = run_command(
        [host_system()],
        ["grep", "^Cap", "/proc/self/status"],
        namespaces=NAMESPACES - {"user"},
        capabilities=kept,
        ambient_capabilities=ambient,
        guest_uid=1000,
        capture_output=True,
        text=True,
        timeout=20,
    )
    lines = dict(line.split(":\t") for line in done.stdout.splitlines())
    assert tuple(int(lines[name], 16) for name in SETS) == wanted

"""Mounts and entries of the caller's, each with what it promises."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from pycontainer import (
    Container,
    Mount,
    SetupError,
    bind,
    call_with_container,
    device,
    devpts,
    directory,
    extend,
    file,
    mqueue,
    overlay,
    proc,
    symlink,
    sysfs,
    tmpfs,
)


def flags_of(target):
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[4] == target:
            return set(fields[5].split(","))
    return None


def errno_of(fn):
    try:
        fn()
    except OSError as error:
        return error.errno
    return 0


# ---- binds


def test_bind_read_only(tmp_path):
    (tmp_path / "old").write_text("old")

    def fn():
        return (
            Path("/mnt/old").read_text(),
            errno_of(lambda: Path("/mnt/new").touch()),
            errno_of(lambda: Path("/mnt/old").write_text("x")),
            errno_of(lambda: os.unlink("/mnt/old")),
            flags_of("/mnt"),
        )

    old, *errors, flags = call_with_container([bind(tmp_path, "/mnt")], fn)
    assert (old, errors) == ("old", [errno.EROFS] * 3)
    assert {"ro", "nosuid", "nodev"} <= flags
    assert "noexec" not in flags
    assert os.listdir(tmp_path) == ["old"]


def test_bind_writable(tmp_path):
    def fn():
        Path("/mnt/new").write_text("from inside")
        os.mkdir("/mnt/directory")

    call_with_container([bind(tmp_path, "/mnt", writable=True)], fn)
    assert (tmp_path / "new").read_text() == "from inside"
    assert sorted(os.listdir(tmp_path)) == ["directory", "new"]


def test_bind_at_its_own_place(tmp_path):
    (tmp_path / "old").write_text("old")
    path = str(tmp_path / "old")
    assert call_with_container([bind(tmp_path)], lambda: Path(path).read_text()) == "old"


def test_bind_of_a_file(tmp_path):
    (tmp_path / "old").write_text("old")

    def fn():
        return Path("/etc/old").read_text(), os.listdir("/etc")

    text, names = call_with_container([bind(tmp_path / "old", "/etc/old")], fn)
    assert text == "old"
    assert {"old", "passwd"} <= set(names)


def test_bind_of_a_file_writable(tmp_path):
    (tmp_path / "one").write_text("before")
    mounts = [bind(tmp_path / "one", "/mnt/one", writable=True)]
    call_with_container(mounts, lambda: Path("/mnt/one").write_text("after"))
    assert (tmp_path / "one").read_text() == "after"


@pytest.mark.parametrize("option", ["noexec", "nosuid", "nodev"])
@pytest.mark.parametrize("value", [True, False])
def test_bind_flag(tmp_path, option, value):
    flags = call_with_container(
        [bind(tmp_path, "/mnt", **{option: value})], lambda: flags_of("/mnt")
    )
    if value:
        assert option in flags
    elif option in flags:
        # The file system is mounted so, and the kernel locks that (mount_namespaces(7)).
        assert os.statvfs(tmp_path).f_flag & getattr(os, f"ST_{option.upper()}")


def test_bind_noexec_is_obeyed(tmp_path):
    program = tmp_path / "program"
    program.write_bytes(Path("/bin/true").read_bytes())
    program.chmod(0o755)

    def fn():
        return errno_of(lambda: os.execv("/mnt/program", ["program"]))

    assert call_with_container([bind(tmp_path, "/mnt", noexec=True)], fn) == errno.EACCES


def test_bind_recursive():
    """Below /dev there are mounts on every host: /dev/pts."""

    def fn():
        return os.path.exists("/host/pts/ptmx"), flags_of("/host/pts")

    there, flags = call_with_container([bind("/dev", "/host")], fn)
    assert there
    assert {"ro", "nosuid", "nodev"} <= flags


@pytest.mark.is_root
def test_bind_not_recursive():
    def fn():
        return os.path.exists("/host/pts/ptmx"), flags_of("/host/pts")

    mounts = [bind("/dev", "/host", recursive=False)]
    assert call_with_container(mounts, fn) == (False, None)


@pytest.mark.unprivileged
def test_bind_not_recursive_uncovers_nothing():
    """What lies below a mount is hidden for a reason: the kernel refuses (EINVAL)."""
    with pytest.raises(SetupError) as caught:
        call_with_container([bind("/dev", "/host", recursive=False)], os.getpid)
    assert caught.value.errno == errno.EINVAL
    assert "recursive=True" in caught.value.__notes__[0]


def test_bind_optional(tmp_path):
    mounts = [bind(tmp_path / "absent", "/mnt", optional=True), bind(tmp_path, "/there")]

    def fn():
        return os.path.isdir("/there"), os.path.exists("/mnt") and os.listdir("/mnt")

    there, absent = call_with_container(mounts, fn)
    assert there
    assert absent in (False, [])


def test_bind_of_a_relative_source(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here/x").touch()
    monkeypatch.chdir(tmp_path)
    mount = bind("here", "/mnt")
    monkeypatch.chdir("/")
    assert call_with_container([mount], lambda: os.listdir("/mnt")) == ["x"]


def test_bind_of_a_link_shows_what_it_points_to(tmp_path):
    (tmp_path / "real").write_text("real")
    (tmp_path / "link").symlink_to("real")
    mounts = [bind(tmp_path / "link", "/mnt")]
    assert call_with_container(mounts, lambda: Path("/mnt").read_text()) == "real"


def test_bind_inside_a_bind(tmp_path):
    (tmp_path / "outer/inner").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/x").touch()
    mounts = [bind(tmp_path / "outer", "/mnt"), bind(tmp_path / "other", "/mnt/inner")]
    assert call_with_container(mounts, lambda: os.listdir("/mnt/inner")) == ["x"]


def test_bind_whose_target_is_not_in_the_bind_above(tmp_path):
    mounts = [bind(tmp_path, "/mnt"), bind("/etc", "/mnt/absent")]
    with pytest.raises(FileNotFoundError) as caught:
        call_with_container(mounts, os.getpid)
    assert "nothing is created on the host" in caught.value.__notes__[0]
    assert os.listdir(tmp_path) == []


def test_binds_with_odd_names(tmp_path):
    names = ["with space", "new\nline", "\udcff", 'quote"\\', "-dash", "\u00e4"]
    mounts = []
    for name in names:
        (tmp_path / name).write_text("x")
        mounts.append(bind(tmp_path / name, f"/mnt/{name}"))

    def fn():
        return sorted(os.listdir("/mnt"))

    assert call_with_container(mounts, fn) == sorted(names)


def test_two_hundred_binds(tmp_path):
    for number in range(200):
        (tmp_path / f"d{number}").mkdir()
    mounts = [bind(tmp_path / f"d{number}", f"/mnt/{number}") for number in range(200)]
    assert call_with_container(mounts, lambda: len(os.listdir("/mnt"))) == 200


# ---- file systems


def test_tmpfs():
    def fn():
        Path("/a/b/c/file").write_text("x")
        return flags_of("/a/b/c"), stat.S_IMODE(os.stat("/a/b/c").st_mode)

    flags, mode = call_with_container([tmpfs("/a/b/c")], fn)
    assert {"rw", "nosuid", "nodev"} <= flags
    assert mode == 0o755


def test_tmpfs_mode():
    mounts = [tmpfs("/mnt", mode=0o1770)]
    mode = call_with_container(mounts, lambda: stat.S_IMODE(os.stat("/mnt").st_mode))
    assert mode == 0o1770


@pytest.mark.parametrize("size", [1 << 20, "1m"])
def test_tmpfs_size_is_enforced(size):
    def fn():
        with open("/mnt/file", "wb", 0) as out:
            written = out.write(bytes(2 << 20))  # a short write up to the bound
            return written, errno_of(lambda: out.write(bytes(4096)))

    assert call_with_container([tmpfs("/mnt", size=size)], fn) == (1 << 20, errno.ENOSPC)


def test_root_size_is_enforced():
    def fn():
        with open("/file", "wb", 0) as out:
            while True:
                out.write(bytes(65536))

    with pytest.raises(OSError) as caught:
        call_with_container([], fn, writable_root=True, root_size="1m")
    assert caught.value.errno == errno.ENOSPC


def test_tmpfs_that_is_too_small_for_an_entry():
    mounts = [tmpfs("/mnt", size=4096), file("/mnt/big", bytes(100_000))]
    with pytest.raises(SetupError) as caught:
        call_with_container(mounts, os.getpid)
    assert caught.value.errno == errno.ENOSPC
    assert "larger size" in caught.value.__notes__[0]


def test_tmpfs_ends_with_the_container():
    def fn():
        before = os.listdir("/mnt")
        Path("/mnt/file").touch()
        return before

    assert call_with_container([tmpfs("/mnt")], fn) == []
    assert call_with_container([tmpfs("/mnt")], fn) == []


def test_overlay_keeps_writes_inside(tmp_path):
    (tmp_path / "old").write_text("old")
    (tmp_path / "gone").touch()

    def fn():
        Path("/mnt/new").write_text("new")
        Path("/mnt/old").write_text("changed")
        os.unlink("/mnt/gone")
        return sorted(os.listdir("/mnt")), Path("/mnt/old").read_text()

    assert call_with_container([overlay(tmp_path, "/mnt")], fn) == (["new", "old"], "changed")
    assert sorted(os.listdir(tmp_path)) == ["gone", "old"]
    assert (tmp_path / "old").read_text() == "old"


def test_overlay_at_its_own_place(tmp_path):
    path = str(tmp_path)

    def fn():
        Path(path, "new").touch()
        return os.listdir(path)

    assert call_with_container([overlay(tmp_path)], fn) == ["new"]
    assert os.listdir(tmp_path) == []


def test_overlay_of_several_layers(tmp_path):
    for name, text in (("a", "upper"), ("b", "lower")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "both").write_text(text)
        (tmp_path / name / name).touch()

    def fn():
        return sorted(os.listdir("/mnt")), Path("/mnt/both").read_text()

    mounts = [overlay([tmp_path / "a", tmp_path / "b"], "/mnt")]
    assert call_with_container(mounts, fn) == (["a", "b", "both"], "upper")


def test_overlay_with_upper_and_work(tmp_path):
    for name in ("lower", "upper", "work"):
        (tmp_path / name).mkdir()
    (tmp_path / "lower/old").write_text("old")

    def fn():
        Path("/mnt/new").write_text("new")
        Path("/mnt/old").write_text("changed")

    mount = overlay(tmp_path / "lower", "/mnt", upper=tmp_path / "upper", work=tmp_path / "work")
    call_with_container([mount], fn, **plain_owner())
    assert (tmp_path / "lower/old").read_text() == "old"
    assert (tmp_path / "upper/new").read_text() == "new"
    assert (tmp_path / "upper/old").read_text() == "changed"
    # The next container finds it.
    found = call_with_container([mount], lambda: sorted(os.listdir("/mnt")), **plain_owner())
    assert found == ["new", "old"]


def plain_owner():
    """An overlay cannot be idmapped: host root's own directories need host root's own id."""
    return {"host_uid_start": 0} if os.geteuid() == 0 else {}


def test_device():
    def fn():
        return stat.S_ISCHR(os.stat("/dev/full").st_mode), flags_of("/dev/full")

    there, flags = call_with_container([device("/dev/full")], fn)
    assert there
    assert {"ro", "nosuid", "noexec"} <= flags
    assert "nodev" not in flags


def test_device_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SetupError):
        call_with_container([device(tmp_path / "file")], os.getpid)


def test_proc_elsewhere():
    def fn():
        return os.readlink("/mnt/proc/self"), flags_of("/mnt/proc")

    pid, flags = call_with_container([proc("/mnt/proc")], fn)
    assert pid == "1"
    assert {"rw", "nosuid", "nodev", "noexec"} <= flags


def test_sysfs_elsewhere():
    def fn():
        return os.listdir("/mnt/class/net"), flags_of("/mnt")

    names, flags = call_with_container([sysfs("/mnt")], fn)
    assert names == ["lo"]
    assert {"ro", "nosuid", "nodev", "noexec"} <= flags


def test_devpts_elsewhere():
    def fn():
        return sorted(os.listdir("/mnt")), flags_of("/mnt")

    names, flags = call_with_container([devpts("/mnt")], fn)
    assert names == ["ptmx"]
    assert {"nosuid", "noexec"} <= flags


def test_mqueue():
    def fn():
        import ctypes

        libc = ctypes.CDLL(None)
        assert libc.mq_open(b"/queue", os.O_CREAT | os.O_RDWR, 0o600, None) >= 0
        return os.listdir("/dev/mqueue"), flags_of("/dev/mqueue")

    names, flags = call_with_container([mqueue()], fn, preload=["ctypes"])
    assert names == ["queue"]
    assert {"nosuid", "nodev", "noexec"} <= flags


def test_mount_of_an_unknown_file_system():
    with pytest.raises(SetupError) as caught:
        call_with_container([Mount("/mnt", "nosuchfs")], os.getpid)
    assert caught.value.errno == errno.ENODEV
    assert "nosuchfs" in str(caught.value)


def test_mount_with_a_bad_option():
    with pytest.raises(SetupError) as caught:
        call_with_container([Mount("/mnt", "tmpfs", options=["nonsense=1"])], os.getpid)
    assert caught.value.errno == errno.EINVAL
    assert "/mnt" in str(caught.value)


def test_mount_read_only_and_its_other_flags():
    mount = Mount("/mnt", "tmpfs", writable=False, noexec=True, nosymfollow=True, atime="none")
    flags = call_with_container([mount], lambda: flags_of("/mnt"))
    assert {"ro", "noexec", "nosymfollow", "noatime"} <= flags


# ---- entries


def test_directory():
    def fn():
        return [stat.S_IMODE(os.stat(path).st_mode) for path in ("/a", "/a/b", "/a/b/c")]

    assert call_with_container([directory("/a/b/c", 0o2770)], fn) == [0o755, 0o755, 0o2770]


def test_file():
    content = bytes(range(256)) * 100

    def fn():
        status = os.stat("/a/file")
        return Path("/a/file").read_bytes(), stat.S_IMODE(status.st_mode), status.st_uid

    assert call_with_container([file("/a/file", content, 0o640)], fn) == (content, 0o640, 0)


def test_file_of_text():
    mounts = [file("/text", "\u00e4\n"), file("/empty", "")]
    found = call_with_container(
        mounts, lambda: (Path("/text").read_bytes(), Path("/empty").read_bytes())
    )
    assert found == ("\u00e4\n".encode(), b"")


def test_file_in_a_tmpfs():
    mounts = [tmpfs("/mnt"), file("/mnt/a", "in it"), file("/tmp/b", "there")]

    def fn():
        return Path("/mnt/a").read_text(), Path("/tmp/b").read_text()

    assert call_with_container(mounts, fn) == ("in it", "there")


def test_symlink():
    mounts = [symlink("/a/link", "../etc/passwd"), symlink("/dangling", "/nowhere")]

    def fn():
        return os.readlink("/a/link"), os.path.exists("/a/link"), os.path.exists("/dangling")

    assert call_with_container(mounts, fn) == ("../etc/passwd", True, False)


def test_mounts_are_made_in_their_order(tmp_path):
    (tmp_path / "sub").mkdir()
    mounts = [bind(tmp_path, "/mnt"), tmpfs("/mnt/sub"), file("/mnt/sub/file", "x")]
    assert call_with_container(mounts, lambda: os.listdir("/mnt/sub")) == ["file"]


def test_extend_puts_a_mount_in_the_place_of_another(tmp_path):
    (tmp_path / "x").touch()
    container = Container([tmpfs("/mnt")])
    found = call_with_container(
        extend(container, bind(tmp_path, "/mnt")), lambda: os.listdir("/mnt")
    )
    assert found == ["x"]


def test_host_is_left_as_it_was(tmp_path):
    before = Path("/proc/self/mountinfo").read_text()
    call_with_container([bind(tmp_path, "/mnt", writable=True)], os.getpid)
    assert Path("/proc/self/mountinfo").read_text() == before

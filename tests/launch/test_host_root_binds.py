"""Host root's binds: what it sees inside is what it would see outside, though nobody there is root.

Its containers have ids that nobody has, and their binds are idmapped; what cannot be idmapped goes
plainly when it is read-only and is refused by name when it is not.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from pycontainer import SetupError, bind, call_with_container

pytestmark = pytest.mark.is_root


@pytest.fixture
def files(tmp_path):
    """Files of several owners: name → (uid, gid, mode)."""
    owners = {
        "of_root": (0, 0, 0o600),
        "of_1000": (1000, 1000, 0o640),
        "of_1001": (1001, 7, 0o600),
        "of_the_last": (65535, 65535, 0o600),
    }
    for name, (uid, gid, mode) in owners.items():
        path = tmp_path / name
        path.write_text(name)
        os.chown(path, uid, gid)
        path.chmod(mode)
    return owners


def look(names):
    found = {}
    for name in names:
        path = Path("/here", name)
        status = path.stat()
        try:
            content = path.read_text()
        except PermissionError:
            content = None
        found[name] = (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode), content)
    return found


@pytest.mark.parametrize("writable", [False, True])
def test_owners(tmp_path, files, writable):
    inside = call_with_container(
        [bind(tmp_path, "/here", writable=writable)], lambda: look(list(files))
    )
    assert inside == {name: (*files[name], name) for name in files}


def test_owners_as_a_guest(tmp_path, files):
    """Root's files are the guest's, and the number of the guest is what 0 was."""
    options: Any = {"guest_uid": 1000, "guest_gid": 1000, "capabilities": ()}
    inside = call_with_container([bind(tmp_path, "/here")], lambda: look(list(files)), **options)
    assert inside["of_root"] == (1000, 1000, 0o600, "of_root")
    assert inside["of_1000"] == (0, 0, 0o640, None)
    assert inside["of_1001"] == (1001, 7, 0o600, None)


@pytest.mark.parametrize(("uid", "gid"), [(0, 0), (1000, 1000), (42, 77), (100_000, 200_000)])
def test_files_that_it_makes(tmp_path, uid, gid):
    def fn():
        Path("/here/made").write_text("x")
        os.mkdir("/here/directory")
        os.symlink("made", "/here/link")
        made = os.stat("/here/made")
        return made.st_uid, made.st_gid

    options: Any = {"guest_uid": uid, "guest_gid": gid}
    inside = call_with_container([bind(tmp_path, "/here", writable=True)], fn, **options)
    assert inside == (uid, gid)
    for name in ("made", "directory", "link"):
        status = (tmp_path / name).lstat()
        assert (status.st_uid, status.st_gid) == (0, 0), name


def test_chown_inside(tmp_path):
    """To others of the range as well: their numbers on disk are the numbers inside."""

    def fn():
        Path("/here/made").touch()
        os.chown("/here/made", 1001, 7)
        try:
            os.chown("/here/made", 70_000, 7)
        except OSError as error:
            return error.errno

    assert call_with_container([bind(tmp_path, "/here", writable=True)], fn) == errno.EINVAL
    status = (tmp_path / "made").stat()
    assert (status.st_uid, status.st_gid) == (1001, 7)


@pytest.mark.parametrize("uid", [65536, 70_000, 0x70000000])
def test_owner_beyond_the_range(tmp_path, uid):
    """Nobody inside, as for every user namespace: the mode for others counts."""
    for name, mode in (("open", 0o644), ("closed", 0o600)):
        path = tmp_path / name
        path.write_text(name)
        os.chown(path, uid, uid)
        path.chmod(mode)
    inside = call_with_container([bind(tmp_path, "/here")], lambda: look(["open", "closed"]))
    assert inside["open"] == (65534, 65534, 0o644, "open")
    assert inside["closed"] == (65534, 65534, 0o600, None)


def test_private_directory_of_another_user(tmp_path):
    private = tmp_path / "private"
    private.mkdir()
    (private / "x").write_text("content")
    os.chown(private, 1001, 1001)
    private.chmod(0o700)

    def fn():
        return os.stat("/here").st_uid, Path("/here/x").read_text()

    assert call_with_container([bind(private, "/here")], fn) == (1001, "content")
    # A source below it: what the caller can reach, it can bind.
    (private / "below").mkdir(mode=0o700)
    (private / "below" / "y").write_text("below")
    mounts = [bind(private / "below", "/here")]
    assert call_with_container(mounts, lambda: Path("/here/y").read_text()) == "below"


def test_single_file(tmp_path, files):
    def fn():
        status = os.stat("/file")
        return status.st_uid, Path("/file").read_text()

    assert call_with_container([bind(tmp_path / "of_1001", "/file")], fn) == (1001, "of_1001")


def test_explicit_ids_are_not_idmapped(tmp_path, files):
    mounts = [bind(tmp_path, "/here", writable=True)]

    def fn():
        Path("/here/made").touch()
        return os.stat("/here/of_1000").st_uid, os.stat("/here/of_root").st_uid

    options: Any = {"host_uid_start": 1000, "host_gid_start": 1000}
    os.chown(tmp_path, 1000, 1000)
    assert call_with_container(mounts, fn, **options) == (0, 65534)
    assert (tmp_path / "made").stat().st_uid == 1000


SUBMOUNTS = """
    import subprocess, errno
    here = Path(sys.argv[1])

    def mount(*arguments):
        subprocess.run(["mount", *arguments], check=True)

    mount("-t", "tmpfs", "tmpfs", str(here))
    for name in ("plain", "proc", "sys", "dev", "overlay", "tmpfs", "lower", "upper", "work"):
        (here / name).mkdir()
    (here / "lower/x").write_text("lower")
    mount("-t", "proc", "proc", str(here / "proc"))
    mount("-t", "sysfs", "sysfs", str(here / "sys"))
    mount("-t", "devtmpfs", "devtmpfs", str(here / "dev"))
    layers = f"lowerdir={here}/lower,upperdir={here}/upper,workdir={here}/work"
    mount("-t", "overlay", "overlay", "-o", layers, str(here / "overlay"))
    mount("-t", "tmpfs", "tmpfs", str(here / "tmpfs"))
    (here / "tmpfs/a b").mkdir()
    mount("-t", "tmpfs", "tmpfs", str(here / "tmpfs/a b"))
    (here / "tmpfs/a b/deep").write_text("deep")
    os.chmod(here / "tmpfs/a b/deep", 0o600)

"""


def test_submounts_read_only(run_program, tmp_path):
    run_program(
        SUBMOUNTS
        + """
    def fn():
        def refusal(path):
            try:
                Path(path).write_text("x")
            except OSError as error:
                return errno.errorcode[error.errno]
        deep = Path("/here/tmpfs/a b/deep")
        return (
            Path("/here/overlay/x").read_text(),
            deep.read_text(),
            deep.stat().st_uid,
            Path("/here/proc/version").exists(),
            Path("/here/sys/kernel").exists(),
            Path("/here/dev/null").exists(),
            [refusal(f"/here/{name}/n") for name in ("overlay", "tmpfs", "tmpfs/a b", "plain")],
        )
    found = call_with_container([bind(here, "/here")], fn)
    assert found == ("lower", "deep", 0, True, True, True, ["EROFS"] * 4), found
    assert len(Path("/proc/self/mountinfo").read_text()) > 0
    """,
        str(tmp_path),
        before=("unshare", "--mount"),
    )


@pytest.mark.parametrize("name", ["proc", "sys", "dev", "overlay"])
def test_submount_writable(run_program, tmp_path, name):
    """The error names the mount and what to do; without the mount or without recursion it works."""
    run_program(
        SUBMOUNTS
        + """
    name = sys.argv[2]
    for other in ("proc", "sys", "dev", "overlay"):
        if other != name:
            subprocess.run(["umount", here / other], check=True)
    ran = lambda: os.listdir("/here/tmpfs")
    try:
        call_with_container([bind(here, "/here", writable=True)], ran)
    except SetupError as error:
        assert error.errno == errno.EINVAL, error
        assert error.filename == str(here / name), error
        assert "host_uid_start=" in str(error) and "read-only" in str(error), error
        assert str(here) in error.step, error.step
    else:
        raise AssertionError("it was not refused")
    alone = [bind(here, "/here", writable=True, recursive=False)]
    assert call_with_container(alone, ran) == []
    subprocess.run(["umount", here / name], check=True)
    assert call_with_container([bind(here, "/here", writable=True)], ran) == ["a b"]
    """,
        str(tmp_path),
        name,
        before=("unshare", "--mount"),
    )


def test_source_that_cannot_be_idmapped():
    assert call_with_container(
        [bind("/proc/sys/kernel", "/k")], lambda: "osrelease" in os.listdir("/k")
    )
    with pytest.raises(SetupError) as caught:
        call_with_container([bind("/proc/sys/kernel", "/k", writable=True)], os.getpid)
    assert caught.value.filename == "/proc/sys/kernel"


BINDS = """
    import resource
    here = Path(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
    mounts = []
    for number in range(1000):
        (here / str(number)).mkdir()
        (here / str(number) / "name").write_text(str(number))
        mounts.append(bind(here / str(number), f"/binds/{number}"))
    fn = lambda: sum(int(Path(f"/binds/{number}/name").read_text()) for number in range(1000))
    before = len(os.listdir("/proc/self/fd"))
    call_with_container([], lambda: None)
    times = []
    for _ in range(3):
        start = time.monotonic()
        assert call_with_container([directory("/binds"), *mounts], fn) == 499500
        times.append(time.monotonic() - start)
    open_now = len(os.listdir("/proc/self/fd"))
    assert open_now <= before + 4, open_now
    print(min(times))
"""


def test_thousand_binds(run_program, tmp_path):
    """More trees than descriptors: they travel in batches."""
    seconds = float(run_program(BINDS, str(tmp_path)))
    assert seconds < 3


def test_sources_are_opened_anew(tmp_path):
    """What a path leads to at the time of the call counts."""
    source = tmp_path / "source"
    for number in range(3):
        source.mkdir()
        (source / "n").write_text(str(number))
        found = call_with_container([bind(source, "/s")], lambda: Path("/s/n").read_text())
        assert found == str(number)
        source.rename(tmp_path / str(number))


def test_many_guests(tmp_path):
    """Each needs a user namespace for its binds' maps; only the last few stay open."""
    (tmp_path / "x").touch()

    def fn():
        return os.stat("/here/x").st_uid

    before = len(os.listdir("/proc/self/fd"))
    for uid in (*range(1, 30), 70_000, 1, 0):
        assert call_with_container([bind(tmp_path, "/here")], fn, guest_uid=uid) == uid
    assert len(os.listdir("/proc/self/fd")) <= before + 8


def test_submounts_of_a_link(run_program, tmp_path):
    run_program(
        """
    import subprocess
    here = Path(sys.argv[1])
    (here / "real/proc").mkdir(parents=True)
    (here / "link").symlink_to("real")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "proc", "proc", here / "real/proc"], check=True)
    assert call_with_container(
        [bind(here / "link", "/here")], lambda: Path("/here/proc/version").exists()
    )
    """,
        str(tmp_path),
        before=("unshare", "--mount"),
    )


def test_submounts_do_not_follow_links(run_program, tmp_path):
    """Whoever may write to the source could lead a submount onto the host."""
    run_program(
        """
    import subprocess
    from pycontainer._native import lib
    here = os.fsencode(sys.argv[1])
    os.makedirs(here + b"/source/a/b")
    os.makedirs(here + b"/victim/b")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    tree = lib.pc_open_source(here + b"/source", True, 0, -1)
    submount = lib.pc_open_source(here, False, 0, -1)
    assert tree >= 0 and submount >= 0
    os.rename(here + b"/source/a", here + b"/source/old")
    os.symlink(here + b"/victim", here + b"/source/a")
    assert lib.pc_graft(tree, b"a/b", submount) == 40  # ELOOP
    assert lib.pc_graft(tree, b"../victim/b", submount) == 18  # EXDEV
    assert not os.path.ismount(here + b"/victim/b")
    assert lib.pc_graft(tree, b"old/b", submount) == 0
    """,
        str(tmp_path),
        before=("unshare", "--mount"),
    )

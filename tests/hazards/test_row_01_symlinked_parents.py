"""Row 1: a symbolic link in the root leads a mount or an entry onto the host.

runc CVE-2026-41579, crun CVE-2026-47766, bubblewrap CVE-2026-87766, LXC CVE-2015-1335: the parent
of a mount's target is followed with the host's eyes, and a directory is made, or a mount attached,
outside the container.
"""

from __future__ import annotations

import errno
import os

import pytest

from pycontainer import (
    SetupError,
    bind,
    call_with_container,
    directory,
    file,
    overlay,
    proc,
    symlink,
    tmpfs,
)


@pytest.fixture
def source(tmp_path):
    directory = tmp_path / "source"
    directory.mkdir()
    (directory / "mine").write_text("of the container")
    return directory


def kinds(source, target):
    """One of everything that a container can have at a place."""
    return {
        "bind": bind(source, target),
        "bind of a file": bind(source / "mine", target),
        "tmpfs": tmpfs(target),
        "proc": proc(target),
        "overlay": overlay(source, target),
        "directory": directory(target),
        "file": file(target, "of the container"),
        "symlink": symlink(target, "/nowhere"),
    }


MOUNTS = ["bind", "bind of a file", "tmpfs", "proc", "overlay"]
ENTRIES = ["directory", "file", "symlink"]


def rootfs_with(tmp_path, name, to):
    root = tmp_path / "root"
    for existing in ("proc", "dev", "tmp", "sys", "etc"):
        (root / existing).mkdir(parents=True)
    (root / name).symlink_to(to)
    return root


def ran(r):
    """Whether the function wrote to the pipe."""
    os.set_blocking(r, False)
    try:
        return os.read(r, 1) != b""
    except BlockingIOError:
        return False


@pytest.fixture
def refused():
    """Expect a call to be refused before its function has run."""
    r, w = os.pipe()

    def call(mounts, error=SetupError, **options):
        with pytest.raises(error) as caught:
            call_with_container(mounts, lambda: os.write(1, b"ran"), stdout=w, **options)
        assert not ran(r)
        return caught.value

    yield call
    os.close(r)
    os.close(w)


@pytest.mark.parametrize("kind", MOUNTS)
@pytest.mark.parametrize("target", ["/link/x", "/link/new", "/link/f"])
def test_rootfs_whose_link_leads_to_the_host(tmp_path, source, victim, refused, kind, target):
    root = rootfs_with(tmp_path, "link", victim)
    error = refused([kinds(source, target)[kind]], rootfs=root, writable_root=True)
    assert error.errno == errno.ENOENT  # below the container's root the link dangles
    assert target in error.step


@pytest.mark.parametrize("kind", MOUNTS)
def test_rootfs_whose_link_climbs(tmp_path, source, victim, refused, kind):
    climbing = "../" * 20 + str(victim).lstrip("/")
    root = rootfs_with(tmp_path, "link", climbing)
    assert refused([kinds(source, "/link/x")[kind]], rootfs=root).errno == errno.ENOENT


@pytest.mark.parametrize("kind", MOUNTS)
def test_target_itself_is_a_link_to_the_host(tmp_path, source, victim, refused, kind):
    root = rootfs_with(tmp_path, "link", victim / "x")
    assert refused([kinds(source, "/link")[kind]], rootfs=root).errno == errno.ENOENT


@pytest.mark.parametrize("kind", MOUNTS)
def test_link_in_a_bind(tmp_path, source, victim, refused, kind):
    """The root is our own; the link came with a directory of the host."""
    bound = tmp_path / "bound"
    bound.mkdir()
    (bound / "link").symlink_to(victim)
    mounts = [bind(bound, "/data", writable=True), kinds(source, "/data/link/x")[kind]]
    assert refused(mounts).errno == errno.ENOENT


@pytest.mark.parametrize("kind", MOUNTS)
@pytest.mark.parametrize("magic", ["/proc/self/root", "/proc/self/cwd", "/proc/1/root"])
def test_magic_link(tmp_path, source, victim, refused, kind, magic):
    """A link of /proc is no path: it goes straight to a directory, of the host even."""
    root = rootfs_with(tmp_path, "link", magic)
    error = refused([kinds(source, f"/link{victim}/x")[kind]], rootfs=root)
    assert error.errno in (errno.ELOOP, errno.ENOENT, errno.EXDEV)


@pytest.mark.parametrize("kind", ["tmpfs", "bind of a file"])
@pytest.mark.parametrize("target", ["/data/new", "/data/x/new"])
def test_no_target_is_made_below_a_bind(source, victim, refused, kind, target):
    """Not even below a writable one: the host changes only where fn writes."""
    mounts = [bind(victim, "/data", writable=True), kinds(source, target)[kind]]
    assert refused(mounts).errno == errno.ENOENT


@pytest.mark.parametrize("kind", ENTRIES)
def test_no_entry_is_made_in_a_rootfs(tmp_path, source, victim, refused, kind):
    root = rootfs_with(tmp_path, "link", victim)
    refused([kinds(source, "/link/new")[kind]], ValueError, rootfs=root, writable_root=True)


@pytest.mark.parametrize("kind", ENTRIES[1:])
def test_no_entry_is_made_in_a_bind(source, victim, refused, kind):
    item = kinds(source, "/data/new")[kind]
    refused([bind(victim, "/data", writable=True), item], ValueError)


@pytest.mark.parametrize("kind", [*MOUNTS, *ENTRIES])
def test_nothing_goes_below_a_link_of_the_containers_own(source, victim, refused, kind):
    item = kinds(source, "/link/new")[kind]
    refused([symlink("/link", str(victim)), item], ValueError)

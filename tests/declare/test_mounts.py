"""Mounts and entries, each on its own: what they keep and what they refuse."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from pycontainer.declare.entries import Directory, File, Symlink, directory, file, symlink
from pycontainer.declare.mounts import (
    Mount,
    Overlay,
    bind,
    device,
    devpts,
    mqueue,
    overlay,
    proc,
    sysfs,
    tmpfs,
)


def problems_of(make, *arguments, **keywords):
    with pytest.raises(ValueError) as caught:
        make(*arguments, **keywords)
    first, *rest = str(caught.value).split("\n")
    return [line.strip() for line in rest] or [first.split(": ", 1)[1]]


def test_bind_defaults():
    mount = bind("/usr")
    assert (mount.target, mount.source, mount.type) == ("/usr", "/usr", "bind")
    assert not mount.writable and not mount.optional and not mount.noexec and not mount.device
    assert mount.recursive and mount.nosuid and mount.nodev


def test_bind_relative_source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert bind("x").source == str(tmp_path / "x")
    assert bind("x").target == str(tmp_path / "x")
    assert bind(Path("x"), "/y").source == str(tmp_path / "x")
    assert bind(".", "/y").source == str(tmp_path)
    kept = bind("x", "/y")
    monkeypatch.chdir("/")
    assert kept.source == str(tmp_path / "x")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("/a/", "/a"),
        ("//a//b", "/a/b"),
        ("/a/./b/.", "/a/b"),
        ("/a/.b", "/a/.b"),
        ("/a..b/..c", "/a..b/..c"),
    ],
)
def test_target_spelling(given, kept):
    assert bind("/x", given).target == kept


def test_target_refused():
    assert problems_of(bind, "/x", "y") == [
        "target 'y' is relative; a place in the container starts with '/'"
    ]
    assert problems_of(bind, "/x", "/a/../b") == ["target '/a/../b' contains '..'"]
    assert problems_of(bind, "/x", "") == ["target is empty"]
    assert problems_of(bind, "/x", "/a\0") == ["target '/a\\x00' contains a NUL character"]
    assert problems_of(bind, "/x", "/\ud800") == [
        "target '/\\ud800' cannot be encoded for the file system"
    ]
    assert problems_of(bind, "/x", b"/y") == [
        "target must be a str or a path, not bytes (os.fsdecode() makes it one)"
    ]
    assert problems_of(bind, "/") == ["target is '/', the container's root; say rootfs="]
    assert problems_of(tmpfs, "/") == [
        "target is '/', the container's root; say root_size= and writable_root="
    ]


def test_target_undecodable_bytes():
    """A file name that is no UTF-8 reaches Python with surrogates, and the kernel as it was."""
    assert bind("/x", "/\udcff").target == "/\udcff"


def test_bind_every_problem_at_once():
    assert problems_of(bind, "a\0", "b", writable=1, nosuid=None) == [
        "target 'b' is relative; a place in the container starts with '/'",
        f"source {os.path.abspath('a') + chr(0)!r} contains a NUL character",
        "writable must be True or False, not 1",
        "nosuid must be True or False, not None",
    ]


def test_tmpfs_options():
    assert tmpfs("/a").options == ("size=10%", "mode=755")
    assert tmpfs("/a", size=4096, mode=0o1777).options == ("size=4096", "mode=1777")
    mount = tmpfs("/a", size="64m")
    assert mount.options[0] == "size=64m"
    assert mount.writable and mount.nosuid and mount.nodev and not mount.noexec


def test_tmpfs_refused():
    assert problems_of(tmpfs, "/a", size="64x", mode=0o10000) == [
        "size '64x' is no size; use bytes, '64m', '1g' or '10%'",
        "mode '10000' is not made of permission bits, 0 to 0o7777",
    ]
    assert problems_of(tmpfs, "/a", size=0)
    assert problems_of(tmpfs, "/a", mode=-1)
    assert problems_of(tmpfs, "/a", mode="rwx")


def test_device():
    mount = device("/dev/fuse")
    assert (mount.source, mount.target) == ("/dev/fuse", "/dev/fuse")
    assert mount.device and mount.nosuid and mount.noexec
    assert not mount.nodev and not mount.writable and not mount.recursive


@pytest.mark.parametrize(
    ("mount", "target", "kind", "writable"),
    [
        (proc(), "/proc", "proc", True),
        (sysfs(), "/sys", "sysfs", False),
        (devpts(), "/dev/pts", "devpts", True),
        (mqueue(), "/dev/mqueue", "mqueue", True),
    ],
)
def test_kernel_file_systems(mount, target, kind, writable):
    assert (mount.target, mount.type, mount.writable) == (target, kind, writable)
    assert mount.nosuid and mount.noexec


def test_mount_writable_default():
    assert Mount("/a", "ramfs").writable
    assert not Mount("/a", "bind", "/b").writable


def test_mount_refused():
    assert problems_of(Mount, "/a", "bind") == [
        "source is missing: a bind shows a file or directory of the host"
    ]
    assert problems_of(Mount, "/a", "tmpfs", "/b", device=True, options=["size=0", "a\nb"]) == [
        "source is for binds; a tmpfs has none",
        "device is for binds, not for a tmpfs",
        "size '0' is no size; use bytes, '64m', '1g' or '10%'",
        "option 'a\\nb' contains a newline",
    ]
    assert problems_of(Mount, "/a", "ramfs", options="mode=755") == [
        "options must be a sequence of str, not 'mode=755'"
    ]
    assert problems_of(Mount, "/a", "bind", "/b", device=True) == [
        "nodev=True would make the device useless; say nodev=False"
    ]
    assert problems_of(Mount, "/a", "ramfs", atime="never") == [
        "atime must be 'relative', 'strict' or 'none', not 'never'"
    ]
    assert problems_of(Mount, "/a", None) == ["type must be a str or a path, not NoneType"]
    assert problems_of(Mount, "/a", "") == ["type is empty"]


def test_overlay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = str(tmp_path)
    assert overlay("x") == Overlay(f"{here}/x", (f"{here}/x",))
    assert overlay(["x", Path("/y")], "/z").lower == (f"{here}/x", "/y")
    kept = overlay("/x", upper="u", work="w")
    assert (kept.upper, kept.work) == (f"{here}/u", f"{here}/w")


def test_overlay_refused():
    assert problems_of(overlay, ["/a", "/b"]) == ["several lower directories need a target"]
    assert problems_of(overlay, [], "/t") == [
        "lower is empty: an overlay needs a directory to lie on"
    ]
    assert problems_of(overlay, "/a:b", "/t", upper="/u") == [
        "lower '/a:b' contains ':', ',', a backslash or a newline",
        "upper needs work=, an empty directory on the same file system",
    ]
    assert problems_of(overlay, "/a", work="/w") == ["work is of use only with upper="]
    assert problems_of(overlay, 3, "/t") == ["lower must be a path or a sequence of paths, not 3"]
    assert problems_of(overlay, "/a", "/") == ["target is '/', the container's root"]


def test_entries():
    assert directory("/a/") == Directory("/a", 0o755)
    assert file("/a", "é") == File("/a", b"\xc3\xa9", 0o644)
    assert file("/a", b"\0\xff", 0o600).content == b"\0\xff"
    assert symlink("/a", Path("../b")) == Symlink("/a", "../b")


def test_file_content_not_shown():
    assert "hush" not in repr(file("/a", "hush"))
    assert "<4 bytes>" in repr(file("/a", "hush"))


def test_entries_refused():
    assert problems_of(directory, "/", mode="x") == [
        "path is '/', which always exists",
        "mode must be an int such as 0o755, not 'x'",
    ]
    assert problems_of(file, "a", 3, 0o4755) == [
        "path 'a' is relative; a place in the container starts with '/'",
        "content must be str or bytes, not int",
        "mode 0o4755 is outside 0 to 0o777",
    ]
    assert problems_of(symlink, "/a/..", "") == ["path '/a/..' contains '..'", "to is empty"]


@pytest.mark.parametrize(
    "item",
    [bind("/a"), tmpfs("/a"), overlay("/a"), directory("/a"), file("/a", "x"), symlink("/a", "b")],
)
def test_items_hash_and_pickle(item):
    copy = pickle.loads(pickle.dumps(item))
    assert copy == item
    assert hash(copy) == hash(item)

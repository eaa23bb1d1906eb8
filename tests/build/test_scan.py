"""Hashing and searching trees, and copying them into their canonical form."""

from __future__ import annotations

import hashlib
import os
import random
import socket
import stat
import string
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pycontainer.build import scan as scanning
from pycontainer.build.scan import ChangedError, Stream, UnfitFileError, scan
from pycontainer.build.trees import copy_canonical, open_below, remove

BLOCK = scanning.BLOCK


def archive(path: Path) -> bytes:
    """The Nix archive of a tree, written as its definition says."""

    def text(*parts):
        return b"".join(
            len(part).to_bytes(8, "little") + part + b"\0" * (-len(part) % 8) for part in parts
        )

    def body(path):
        if path.is_symlink():
            inner = text(b"type", b"symlink", b"target", os.fsencode(os.readlink(path)))
        elif path.is_dir():
            inner = text(b"type", b"directory")
            for name in sorted(os.listdir(os.fsencode(path))):
                node = body(path / os.fsdecode(name))
                inner += text(b"entry", b"(", b"name", name, b"node") + node + text(b")")
        else:
            program = [b"executable", b""] if path.stat().st_mode & 0o100 else []
            inner = text(b"type", b"regular", *program, b"contents", path.read_bytes())
        return text(b"(") + inner + text(b")")

    return text(b"nix-archive-1") + body(path)


def copy(source: Path, target: Path, needles=(), ours=True):
    place = os.open(source, scanning.O_PLACE)
    folder = os.open(target.parent, os.O_RDONLY)
    stream = Stream(needles)
    try:
        stream.begin()
        copy_canonical(
            stream, place, str(source), folder, target.name, ours=ours, fsync=lambda fd: None
        )
        return stream.finish()
    finally:
        stream.close()
        os.close(place)
        os.close(folder)


def delete(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        remove(folder, path.name)
    finally:
        os.close(folder)


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    (root / "sub/empty").mkdir(parents=True)
    (root / "a").write_bytes(b"x" * 11)
    (root / "sub/run").write_bytes(b"#!/bin/sh\n")
    (root / "sub/run").chmod(0o6755)
    (root / "link").symlink_to("../where/ever")
    (root / "ä").write_bytes(b"")
    (root / os.fsdecode(b"\xff")).write_bytes(b"y" * 8)
    return root


def test_the_hash_is_that_of_the_archive(tree):
    text = archive(tree)
    found = scan(tree)
    assert found.hash == "sha256:" + hashlib.sha256(text).hexdigest()
    assert found.size == len(text)


def test_an_empty_directory_has_the_hash_that_nix_gives(tmp_path):
    known = "a50a5ab6d992f5598edd92105059fae9acfc192981e08bd88534c2167e92526a"
    assert scan(tmp_path).hash == f"sha256:{known}"


@pytest.mark.parametrize("size", [0, 1, BLOCK - 200, BLOCK - 96, BLOCK, 3 * BLOCK + 5])
def test_files_of_all_sizes(tmp_path, size):
    path = tmp_path / "file"
    path.write_bytes(random.Random(size).randbytes(size))
    text = archive(path)
    assert scan(path, ["needle"]).hash == "sha256:" + hashlib.sha256(text).hexdigest()


def test_needles_in_contents_names_and_links(tree):
    (tree / "sub/name-needle-1-of").write_bytes(b"..needle-2..")
    (tree / "to").symlink_to("/x/needle-3/y")
    needles = [f"needle-{number}" for number in range(6)]
    assert scan(tree, needles).references == ("needle-1", "needle-2", "needle-3")
    assert scan(tree / "to", needles).references == ("needle-3",)


def test_needles_across_the_border_of_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(scanning, "BLOCK", 256)
    needle = "0123456789abcdfghijklmnpqrsvwxyz"
    path = tmp_path / "file"
    for place in range(0, 600, 2):  # across two borders, and with the frame around it
        path.write_bytes(bytes(place) + needle.encode() + bytes(600 - place))
        assert scan(path, [needle, "x" * 100, "0" * 7]).references == (needle,), place


@settings(
    max_examples=40,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_needles_in_any_text(tmp_path, monkeypatch, data):
    monkeypatch.setattr(scanning, "BLOCK", data.draw(st.integers(64, 200)))
    letters = "abc"
    text = data.draw(st.text(letters, max_size=600))
    needles = data.draw(st.lists(st.text(letters, min_size=1, max_size=40), unique=True))
    path = tmp_path / "file"
    path.write_text(text)
    assert set(scan(path, needles).references) == {one for one in needles if one in text}


@settings(
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.text("ab", max_size=300),
    st.lists(st.text("ab", min_size=8, max_size=14), min_size=3, max_size=30, unique=True),
    st.integers(64, 128),
)
def test_many_needles_that_look_alike(tmp_path, monkeypatch, text, needles, block):
    monkeypatch.setattr(scanning, "BLOCK", block)
    path = tmp_path / "file"
    path.write_text(text)
    assert set(scan(path, needles).references) == {one for one in needles if one in text}
    # What is found begins where another that is longer, and is cut off by the end, begins too.
    path.write_text(f"{text}abababababab")
    both = ["abababab", "ababababab", "abababababababab", "abababababab", *needles]
    found = set(scan(path, dict.fromkeys(both)).references)
    assert found == {one for one in both if one in f"{text}abababababab"}


def test_the_words_of_the_archive_are_not_searched(tmp_path):
    (tmp_path / "a").write_bytes(b"in a name")
    (tmp_path / "a").chmod(0o755)
    (tmp_path / "b").symlink_to("to")
    words = ["nix", "executable", "contents", "symlink", "directory", "entry", "(", "name", "t"]
    assert scan(tmp_path, words).references == ("name", "t")


@pytest.mark.parametrize("count", [1, 5, 40, 300])
def test_many_needles(tmp_path, count):
    chance = random.Random(count)
    needles = ["".join(chance.choices(string.ascii_lowercase, k=32)) for _ in range(count)]
    there = needles[::3]
    data = bytearray(chance.randbytes(3 * BLOCK))
    for number, needle in enumerate(there):
        place = chance.randrange(len(data) // len(there) - 64) + number * len(data) // len(there)
        data[place : place + 32] = needle.encode()
    (tmp_path / "file").write_bytes(data)
    assert scan(tmp_path, needles).references == tuple(sorted(there))


def test_a_copy_is_canonical(tree, tmp_path):
    if os.geteuid() == 0:
        os.setxattr(tree / "a", "security.capability", b"\1\0\0\2" + b"\x01" * 16)
    os.setxattr(tree / "sub/run", "user.note", b"x")
    os.link(tree / "a", tree / "again")
    before = scan(tree)
    target = tmp_path / "copy"
    assert copy(tree, target) == before
    assert scan(target) == before
    paths = [target, *target.rglob("*")]
    for path in paths:
        status = path.lstat()
        assert status.st_mtime == 1
        assert (status.st_uid, status.st_gid) == (os.geteuid(), os.getegid())
        if not path.is_symlink():
            run = path.is_dir() or path.name == "run"
            assert stat.S_IMODE(status.st_mode) == (0o555 if run else 0o444)
            assert path.is_dir() or status.st_nlink == 1
            assert os.listxattr(path) == []
    assert os.readlink(target / "link") == "../where/ever"
    delete(target)
    assert not target.exists()


def test_a_default_acl_of_the_directory_above_is_not_handed_down(tree, tmp_path):
    above = tmp_path / "above"
    above.mkdir()
    above.chmod(0o2755)
    # version 2 of posix_acl_xattr.h; user::rwx, user:65534:rwx, group::rx, mask::rwx, other::rx
    acl = bytes.fromhex("02000000") + b"".join(
        tag.to_bytes(2, "little") + bits.to_bytes(2, "little") + who.to_bytes(4, "little")
        for tag, bits, who in (
            (1, 7, 0xFFFFFFFF),
            (2, 7, 65534),
            (4, 5, 0xFFFFFFFF),
            (16, 7, 0xFFFFFFFF),
            (32, 5, 0xFFFFFFFF),
        )
    )
    os.setxattr(above, "system.posix_acl_default", acl)
    copy(tree, above / "copy")
    for path in [above / "copy", *(above / "copy").rglob("*")]:
        if not path.is_symlink():
            assert os.listxattr(path) == []
            assert not path.stat().st_mode & 0o7222
    delete(above / "copy")


def test_places_without_permissions_are_copied_and_removed(tree, tmp_path):
    (tree / "a").chmod(0)
    (tree / "sub").chmod(0)
    copy(tree, tmp_path / "copy")
    assert (tmp_path / "copy/a").read_bytes() == b"x" * 11
    (tree / "sub").chmod(0)
    tree.chmod(0)
    delete(tree)
    assert not tree.exists()
    delete(tmp_path / "copy")


@pytest.mark.unprivileged
def test_what_is_not_ours_is_not_changed_to_be_read(tree, tmp_path):
    (tree / "a").chmod(0)
    with pytest.raises(PermissionError) as caught:
        copy(tree, tmp_path / "copy", ours=False)
    assert caught.value.filename == f"{tree}/a"
    assert stat.S_IMODE((tree / "a").stat().st_mode) == 0


def test_a_socket_or_a_fifo_is_refused(tree, tmp_path):
    os.mkfifo(tree / "pipe")
    for attempt in (lambda: scan(tree), lambda: copy(tree, tmp_path / "copy")):
        with pytest.raises(UnfitFileError, match="is a FIFO") as caught:
            attempt()
        assert caught.value.filename == f"{tree}/pipe"
    (tree / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tree / "sock"))
    with pytest.raises(UnfitFileError, match="is a socket"):
        scan(tree)


@pytest.mark.is_root
def test_a_device_is_refused_and_not_opened(tree):
    os.mknod(tree / "tape", stat.S_IFCHR | 0o600, os.makedev(9, 0))
    with pytest.raises(UnfitFileError, match="is a character device"):
        scan(tree)


def test_nested_without_end(tmp_path):
    deep = os.open(tmp_path, os.O_RDONLY)
    for _ in range(400):
        os.mkdir("d", dir_fd=deep)
        inner = os.open("d", os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = inner
    os.close(deep)
    with pytest.raises(UnfitFileError, match="nested deeper than 256"):
        scan(tmp_path / "d")
    with pytest.raises(UnfitFileError, match="nested deeper than 256"):
        copy(tmp_path / "d", tmp_path / "copy")
    delete(tmp_path / "copy")
    delete(tmp_path / "d")
    assert os.listdir(tmp_path) == []


def test_a_file_that_changes_meanwhile(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    stream = Stream()
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        path.write_bytes(b"x" * 99)
        with pytest.raises(ChangedError, match="changed while it was read"):
            stream.file(file.fileno(), status, str(path))
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        path.write_bytes(b"x" * 101)
        with pytest.raises(ChangedError):
            Stream().file(file.fileno(), status, str(path))


def test_it_can_be_ended(tmp_path):
    (tmp_path / "file").write_bytes(bytes(3 * BLOCK))

    def check():
        raise KeyboardInterrupt

    stream = Stream((), check)
    with (tmp_path / "file").open("rb") as file, pytest.raises(KeyboardInterrupt):
        stream.file(file.fileno(), os.fstat(file.fileno()), "file")
    stream.close()


def test_no_link_on_the_way_is_followed(tree, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("x")
    (tree / "way").symlink_to(outside)
    folder = os.open(tree, os.O_RDONLY)
    try:
        with pytest.raises(NotADirectoryError):
            open_below(folder, "way/secret")
        with pytest.raises(FileNotFoundError):
            open_below(folder, "sub/absent")
        for path, kind in (("way", stat.S_ISLNK), ("sub/run", stat.S_ISREG)):
            fd = open_below(folder, path)
            assert kind(os.fstat(fd).st_mode)
            os.close(fd)
        remove(folder, "way")
    finally:
        os.close(folder)
    assert (outside / "secret").exists()

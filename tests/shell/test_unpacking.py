"""Unpacking archives that mean no good: nothing outside is touched, and nothing set-id is made."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from pycontainer.shell import SoftwareError
from pycontainer.shell.archives import open_archive
from pycontainer.shell.unpacking import Unpacker


@pytest.fixture
def root(tmp_path):
    directory = tmp_path / "root"
    directory.mkdir()
    return directory


@pytest.fixture
def outside(tmp_path):
    """A file beside the root, and what must not happen to it."""
    victim = tmp_path / "outside"
    victim.mkdir()
    (victim / "file").write_text("kept")
    yield victim
    assert sorted(os.listdir(victim)) == ["file"]
    assert (victim / "file").read_text() == "kept"
    assert (victim / "file").stat().st_nlink == 1


@pytest.fixture
def unpack(root, tar_of):
    def unpack_(*layers, **options):
        unpacker = Unpacker(str(root), "it", **options)
        for members in layers:
            unpacker.unpack(io.BytesIO(tar_of(members)))
        unpacker.finish()
        return unpacker

    return unpack_


def test_files_directories_links(root, unpack):
    unpack(
        [
            ("./", None),
            ("./a/b", b"content"),
            ("./a/link", "-> b"),
            ("./a/hard", "= a/b"),
            ("./empty", b""),
            ("/absolute/file", b"inside"),
        ]
    )
    assert (root / "a/b").read_bytes() == b"content"
    assert os.readlink(root / "a/link") == "b"
    assert (root / "a/hard").samefile(root / "a/b")
    assert (root / "empty").read_bytes() == b""
    assert (root / "absolute/file").read_bytes() == b"inside"


@pytest.mark.parametrize(
    "name", ["../outside/file", "a/../../outside/file", "a/b/../../../x", ".."]
)
def test_name_that_leads_out(unpack, outside, name):
    with pytest.raises(SoftwareError, match=r"the name '.*' in it leads out"):
        unpack([(name, b"gone")])


@pytest.mark.parametrize("to", ["../outside", "{outside}", "/../../outside", "a/../../outside"])
def test_link_that_leads_out_stays_inside(root, unpack, outside, to):
    unpack([("a", None), ("link", "-> " + to.format(outside=outside)), ("link/file", b"inside")])
    found = [path for path in root.rglob("file") if path.is_file()]
    assert [path.read_bytes() for path in found] == [b"inside"]


def test_link_to_a_file_outside_is_not_written_through(root, unpack, outside):
    unpack([("link", f"-> {outside}/file"), ("link", b"mine")])
    assert (root / "link").read_bytes() == b"mine"
    assert not (root / "link").is_symlink()


def test_hard_link_to_outside(unpack, outside):
    for to in ("../outside/file", f"{outside}/file", "/etc/passwd"):
        with pytest.raises(SoftwareError, match=r"leads out|is not in it"):
            unpack([("mine", f"= {to}")])


def test_hard_link_through_a_link_that_leads_out(unpack, outside):
    with pytest.raises(SoftwareError, match=r"'mine' in it is a hard link .* not in it"):
        unpack([("link", f"-> {outside}"), ("mine", "= link/file")])


def test_hard_link_to_a_link_is_no_way_out(root, unpack, outside):
    unpack([("link", f"-> {outside}/file"), ("mine", "= link"), ("mine", b"new")])
    assert (root / "mine").read_bytes() == b"new"


def test_hard_link_to_itself(root, unpack):
    unpack([("file", b"content"), ("file", "= file")])
    assert (root / "file").read_bytes() == b"content"


def test_links_in_a_circle(unpack):
    with pytest.raises(SoftwareError, match="links go in a circle"):
        unpack([("a", "-> b"), ("b", "-> a"), ("a/file", b"")])


def test_below_a_file(unpack):
    with pytest.raises(SoftwareError, match="a/b lies below a file"):
        unpack([("a", b""), ("a/b/c", b"")])


def test_set_id_bits_are_dropped(root, unpack):
    unpack(
        [
            ("setuid", {"mode": 0o6755, "data": b"x"}),
            ("directory", {"mode": 0o2775, "type": tarfile.DIRTYPE}),
            ("tmp", {"mode": 0o1777, "type": tarfile.DIRTYPE}),
        ]
    )
    assert stat.S_IMODE((root / "setuid").stat().st_mode) == 0o755
    assert stat.S_IMODE((root / "directory").stat().st_mode) == 0o775
    assert stat.S_IMODE((root / "tmp").stat().st_mode) == 0o1777


def test_devices_are_not_made(root, unpack):
    unpacker = unpack(
        [
            ("null", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}),
            ("disk", {"type": tarfile.BLKTYPE, "devmajor": 8, "devminor": 0}),
            ("fifo", {"type": tarfile.FIFOTYPE}),
        ]
    )
    assert os.listdir(root) == []
    assert unpacker.left_out == 3


def test_owners_are_the_caller(root, unpack):
    unpack([("file", {"uid": 12345, "gid": 12345, "data": b"x"})])
    assert (root / "file").stat().st_uid == os.geteuid()


@pytest.mark.parametrize("to", ["outside", "../outside"])
def test_modes_of_what_a_link_has_replaced(tmp_path, root, unpack, outside, to):
    (outside / "file").unlink()
    (outside / "file").mkdir(mode=0o700)
    to = to if to.startswith("..") else str(tmp_path / to)
    wide = {"type": tarfile.DIRTYPE, "mode": 0o777}
    unpack([("a", None), ("a/file", wide), ("a", f"-> {to}")])
    assert stat.S_IMODE((outside / "file").stat().st_mode) == 0o700
    (outside / "file").rmdir()
    (outside / "file").write_text("kept")


@pytest.mark.parametrize("time", ["inf", "nan", "1e300", "-1e30"])
def test_times_that_cannot_be(root, time):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as members:
        member = tarfile.TarInfo("file")
        member.pax_headers = {"mtime": time}
        members.addfile(member)
    archive.seek(0)
    with pytest.raises(SoftwareError, match="is damaged"):
        Unpacker(str(root), "it").unpack(archive)


def test_directory_without_rights(root, unpack):
    unpack(
        [
            ("closed", {"type": tarfile.DIRTYPE, "mode": 0o000}),
            ("closed/file", {"mode": 0o000, "data": b"x"}),
        ]
    )
    assert (root / "closed/file").read_bytes() == b"x"
    assert stat.S_IMODE((root / "closed").stat().st_mode) == 0o700


def test_later_members_win(root, unpack):
    unpack([("a/b", b"1"), ("a", b"2"), ("c", b"3"), ("c", None), ("c/d", b"4"), ("a", "-> c")])
    assert os.readlink(root / "a") == "c"
    assert (root / "c/d").read_bytes() == b"4"


def test_directory_where_a_link_is(root, unpack):
    unpack([("lib", "-> usr/lib"), ("usr/lib", None), ("lib", None), ("lib/a", b"")])
    assert not (root / "lib").is_symlink()
    assert (root / "lib/a").exists()


def test_directory_where_a_link_is_as_dpkg_has_it(root, unpack):
    unpack(
        [("lib", "-> usr/lib"), ("usr/lib", None), ("lib", None), ("lib/a", b"")], keep_links=True
    )
    assert os.readlink(root / "lib") == "usr/lib"
    assert (root / "usr/lib/a").exists()


# ---- whiteouts ----


def test_whiteout(root, unpack):
    unpack([("a/b", b"1"), ("a/c", b"2")], [("a/.wh.b", b"")], whiteouts=True)
    assert sorted(os.listdir(root / "a")) == ["c"]


def test_whiteout_of_a_directory_then_new(root, unpack):
    unpack([("a/b/c", b"1")], [("a/.wh.b", b""), ("a/b/d", b"2")], whiteouts=True)
    assert sorted(os.listdir(root / "a/b")) == ["d"]


def test_whiteout_after_what_the_same_layer_brings(root, unpack):
    """It is about lower layers, wherever it stands in its own."""
    unpack([("a/b", b"old")], [("a/b", b"new"), ("a/.wh.b", b"")], whiteouts=True)
    assert (root / "a/b").read_bytes() == b"new"


def test_opaque_directory(root, unpack):
    unpack(
        [("a/b", b"1"), ("a/c/d", b"2"), ("e", b"3")],
        [("a", None), ("a/c", None), ("a/c/new", b"4"), ("a/.wh..wh..opq", b"")],
        whiteouts=True,
    )
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*")) == [
        "a",
        "a/c",
        "a/c/new",
        "e",
    ]


@pytest.mark.parametrize("name", ["a/.wh.", "a/.wh...", "a/.wh.."])
def test_whiteout_of_nothing(unpack, name):
    with pytest.raises(SoftwareError, match="names nothing"):
        unpack([("a/b", b"")], [(name, b"")], whiteouts=True)


def test_whiteout_through_a_link_that_leads_out(unpack, outside):
    unpack([("link", f"-> {outside}")], [("link/.wh.file", b"")], whiteouts=True)
    unpack([("link", f"-> {outside}")], [("link/.wh..wh..opq", b"")], whiteouts=True)


def test_whiteouts_are_files_of_other_archives(root, unpack):
    unpack([("a/.wh.b", b"content")])
    assert (root / "a/.wh.b").read_bytes() == b"content"


# ---- damage ----


def unpack_file(root, content):
    with open_archive(io.BytesIO(content)) as archive:
        Unpacker(str(root), "it").unpack(archive)


MODES = ["w", "w:gz", "w:bz2", "w:xz"]


@pytest.mark.parametrize("mode", MODES)
def test_compressed_and_cut_off(root, tar_of, mode):
    whole = tar_of([("file", os.urandom(100_000))], mode)
    unpack_file(root, whole)
    assert (root / "file").stat().st_size == 100_000
    for length in (len(whole) // 2, 10, 0):
        with pytest.raises(SoftwareError, match=r"it is damaged or no tar archive: .*get it again"):
            unpack_file(root, whole[:length])


@pytest.mark.parametrize("mode", MODES[1:])
def test_flipped_bits(root, tar_of, mode):
    whole = bytearray(tar_of([("file", os.urandom(100_000))], mode))
    for position in range(len(whole) // 2, len(whole) // 2 + 8):
        whole[position] ^= 0xFF
    with pytest.raises(SoftwareError, match="damaged"):
        unpack_file(root, bytes(whole))


@pytest.mark.parametrize("mode", MODES[1:])
def test_cut_off_after_the_last_member(root, tar_of, mode):
    """Where only the checksum is missing."""
    whole = tar_of([("file", os.urandom(100_000))], mode)
    with pytest.raises(SoftwareError, match="damaged"):
        unpack_file(root, whole[:-4])


def test_no_archive(root):
    with pytest.raises(SoftwareError, match="damaged or no tar archive"):
        unpack_file(root, b"#!/bin/sh\necho hello\n" * 100)


def test_told_how_far_it_is(root, unpack):
    told: list[int] = []
    unpack([("file", b"x" * 1000)], told=told.append)
    assert told
    assert Path(root, "file").stat().st_size == 1000

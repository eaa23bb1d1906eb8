"""The shared libraries of a program and of a virtual environment; records of what was found."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest

from pycontainer.host.libraries import needed_files
from pycontainer.host.venv import venv_libraries
from pycontainer.shell.records import read_record, write_record


@pytest.mark.parametrize("name", ["bash", "less", "python"])
def test_as_the_loader_says(name):
    program = os.path.realpath(sys.executable) if name == "python" else shutil.which(name)
    assert program, f"CI has {name}"
    told = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    expected = set(re.findall(r"^\s(?:\S+ => )?(/\S+) \(", told, re.MULTILINE))
    found = needed_files([program])
    assert {os.path.realpath(one) for one in found} == {os.path.realpath(one) for one in expected}
    assert all(os.path.exists(one) for one in found)


def test_what_is_no_program_needs_nothing(tmp_path):
    (tmp_path / "script").write_text("#!/bin/sh\n")
    (tmp_path / "short").write_bytes(b"\x7fELF\2\1")
    (tmp_path / "broken").write_bytes(b"\x7fELF\2\1" + b"\xff" * 100)
    os.mkfifo(tmp_path / "fifo")
    names = ("script", "short", "broken", "missing")
    assert needed_files([str(tmp_path / name) for name in names]) == []


def test_static_programs_need_nothing(program, tmp_path):
    (tmp_path / "static").write_bytes(program)
    assert needed_files([str(tmp_path / "static")]) == []


@pytest.fixture
def library(tmp_path):
    """Makes libraries, and programs that use them, by gcc."""

    def make(name, *options, code="int one(void) { return 1; }"):
        source = tmp_path / "source.c"
        source.write_text(code)
        made = tmp_path / name
        made.parent.mkdir(exist_ok=True, parents=True)
        subprocess.run(["gcc", source, "-o", made, *options], check=True, cwd=tmp_path)
        return str(made)

    return make


MAIN = "int one(void); int main(void) { return one(); }"


def test_libraries_beside_a_program(library):
    one = library("lib/libone.so", "-shared", "-fPIC")
    beside = library("bin/program", "-Llib", "-lone", "-Wl,-rpath,$ORIGIN/../lib", code=MAIN)
    found = {os.path.realpath(path) for path in needed_files([beside])}
    assert one in found
    assert len(found) > 1  # and libc
    elsewhere = library("bin/lost", "-Llib", "-lone", code=MAIN)
    assert one not in needed_files([elsewhere])


def test_an_old_rpath_counts_for_what_is_needed_by_others(library):
    two = library("deep/libtwo.so", "-shared", "-fPIC", code="int two(void) { return 2; }")
    library(
        *("lib/libone.so", "-shared", "-fPIC", "-Ldeep", "-ltwo"),
        code="int two(void); int one(void) { return two(); }",
    )
    options = ("-Llib", "-lone", "-Wl,-rpath-link,deep", "-Wl,-rpath,$ORIGIN/lib:$ORIGIN/deep")
    old = library("old", *options, "-Wl,--disable-new-dtags", code=MAIN)
    new = library("new", *options, "-Wl,--enable-new-dtags", code=MAIN)
    assert two in map(os.path.realpath, needed_files([old]))
    assert two not in map(os.path.realpath, needed_files([new]))


def test_those_of_a_virtual_environment():
    found = venv_libraries(sys.prefix)
    names = {os.path.basename(one) for one in found}
    assert {"libc.so.6", "libm.so.6", "libgcc_s.so.1"} <= names
    assert not any(one.startswith(sys.prefix + "/") for one in found)
    assert any(name.startswith("libssl") for name in names)  # of the standard library's _ssl


# ---- records


def test_a_record_is_good_until_a_file_changes(tmp_path):
    (tmp_path / "file").write_text("1")
    files = [str(tmp_path / "file"), str(tmp_path / "absent")]
    shelf = str(tmp_path / "shelf")
    write_record(shelf, "key", files, b"found\0out")
    assert read_record(shelf, "key") == b"found\0out"
    assert read_record(shelf, "other") is None
    (tmp_path / "absent").touch()
    assert read_record(shelf, "key") is None
    write_record(shelf, "key", files, b"again")
    assert read_record(shelf, "key") == b"again"
    (tmp_path / "file").write_text("2")
    assert read_record(shelf, "key") is None
    assert os.stat(shelf).st_mode & 0o777 == 0o700


@pytest.mark.parametrize("damage", ["writable", "truncated", "shorter", "link", "fifo"])
def test_what_others_may_have_written_is_not_read(tmp_path, damage):
    shelf = tmp_path / "shelf"
    write_record(str(shelf), "key", [], b"content")
    [place] = shelf.iterdir()
    assert read_record(str(shelf), "key") == b"content"
    if damage == "writable":
        place.chmod(0o666)
    elif damage == "truncated":
        place.write_bytes(place.read_bytes()[:2])
    elif damage == "shorter":
        place.write_bytes(place.read_bytes()[:-1])
    elif damage == "link":
        place.rename(tmp_path / "moved")
        place.symlink_to(tmp_path / "moved")
    else:
        place.unlink()
        os.mkfifo(place, 0o600)
    assert read_record(str(shelf), "key") is None


@pytest.mark.is_root
def test_nor_what_belongs_to_somebody_else(tmp_path):
    write_record(str(tmp_path), "key", [], b"content")
    [place] = tmp_path.iterdir()
    os.chown(place, 12345, 12345)
    assert read_record(str(tmp_path), "key") is None


@pytest.mark.parametrize("sticky", [True, False])
def test_nor_what_lies_where_others_write(tmp_path, sticky):
    shelf = tmp_path / "shared/shelf"
    write_record(str(shelf), "key", [], b"content")
    shelf.parent.chmod(0o1777 if sticky else 0o777)
    assert (read_record(str(shelf), "key") == b"content") is sticky


@pytest.mark.is_root
def test_nor_what_somebody_elses_link_leads_to(tmp_path):
    write_record(str(tmp_path / "repository/shelf"), "key", [], b"content")
    (tmp_path / "link").symlink_to(tmp_path / "repository")
    assert read_record(str(tmp_path / "link/shelf"), "key") == b"content"
    os.chown(tmp_path / "link", 12345, 12345, follow_symlinks=False)
    assert read_record(str(tmp_path / "link/shelf"), "key") is None


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path):
    (tmp_path / "file").touch()
    write_record(str(tmp_path / "file" / "shelf"), "key", [], b"content")
    assert read_record(str(tmp_path / "file" / "shelf"), "key") is None

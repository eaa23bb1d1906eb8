"""Root file systems from directories and archives, and what is run in them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess

import pytest

import pycontainer as pc
from pycontainer.shell import Rootfs, SoftwareError, provide, shell_container


def greet(software, *arguments):
    """Run the small system's program; what it says."""
    done = pc.run_command(
        list(software.mounts),
        ["greet", *arguments],
        rootfs=software.rootfs,
        env={**software.env, "PATH": ":".join(software.search_paths["PATH"])},
        stdout=pc.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.fixture
def archive(tmp_path, tar_of, small_system):
    def archive_(mode="w", suffix=".tar"):
        path = tmp_path / f"system{suffix}"
        path.write_bytes(tar_of(small_system, mode))
        return path

    return archive_


@pytest.mark.parametrize(
    ("mode", "suffix"), [("w", ".tar"), ("w:gz", ".tar.gz"), ("w:bz2", ".tbz"), ("w:xz", ".tar.xz")]
)
def test_archive(archive, cache, mode, suffix):
    software = provide(Rootfs(archive(mode, suffix)), cache=cache)
    assert software.label == "system"
    assert greet(software) == "greeting from a file\n"


def test_archive_of_zstd(archive, cache):
    plain = archive()
    subprocess.run(["zstd", "-q", plain], check=True)
    software = provide(Rootfs(f"{plain}.zst"), cache=cache)
    assert greet(software) == "greeting from a file\n"


def test_archive_of_zstd_that_is_damaged(archive, cache):
    plain = archive()
    subprocess.run(["zstd", "-q", plain], check=True)
    with open(f"{plain}.zst", "r+b") as file:
        file.truncate(os.path.getsize(file.name) // 2)
    with pytest.raises(SoftwareError, match="damaged"):
        provide(Rootfs(f"{plain}.zst"), cache=cache)


def test_archive_is_known_by_its_content(archive, cache, tmp_path):
    first = provide(Rootfs(archive()), cache=cache)
    copy = tmp_path / "copy.tar"
    shutil.copy(archive(), copy)
    assert provide(Rootfs(copy), cache=cache).rootfs == first.rootfs
    digest = hashlib.sha256(copy.read_bytes()).hexdigest()
    assert first.rootfs == f"{cache.directory}/rootfs/{digest}/root"


def test_archive_is_not_read_when_it_is_cached(archive, cache, monkeypatch):
    path = archive()
    first = provide(Rootfs(path), cache=cache)

    def refuse(*_):
        raise AssertionError("read again")

    monkeypatch.setattr("pycontainer.shell.archives.open_regular", refuse)
    assert provide(Rootfs(path), cache=cache) == first


def test_archive_that_changes(archive, cache, tar_of, small_system):
    path = archive()
    first = provide(Rootfs(path), cache=cache)
    path.write_bytes(tar_of([*small_system, ("etc/greeting", b"from another file")]))
    second = provide(Rootfs(path), cache=cache)
    assert second.rootfs != first.rootfs
    assert greet(second) == "greeting from another file\n"


def test_directory(tmp_path, archive, cache):
    made = provide(Rootfs(archive()), cache=cache)
    directory = tmp_path / "system"
    shutil.copytree(str(made.rootfs), directory, symlinks=True)
    software = provide(Rootfs(directory), cache=cache)
    assert (software.rootfs, software.label) == (str(directory), "system")
    assert greet(software) == "greeting from a file\n"


def test_in_a_shell(archive, cache, tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    (project / "greeting").write_text("from the project")
    box = shell_container(Rootfs(archive()), cwd=project, cache=cache)
    done = pc.run_command(box, ["greet", "greeting"], stdout=pc.PIPE, text=True)
    assert done.stdout == "greeting from the project\n"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "is no root file system: it has no usr and no bin"),
        (lambda path: path.write_text("nonsense" * 500), "is damaged or no tar archive"),
        (lambda path: path.write_text(""), "is damaged or no tar archive"),
        (lambda path: os.mkfifo(path), "is neither a directory nor a file"),
        (lambda path: path.symlink_to("/"), "rootfs / is the host itself"),
    ],
)
def test_what_is_no_root_file_system(tmp_path, cache, make, message):
    path = tmp_path / "thing"
    make(path)
    with pytest.raises(SoftwareError, match=message):
        provide(Rootfs(path), cache=cache)
    assert not os.path.exists(f"{cache.directory}/rootfs") or not os.listdir(
        f"{cache.directory}/rootfs"
    )


@pytest.mark.unprivileged
def test_archive_that_may_not_be_read(archive, cache):
    path = archive()
    path.chmod(0)
    with pytest.raises(SoftwareError, match="Permission denied"):
        provide(Rootfs(path), cache=cache)

"""Directories of runs: whose they are, and which are cleared up."""

from __future__ import annotations

import fcntl
import os
import threading

import pytest

from pycontainer import SetupError
from pycontainer.build import runs
from pycontainer.build.runs import start_run


def nothing(path):
    raise AssertionError(path)


def test_is_private_and_goes_with_the_last(tmp_path):
    directory = tmp_path / "runs"
    with start_run(str(directory), nothing) as first:
        assert os.stat(directory).st_mode & 0o7777 == 0o700
        assert os.stat(first.path).st_mode & 0o7777 == 0o700
        with start_run(str(directory), nothing) as second:
            assert second.path != first.path
            assert os.path.dirname(second.path) == str(directory)
        assert not os.path.exists(second.path)
        assert os.path.exists(first.path)
    assert not directory.exists()


def test_the_dead_are_cleared_up(tmp_path):
    directory = tmp_path / "runs"
    dead = [start_run(str(directory), nothing) for _ in range(3)]
    for run in dead:
        with open(f"{run.path}/secret", "w") as file:
            file.write("hush")
        os.close(run._fd)  # as the kernel does when the process ends
    seen = []

    def clear(path):
        assert os.path.exists(f"{path}/secret")
        seen.append(path)
        return True

    with start_run(str(directory), clear) as run:
        assert sorted(seen) == sorted(run.path for run in dead)
        assert sorted(os.listdir(directory)) == sorted([".lock", run.name])
    assert not directory.exists()


def test_one_that_cannot_be_cleared_up_is_left_for_the_next(tmp_path):
    directory = tmp_path / "runs"
    for _ in range(2):
        os.close(start_run(str(directory), lambda path: True)._fd)
        os.rename(*_aside(directory))
    _back(directory)

    def clear(path):
        raise OSError("not now")

    with pytest.raises(OSError, match="not now"):
        start_run(str(directory), clear)
    assert len(os.listdir(directory)) == 3
    for name in os.listdir(directory):  # nobody holds them
        fd = os.open(directory / name, os.O_RDONLY)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(fd)
    start_run(str(directory), lambda path: True).remove()
    assert not directory.exists()


def test_one_that_is_not_done_with_is_left_for_the_next(tmp_path):
    directory = tmp_path / "runs"
    dead = start_run(str(directory), nothing)
    os.close(dead._fd)
    start_run(str(directory), lambda path: False).remove()
    assert os.path.exists(dead.path)
    start_run(str(directory), lambda path: True).remove()
    assert not directory.exists()


def _aside(directory):
    """Out of the way of the next sweep."""
    (name,) = [name for name in os.listdir(directory) if name != ".lock"]
    return directory / name, directory.parent / f"aside-{name}"


def _back(directory):
    for path in directory.parent.glob("aside-*"):
        os.rename(path, directory / path.name.removeprefix("aside-"))


def test_another_kind_of_directory(tmp_path):
    open_to_all = tmp_path / "open"
    open_to_all.mkdir(mode=0o755)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    file = tmp_path / "file"
    file.touch()
    for path in (open_to_all, link, file):
        with pytest.raises(SetupError, match="another's, or open to others"):
            start_run(str(path), nothing)
    assert os.listdir(open_to_all) == []


@pytest.mark.is_root
def test_directory_of_another_user(tmp_path):
    path = tmp_path / "runs"
    path.mkdir(mode=0o700)
    os.chown(path, 1, 1)
    with pytest.raises(SetupError, match="another's"):
        start_run(str(path), nothing)


def test_default_place_is_in_memory_where_there_is_one(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(runs, "_tmpfs_mounts", lambda: {os.stat(tmp_path).st_dev})
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() or 12345)
    wanted = str(tmp_path / "pycontainer")
    if os.getuid():
        assert runs.runs_directory() == wanted
    else:  # it would be another user's
        with pytest.raises(SetupError) as caught:
            runs.runs_directory()
        assert caught.value.filename == wanted


def test_many_at_once(tmp_path):
    """Whoever starts or ends at the same moment finds a directory that is right."""
    directory = str(tmp_path / "runs")
    errors = []

    def work():
        try:
            for _ in range(40):
                with start_run(directory, nothing) as run, open(f"{run.path}/file", "w"):
                    pass
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert not os.path.exists(directory)

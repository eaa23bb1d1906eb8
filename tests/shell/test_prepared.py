"""Shells that are kept for the next time: used where nothing has changed, and only there."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import pycontainer as pc
from pycontainer.shell import Cache, shell_container

SCRIPT = """
import sys
from pycontainer.cli.main import main
status = main(["shell", *sys.argv[1:]])
sys.stdout.flush()
print("long" if "attr" in sys.modules else "short", file=sys.stderr)
sys.exit(status)
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A directory with an environment of its own, and an empty cache."""
    folder = tmp_path / "project"
    folder.mkdir()
    folder.chmod(0o777)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    venv.create(folder / ".venv", with_pip=False)
    return folder


def shell(*arguments, **options):
    options = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True} | options
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, arguments)], timeout=40, check=False, **options
    )


def way(*arguments, **options):
    """Whether the kept shell was used; what the command says is checked."""
    done = shell("--venv", ".venv", *arguments, "--", "echo", "out", **options)
    assert (done.stdout, done.returncode) == ("out\n", 0), done.stderr
    return done.stderr.split()[-1]


def test_the_second_time_is_short(project):
    assert [way(), way(), way()] == ["long", "short", "short"]
    # The command is no part of it.
    done = shell("--venv", ".venv", "--", "python", "-c", "import sys; print(sys.prefix)")
    assert done.stdout == f"{project}/.venv\n"
    assert done.stderr == "short\n"


def test_both_ways_are_the_same(project):
    script = 'import os, sys; print(dict(os.environ), os.getcwd(), os.getuid()); print(open("/proc/self/mountinfo").read().count(chr(10)))'  # noqa: E501
    line = (
        "--venv",
        ".venv",
        "-u",
        "me",
        "--expose",
        "/etc/hostname",
        "--",
        "python",
        "-c",
        script,
    )
    first, second = shell(*line), shell(*line)
    assert (first.stderr, second.stderr) == ("long\n", "short\n")
    assert first.stdout == second.stdout


@pytest.mark.parametrize(
    "change",
    [
        lambda project: (project / ".venv/pyvenv.cfg").write_text(
            (project / ".venv/pyvenv.cfg").read_text() + "prompt = x\n"
        ),
        lambda project: next((project / ".venv/lib").glob("*/site-packages")).joinpath("x").mkdir(),
        lambda project: (project / ".venv/bin/tool").touch(),
        lambda project: (project / ".venv/more").mkdir(),
    ],
)
def test_changes_of_the_environment(project, change):
    assert [way(), way()] == ["long", "short"]
    change(project)
    assert [way(), way()] == ["long", "short"]


def test_a_program_that_comes_later_is_found(project):
    assert [way(), way()] == ["long", "short"]
    program = project / ".venv/bin/echo"
    program.write_text("#!/bin/sh\nprintf 'mine\\n'\n")
    program.chmod(0o755)
    assert shell("--venv", ".venv", "--", "echo", "out").stdout == "mine\n"


def test_other_circumstances_are_other_shells(project, tmp_path):
    assert way() == "long"
    assert way("--no-cwd") == "long"
    assert way("--network") == "long"
    assert way("--share", ".=/x") == "long"
    assert way("--expose", ".=/x") == "long"
    assert way(env={**os.environ, "HOME": str(tmp_path / "other")}) == "long"
    assert [way(), way("--no-cwd"), way("--network")] == ["short"] * 3
    assert way("--preserve", "^X$") == way("--preserve", "^X$") == "long"


def test_an_environment_that_has_gone(project):
    assert [way(), way()] == ["long", "short"]
    shutil.rmtree(".venv")
    done = shell("--venv", ".venv", "--", "true")
    assert done.returncode == 125
    assert "does not exist" in done.stderr


def test_a_share_that_has_gone(project):
    Path("data").mkdir()
    line = ("--venv", ".venv", "--expose", "data", "--", "true")
    assert [shell(*line).stderr, shell(*line).stderr] == ["long\n", "short\n"]
    Path("data").rmdir()
    done = shell(*line)
    assert done.returncode == 125
    assert "data" in done.stderr


def test_what_a_kept_shell_says_of_an_unknown_command(project):
    assert [way(), way()] == ["long", "short"]
    done = shell("--venv", ".venv", "--", "pyhton")
    assert done.returncode == 127
    assert "did you mean python?" in done.stderr


def test_rubbish_is_not_used(project, tmp_path):
    assert [way(), way()] == ["long", "short"]
    [record] = (tmp_path / "cache/pycontainer/shells").iterdir()
    head = record.read_bytes().partition(b"\0\0")[0]
    for rubbish in (b"", b"\0", b"i\1\0\0\0", b"(\1\0\0\0N"):
        record.write_bytes(head + b"\0\0" + rubbish)
        assert [way(), way()] == ["long", "short"]


def test_without_a_place_to_keep_it(project, tmp_path):
    (tmp_path / "cache").touch()
    assert [way(), way()] == ["long", "long"]


# ---- whoever writes to the cache decides about the next shell


def test_a_container_does_not_reach_the_cache(project, tmp_path):
    cache = tmp_path / "cache/pycontainer"
    tmp_path.chmod(0o777)
    container = shell_container(cwd=project, share=[tmp_path])
    place = str(cache)

    def write():
        with open(f"{place}/planted", "w") as file:
            file.write("x")
        return os.listdir(place)

    cache.mkdir(parents=True, exist_ok=True)
    cache.chmod(0o777)
    (cache / "kept").touch()
    assert pc.call_with_container(container, write) == ["planted"]
    assert sorted(path.name for path in cache.iterdir()) == ["kept", "libraries"]


def test_nor_can_it_put_another_in_its_place(project, tmp_path):
    tmp_path.chmod(0o777)
    above = tmp_path / "above"
    cache = Cache(above / "between/pycontainer")
    Path(cache.directory).mkdir(parents=True)
    for place in (above, above / "between"):
        place.chmod(0o777)
    container = shell_container(cwd=project, share=[tmp_path], cache=cache)

    def replace():
        refused = []
        for place in (above / "between/pycontainer", above / "between", above):
            try:
                place.rename(f"{place}-aside")
            except OSError as error:
                refused.append(error.errno)
        (above / "between/beside").touch()
        return refused

    assert pc.call_with_container(container, replace) == [errno.EBUSY] * 3
    assert sorted(os.listdir(above / "between")) == ["beside", "pycontainer"]


def test_a_read_only_share_above_the_cache_stays_so(project, tmp_path):
    inner = tmp_path / "inner"
    cache = Cache(inner / "between/pycontainer")
    container = shell_container(cwd=project, share=[tmp_path], expose=[inner], cache=cache)

    def write():
        (inner / "between/planted").touch()

    with pytest.raises(OSError, match="Read-only"):
        pc.call_with_container(container, write)


@pytest.mark.parametrize("name", ["", "file"])
def test_links_that_lead_elsewhere_now(project, tmp_path, name):
    """What the short way would show, the long way would not."""
    first, second = tmp_path / "first", tmp_path / "second"
    link = tmp_path / "link"
    for place in (first, second):
        place.mkdir(mode=0o755)
        (place / "file").write_text("x")
    link.symlink_to(first)
    shared = link / name
    assert [way("--expose", shared), way("--expose", shared)] == ["long", "short"]
    link.unlink()
    link.symlink_to(second)
    assert way("--expose", shared) == "long"


def test_it_is_no_place_to_be_in(project, tmp_path):
    cache = tmp_path / "cache/pycontainer/pip"
    cache.mkdir(parents=True)
    with pytest.raises(ValueError, match="lies in the cache of software"):
        shell_container(cwd=cache)
    with pytest.raises(ValueError, match="lies in the cache of software"):
        shell_container(cwd=project, cache=Cache(tmp_path))

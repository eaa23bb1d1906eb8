"""The caller's settings at the time of the call reach the function: sys.path, argv, the directory.

The helper was started with others, and the next call has its own.
"""

from __future__ import annotations

import os
import random
import secrets
import sys
import uuid
from pathlib import Path

import pytest

from pycontainer import bind, call_with_container, container_excursion, start_container


@pytest.fixture
def module(tmp_path):
    """Make a module of one function in a directory; its name."""
    made = []

    def make(folder, value):
        name = f"settings_{secrets.token_hex(4)}"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(f"def fn(): return {value!r}\n")
        made.append(name)
        return name

    yield make
    for name in made:
        sys.modules.pop(name, None)


def imports(name):
    """A function that imports it in the child, before the root changes."""
    text = f"def fn():\n    import {name}\n    return {name}.fn()\n"
    space: dict = {"__name__": "__main__"}
    exec(text, space)
    __import__(name)  # in the caller: then the child imports it while it loads the function
    return space["fn"]


def test_path_of_the_next_call(tmp_path, monkeypatch, module):
    call_with_container([], lambda: None)
    for number in range(3):
        name = module(tmp_path / str(number), number)
        monkeypatch.syspath_prepend(str(tmp_path / str(number)))
        assert call_with_container([], imports(name)) == number
    assert call_with_container([], lambda: sys.path[0]) == str(tmp_path / "2")


@pytest.mark.parametrize("entry", ["", ".", "below", "./below/..", "../{name}"])
def test_relative_path(tmp_path, monkeypatch, module, entry):
    folder = tmp_path / "directory"
    name = module(folder, "found")
    if entry == "below":
        (folder / "below").mkdir()
        (folder / f"{name}.py").rename(folder / "below" / f"{name}.py")
    elif entry == "./below/..":
        (folder / "below").mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [entry.format(name="directory"), *sys.path])
    assert call_with_container([], imports(name)) == "found"
    with start_container([]) as running:
        assert container_excursion(running, imports(name)) == "found"


@pytest.mark.parametrize("method", ["forkserver", "fork"])
def test_directory_that_has_gone(tmp_path, monkeypatch, method):
    folder = tmp_path / "directory"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    folder.rmdir()
    assert call_with_container([], os.getcwd, start_method=method) == "/"


def test_relative_source_is_of_the_declaration(tmp_path, monkeypatch):
    (tmp_path / "x").write_text("content")
    monkeypatch.chdir(tmp_path)
    mount = bind("x", "/x")
    monkeypatch.chdir("/")
    assert call_with_container([mount], lambda: Path("/x").read_text()) == "content"


def test_path_entries_that_are_no_text(monkeypatch):
    """The import system ignores them."""
    monkeypatch.setattr(sys, "path", [*sys.path, Path("/somewhere"), 3])
    assert call_with_container([], lambda: all(isinstance(entry, str) for entry in sys.path))


def test_arguments_of_the_call(monkeypatch):
    for number in range(2):
        monkeypatch.setattr(sys, "argv", ["program", str(number)])
        assert call_with_container([], lambda: sys.argv) == ["program", str(number)]


def test_surrogates_in_arguments(monkeypatch):
    """Names that are no UTF-8 come out of the system as surrogates (PEP 383)."""
    monkeypatch.setattr(sys, "argv", ["program", "\udcff"])
    assert call_with_container([], lambda: ascii(sys.argv[1])) == r"'\udcff'"


@pytest.mark.parametrize("mask", [0o000, 0o077, 0o777])
@pytest.mark.parametrize("method", ["forkserver", "fork"])
def test_umask(mask, method):
    """The container's is 022, whatever its caller's."""
    before = os.umask(mask)
    try:
        found = call_with_container([], lambda: os.umask(0), start_method=method)
    finally:
        os.umask(before)
    assert found == 0o022


# ---- chance


def numbers():
    return (
        random.random(),
        str(uuid.uuid4()),
        secrets.token_hex(),
        random.SystemRandom().random(),
        os.urandom(8),
    )


def test_random_numbers():
    assert all((random, uuid, secrets))  # loaded here, so loaded in the child
    found = [call_with_container([], numbers) for _ in range(6)]
    found += [call_with_container([], numbers, child_is_pid1=False) for _ in range(2)]
    found += [call_with_container([], numbers, start_method="fork") for _ in range(2)]
    found += [call_with_container([], numbers, preload=["random", "uuid"]) for _ in range(4)]
    with start_container([]) as running:
        found += [container_excursion(running, numbers) for _ in range(4)]
        found += [container_excursion(running, numbers, preload=["random"]) for _ in range(2)]
    found.append(numbers())
    for stream in zip(*found, strict=True):
        assert len(set(stream)) == len(found)


def test_random_numbers_with_a_seed():
    """A seed that the function sets is its own."""

    def fn():
        random.seed(1)
        return random.random()

    assert call_with_container([], fn) == call_with_container([], fn)

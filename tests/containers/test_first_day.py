"""The mistakes of the first day, and that their messages say what to do."""

from __future__ import annotations

import dataclasses
import errno
import os
import sqlite3
from pathlib import Path

import pytest

from pycontainer import (
    ContainerExitError,
    PayloadError,
    ResultError,
    bind,
    call_with_container,
    container_excursion,
    run_container,
    start_container,
    tmpfs,
)


@dataclasses.dataclass
class Point:
    x: int
    y: int


def notes(error):
    return "\n".join(getattr(error, "__notes__", ()))


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """A module that is installed on the host, and that nobody has imported."""
    (tmp_path / "first_day_module.py").write_text("answer = 42\n")
    monkeypatch.syspath_prepend(tmp_path)
    return "first_day_module"


def test_import_in_an_empty_root(own_module):
    def fn():
        import first_day_module  # type: ignore[import-not-found]

        return first_day_module.answer

    with pytest.raises(ModuleNotFoundError, match=own_module) as caught:
        call_with_container([], fn)
    for word in ("host_python()", "outside", "preload="):
        assert word in notes(caught.value)
    assert call_with_container([], fn, preload=[own_module]) == 42


def test_encoding_that_nobody_has():
    with pytest.raises(LookupError, match="unknown encoding: klingon") as caught:
        call_with_container([], lambda: "x".encode("klingon"))
    assert "host_python()" in notes(caught.value)


def test_class_that_does_not_cross():
    with pytest.raises(ResultError, match="Point") as caught:
        call_with_container([], lambda: Point(1, 2))
    assert "allow=[Point]" in str(caught.value) + notes(caught.value)
    assert "asdict" in str(caught.value) + notes(caught.value)


def test_class_that_does_not_cross_says_where():
    with pytest.raises(ResultError, match=r"result\[0\]\['when'\]"):
        call_with_container([], lambda: [{"when": Point(1, 2)}])


def test_class_that_is_allowed():
    assert call_with_container([], lambda: Point(1, 2), allow=[Point]) == Point(1, 2)


def test_open_connection_in_a_closure():
    connection = sqlite3.connect(":memory:")

    def count():
        return connection.execute("select 1").fetchone()

    with pytest.raises(PayloadError) as caught:
        call_with_container([], count)
    assert "closure variable 'connection' is a sqlite3.Connection" in str(caught.value)
    connection.close()


def test_module_that_wants_an_environment_variable(tmp_path, monkeypatch):
    (tmp_path / "wants_a_key.py").write_text(
        "import os\nKEY = os.environ['FIRST_DAY_KEY']\ndef f(): return KEY\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("FIRST_DAY_KEY", "secret")
    import wants_a_key  # type: ignore[import-not-found]

    with pytest.raises(PayloadError) as caught:
        call_with_container([], wants_a_key.f)
    message = str(caught.value)
    assert "importing module 'wants_a_key' raised KeyError: 'FIRST_DAY_KEY'" in message
    assert "env={...}" in message
    assert isinstance(caught.value.__cause__, KeyError)
    env = {"FIRST_DAY_KEY": "1"}
    assert call_with_container([], wants_a_key.f, env=env) == "1"


def test_write_to_a_read_only_bind(tmp_path):
    mounts = [tmpfs("/mnt"), bind(tmp_path, "/mnt/data")]
    with pytest.raises(OSError) as caught:
        call_with_container(mounts, lambda: Path("/mnt/data/new").touch())
    error = caught.value
    assert (error.errno, error.filename) == (errno.EROFS, "/mnt/data/new")
    assert f"/mnt/data is a read-only bind of {tmp_path}" in notes(error)
    for word in ("writable=True", "overlay()"):
        assert word in notes(error)


def test_write_to_the_read_only_root():
    with pytest.raises(OSError) as caught:
        call_with_container([], lambda: Path("/new").touch())
    assert caught.value.errno == errno.EROFS
    assert "writable_root=True" in notes(caught.value)


def test_died_without_a_value_by_signal():
    def fn():
        os.write(2, b"the last words\n")
        os.abort()

    completed = run_container([], fn, capture_output=True)
    assert completed.stderr == b"the last words\n"
    with pytest.raises(ContainerExitError) as caught:
        completed.result()
    error = caught.value
    assert "killed by signal 6 (SIGABRT)" in str(error)
    assert error.completed is not None
    assert error.completed.usage.max_rss > 0
    assert error.completed.stderr == b"the last words\n"
    assert notes(error) == "the last of its stderr:\nthe last words"


def test_last_words_are_made_fit_for_a_terminal():
    def fn():
        os.write(2, b"x" * 5000 + b"\n\x1b[31mred \xff\n")
        os._exit(1)

    completed = run_container([], fn, capture_output=True, text=True)
    error = completed.exception
    assert isinstance(error, ContainerExitError)
    assert error.completed == completed
    assert notes(error) == "the last of its stderr:\n\\x1b[31mred \\xff"


def test_died_without_a_value_by_exit():
    with pytest.raises(ContainerExitError, match="ended without a value: exit status 3") as caught:
        call_with_container([], lambda: os._exit(3))
    assert caught.value.completed is not None
    assert caught.value.completed.returncode == 3


def test_excursion_that_needs_a_module(own_module):
    def fn():
        import first_day_module

        return first_day_module.answer

    with start_container([]) as running:
        with pytest.raises(ModuleNotFoundError) as caught:
            container_excursion(running, fn)
        assert "preload=" in str(caught.value) + notes(caught.value)
        assert container_excursion(running, fn, preload=[own_module]) == 42


def test_excursion_to_a_dead_process():
    running = start_container([])
    pid = running.pid
    running.kill()
    running.wait()
    with pytest.raises(ProcessLookupError, match=f"join the namespaces of process {pid}"):
        container_excursion(pid, os.getpid)

"""The cache: whole entries or none, one maker at a time, and nothing of somebody else's."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pycontainer.shell import Cache, SoftwareError
from pycontainer.shell.cache import key_of, remove_tree

# What a process of its own does to the cache given as its argument.
MAKER = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.SIG_DFL)  # as the command line has it
from pathlib import Path
from pycontainer.shell import Cache
cache, log, wait = sys.argv[1:]
def make(directory):
    with open(log, "a") as file:
        file.write("made\\n")
    Path(directory, "half").write_text("half")
    deadline = time.monotonic() + 60
    while wait and Path(wait).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    Path(directory, "whole").write_text("whole")
entry = Cache(cache).entry("kind", "key", make, what="a thing", progress=lambda *told: print(
    told[0], flush=True))
print(Path(entry, "whole").read_text())
"""


def maker(cache: Path, log: Path, wait: Path | str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", MAKER, str(cache), str(log), str(wait)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def until(condition, what):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def write(name="whole"):
    return lambda directory: Path(directory, name).write_text("whole") and None


def test_made_once(tmp_path):
    cache = Cache(tmp_path / "cache")
    made = []

    def make(directory):
        made.append(directory)
        assert stat.S_IMODE(os.stat(directory).st_mode) == 0o700
        Path(directory, "file").write_text("content")

    first = cache.entry("kind", "key", make, what="a thing")
    second = cache.entry("kind", "key", make, what="a thing")
    assert first == second == str(tmp_path / "cache/kind/key")
    assert len(made) == 1
    assert Path(first, "file").read_text() == "content"
    assert os.listdir(tmp_path / "cache/kind") == ["key"]  # no lock, nothing half made


def test_failure_leaves_nothing(tmp_path):
    cache = Cache(tmp_path)

    def fail(directory):
        Path(directory, "below").mkdir(mode=0o000)
        raise LookupError("no such thing")

    with pytest.raises(LookupError, match="no such thing"):
        cache.entry("kind", "key", fail, what="a thing")
    assert os.listdir(tmp_path / "kind") == []


def test_interrupted_leaves_nothing(tmp_path):
    def interrupt(directory):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Cache(tmp_path).entry("kind", "key", interrupt, what="a thing")
    assert os.listdir(tmp_path / "kind") == []


def test_two_threads_make_one(tmp_path):
    cache = Cache(tmp_path)
    made = []
    both = threading.Barrier(2)

    def make(directory):
        made.append(directory)
        time.sleep(0.05)

    def ask():
        both.wait()
        cache.entry("kind", "key", make, what="a thing")

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


def test_another_thread_does_not_sweep_what_is_being_made(tmp_path):
    cache = Cache(tmp_path)
    kept = []

    def outer(directory):
        thread = threading.Thread(
            target=lambda: cache.entry("kind", "other", write(), what="another thing")
        )
        thread.start()
        thread.join()
        kept.append(os.path.isdir(directory))

    cache.entry("kind", "key", outer, what="a thing")
    assert kept == [True]


def test_two_processes_make_one(tmp_path):
    wait = tmp_path / "wait"
    wait.touch()
    log = tmp_path / "log"
    first = maker(tmp_path / "cache", log, wait)
    until(log.exists, "the first one never began")
    second = maker(tmp_path / "cache", log, wait)
    assert second.stdout is not None
    assert second.stdout.readline() == "a thing: another process is fetching it; waiting\n"
    wait.unlink()
    assert first.communicate(timeout=60)[0] == "whole\n"
    assert second.communicate(timeout=60)[0] == "whole\n"
    assert log.read_text() == "made\n"
    assert os.listdir(tmp_path / "cache/kind") == ["key"]


def test_sigkill_leaves_nothing_that_is_used(tmp_path):
    wait = tmp_path / "wait"
    wait.touch()
    log = tmp_path / "log"
    killed = maker(tmp_path / "cache", log, wait)
    until(lambda: list(tmp_path.glob("cache/kind/key.*.new/half")), "it never began")
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=60)
    assert not (tmp_path / "cache/kind/key").exists()
    # Anything else of the kind sweeps it up ...
    Cache(tmp_path / "cache").entry("kind", "other", write(), what="another thing")
    assert os.listdir(tmp_path / "cache/kind") == ["other"]
    # ... and the thing itself is made anew.
    again = maker(tmp_path / "cache", log)
    assert again.communicate(timeout=60)[0] == "whole\n"
    assert log.read_text() == "made\nmade\n"
    assert sorted(os.listdir(tmp_path / "cache/kind")) == ["key", "other"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_that_end_leave_nothing(tmp_path, number):
    wait = tmp_path / "wait"
    wait.touch()
    ended = maker(tmp_path / "cache", tmp_path / "log", wait)
    until(lambda: list(tmp_path.glob("cache/kind/key.*.new/half")), "it never began")
    ended.send_signal(number)
    ended.communicate(timeout=60)
    assert ended.returncode == -number
    assert os.listdir(tmp_path / "cache/kind") == []


def test_handlers_are_as_before(tmp_path):
    def handler(*_):
        raise LookupError

    before = signal.signal(signal.SIGTERM, handler)
    try:
        with pytest.raises(LookupError):
            Cache(tmp_path).entry(
                "kind", "key", lambda _: os.kill(os.getpid(), signal.SIGTERM), what="a thing"
            )
        assert signal.getsignal(signal.SIGTERM) is handler
        assert os.listdir(tmp_path / "kind") == []
    finally:
        signal.signal(signal.SIGTERM, before)
    hangup = signal.getsignal(signal.SIGHUP)
    Cache(tmp_path).entry("kind", "key", write(), what="a thing")
    assert signal.getsignal(signal.SIGHUP) is hangup


def test_one_waits_for_another_that_is_killed(tmp_path):
    wait = tmp_path / "wait"
    wait.touch()
    log = tmp_path / "log"
    killed = maker(tmp_path / "cache", log, wait)
    until(log.exists, "it never began")
    waiting = maker(tmp_path / "cache", log)
    assert waiting.stdout is not None
    assert "waiting" in waiting.stdout.readline()
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=60)
    assert waiting.communicate(timeout=60)[0] == "whole\n"
    assert os.listdir(tmp_path / "cache/kind") == ["key"]


@pytest.mark.is_root
@pytest.mark.parametrize("place", ["cache", "cache/kind", "cache/kind/key"])
def test_what_somebody_else_owns_is_refused(tmp_path, place):
    cache = Cache(tmp_path / "cache")
    cache.entry("kind", "key", write(), what="a thing")
    os.chown(tmp_path / place, 12345, 12345)
    with pytest.raises(SoftwareError, match=f"{place} belongs to the user id 12345") as caught:
        cache.entry("kind", "key", write(), what="a thing")
    assert "XDG_CACHE_HOME" in str(caught.value)


@pytest.mark.is_root
def test_a_cache_below_somebody_elses_directory_is_refused(tmp_path):
    os.chown(tmp_path, 12345, 12345)
    with pytest.raises(SoftwareError, match="belongs to the user id 12345"):
        Cache(tmp_path / "cache").entry("kind", "key", write(), what="a thing")


@pytest.mark.is_root
def test_a_cache_behind_somebody_elses_link_is_refused(tmp_path):
    Cache(tmp_path / "repository").entry("kind", "key", write(), what="a thing")
    (tmp_path / "link").symlink_to(tmp_path / "repository")
    assert Cache(tmp_path / "link").entry("kind", "key", write(), what="a thing")
    os.chown(tmp_path / "link", 12345, 12345, follow_symlinks=False)
    with pytest.raises(SoftwareError, match="link belongs to the user id 12345"):
        Cache(tmp_path / "link").entry("kind", "key", write(), what="a thing")


@pytest.mark.parametrize("place", ["kind", "kind/key"])
def test_a_link_out_of_the_cache_is_refused(tmp_path, place):
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "key").mkdir(parents=True)
    (tmp_path / "cache" / place).parent.mkdir(parents=True)
    (tmp_path / "cache" / place).symlink_to(elsewhere)
    with pytest.raises(SoftwareError, match="is a link out of the cache; remove it"):
        Cache(tmp_path / "cache").entry("kind", "key", write(), what="a thing")


@pytest.mark.parametrize("place", ["cache", "cache/kind", "cache/kind/key"])
def test_what_others_may_write_to_is_refused(tmp_path, place):
    cache = Cache(tmp_path / "cache")
    cache.entry("kind", "key", write(), what="a thing")
    (tmp_path / place).chmod(0o777)
    with pytest.raises(SoftwareError, match=f"others may write to .*{place}; `chmod go-w"):
        cache.entry("kind", "key", write(), what="a thing")


def test_a_group_of_ones_own_may_write(tmp_path):
    tmp_path.chmod(0o775)  # umask 002
    cache = Cache(tmp_path / "cache")
    assert cache.entry("kind", "key", write(), what="a thing")


def test_nobody_else_can_look_into_it(tmp_path):
    before = os.umask(0)
    try:
        entry = Cache(tmp_path / "cache").entry("kind", "key", write(), what="a thing")
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(entry).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(tmp_path / "cache").st_mode) == 0o700


def test_file_in_the_way(tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(SoftwareError, match=r"a thing: the cache .* cannot be written: .*XDG_"):
        Cache(tmp_path / "cache").entry("kind", "key", write(), what="a thing")


def test_place_where_nothing_can_be_made():
    with pytest.raises(
        SoftwareError, match=r"a thing: the cache /proc/x cannot be written: No such"
    ):
        Cache("/proc/x").entry("kind", "key", write(), what="a thing")


@pytest.mark.unprivileged
def test_directory_that_may_not_be_written(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(SoftwareError, match=r"cannot be written: Permission denied .*XDG_"):
        Cache(tmp_path / "cache").entry("kind", "key", write(), what="a thing")


@pytest.mark.parametrize("error", [28, 122, 27])
def test_full_disk(tmp_path, error):
    def fill(directory):
        Path(directory, "file").write_text("some")
        raise OSError(error, os.strerror(error), directory)

    with pytest.raises(SoftwareError, match=r"a thing: no space left in the cache, .*make room"):
        Cache(tmp_path).entry("kind", "key", fill, what="a thing")
    assert os.listdir(tmp_path / "kind") == []


@pytest.mark.parametrize(
    ("home", "place"),
    [("/there", "/there/pycontainer"), ("relative", None), ("", None)],
)
def test_default_place(monkeypatch, home, place, is_root):
    monkeypatch.setenv("XDG_CACHE_HOME", home)
    monkeypatch.setenv("HOME", "/home/someone")
    otherwise = "/var/cache/pycontainer" if is_root else "/home/someone/.cache/pycontainer"
    assert Cache().directory == (place or otherwise)


def test_key_differs_with_each_part():
    keys = {key_of("a", "b"), key_of("ab"), key_of(["a", "b"]), key_of("a", {"b": "c"}), key_of()}
    assert len(keys) == 5
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    assert all(len(key) == 32 and key.isalnum() for key in keys)


def test_remove_tree_that_is_a_link(tmp_path):
    outside = tmp_path / "outside"
    (outside / "below").mkdir(parents=True)
    (outside / "below").chmod(0o555)
    (tmp_path / "link").symlink_to(outside)
    remove_tree(str(tmp_path / "link"))
    assert not (tmp_path / "link").is_symlink()
    assert stat.S_IMODE((outside / "below").stat().st_mode) == 0o555


def test_remove_tree_follows_no_link(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("kept")
    outside.chmod(0o755)
    inside = tmp_path / "inside"
    (inside / "locked").mkdir(parents=True)
    (inside / "locked/link").symlink_to(outside)
    (inside / "link").symlink_to(outside)
    (inside / "locked").chmod(0o000)
    remove_tree(str(inside))
    assert not inside.exists()
    assert (outside / "file").read_text() == "kept"
    assert stat.S_IMODE(outside.stat().st_mode) == 0o755

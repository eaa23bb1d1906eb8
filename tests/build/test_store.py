"""``DirectoryStore``: what is kept, for how long, and that many may use it at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pycontainer.build import DirectoryStore
from pycontainer.build import workplace as workplaces
from pycontainer.build.locks import FileLock
from pycontainer.build.scan import O_PLACE, scan
from pycontainer.build.trees import copy_canonical

REQUEST = "sha256:" + "1" * 64
OTHER = "sha256:" + "2" * 64


def nothing():
    """For ``check``: never ends the work."""


@pytest.fixture
def store(tmp_path):
    return DirectoryStore(tmp_path / "store", durable=False)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source"
    path.mkdir()
    (path / "file").write_text("content")
    return path


def add(place, path, needles=()):
    fd = os.open(path, O_PLACE)
    try:
        return place.take_output(fd, "out", needles, nothing)
    finally:
        os.close(fd)


def keep(store, request, path, needles=()):
    with store.open() as place:
        output = add(place, path, needles)
        place.keep(request, {"build/out": output})
    return output


def age(path, seconds):
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_a_result_is_found_again(store, source, tmp_path):
    output = keep(store, REQUEST, source, ["content", "x"])
    again = DirectoryStore(tmp_path / "store")
    assert again.find(REQUEST) == {"build/out": output}
    assert again.find(OTHER) is None
    assert again.objects() == [output.hash]
    assert again.results() == [REQUEST]
    assert output.references == ("content",)
    assert output.path == f"{tmp_path}/store/objects/{output.hash[7:]}/tree"
    assert scan(output.path).hash == output.hash
    assert again.verify() == []
    assert os.listdir(store.at("work")) == []


def test_the_same_content_is_kept_once(store, source, tmp_path):
    first = keep(store, REQUEST, source)
    inode = os.stat(first.path).st_ino
    assert keep(store, OTHER, source) == first
    assert os.stat(first.path).st_ino == inode
    (tmp_path / "file").write_text("x")
    for kind in ("file", "link"):
        if kind == "link":
            (tmp_path / "link").symlink_to("file")
        assert keep(store, REQUEST, tmp_path / kind) == keep(store, OTHER, tmp_path / kind)
    assert store.verify() == []


def test_what_is_left_half_way_is_not_kept(store, source):
    def check():
        raise KeyboardInterrupt

    def work():
        with store.open() as place:
            add(place, source)
            place.take_input(str(source), check)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert len(store.objects()) == 1  # whole, and nobody's: garbage
    assert store.results() == []
    assert os.listdir(store.at("work")) == []
    assert store.collect_garbage().objects == 1
    assert store.objects() == []


def test_verify_says_what_is_wrong(store, source):
    output = keep(store, REQUEST, source)
    path = f"{output.path}/file"
    os.chmod(path, 0o644)
    with open(path, "a") as file:
        file.write("!")
    assert "its content is sha256:" in store.verify()[0]
    os.chmod(output.path, 0o755)
    os.unlink(path)
    os.rmdir(output.path)
    os.rmdir(os.path.dirname(output.path))
    assert f"there is no object {output.hash}" in store.verify()[0]
    with store.open() as place:
        assert place.find(REQUEST) is None  # it is built again


def test_a_result_that_is_none_is_named(store):
    with open(store.at("results", "1" * 64), "w") as file:
        file.write("{")
    with pytest.raises(ValueError, match="is no result: remove it"):
        store.find(REQUEST)
    assert len(store.verify()) == 1
    assert store.collect_garbage(older_than=1000).results == 1
    assert store.results() == []


# Inputs


def copies(monkeypatch):
    """How often a tree is read."""
    counted = []
    real = copy_canonical

    def counting(*args, **options):
        counted.append(args[2])
        return real(*args, **options)

    monkeypatch.setattr(workplaces, "copy_canonical", counting)
    return counted


def taken(store, path):
    with store.open() as place:
        return place.take_input(str(path), nothing)


def test_an_input_is_read_once(store, source, monkeypatch):
    counted = copies(monkeypatch)
    monkeypatch.setattr(workplaces, "RECENT", -10.0)
    first = taken(store, source)
    assert taken(store, source) == first
    assert len(counted) == 1
    (source / "file").write_text("CONTENT")  # as long as before
    second = taken(store, source)
    assert second.hash != first.hash
    (source / "file").chmod(0o755)
    assert taken(store, source).hash not in (first.hash, second.hash)
    assert len(counted) == 3


def test_an_input_that_changed_just_now_is_read_again(store, source, monkeypatch):
    counted = copies(monkeypatch)
    first = taken(store, source)
    os.utime(source / "file")  # ctime is now
    assert taken(store, source) == first
    assert len(counted) == 2


def test_an_input_whose_object_is_gone_is_read_again(store, source, monkeypatch):
    monkeypatch.setattr(workplaces, "RECENT", -10.0)
    first = taken(store, source)
    assert os.listdir(store.at("inputs"))
    store.collect_garbage()
    assert os.listdir(store.at("inputs")) == []
    assert not os.path.exists(first.path)
    assert taken(store, source) == first
    assert os.path.exists(first.path)


def test_an_input_of_the_store_itself_is_not_copied(store, source, monkeypatch):
    output = keep(store, REQUEST, source)
    counted = copies(monkeypatch)
    assert taken(store, output.path).hash == output.hash
    assert counted == []
    assert taken(store, f"{output.path}/file").hash == scan(source / "file").hash


def test_an_input_named_by_a_link_is_what_it_leads_to(store, source, tmp_path):
    (tmp_path / "link").symlink_to(source)
    (source / "inner").symlink_to("/etc")
    found = taken(store, tmp_path / "link")
    assert found.hash == scan(source).hash
    assert os.readlink(f"{found.path}/inner") == "/etc"
    with pytest.raises(FileNotFoundError):
        taken(store, tmp_path / "absent")


def test_an_input_that_holds_the_store(store, tmp_path):
    for path in (tmp_path, store.path):
        with pytest.raises(ValueError, match="holds the store"):
            taken(store, path)
    assert os.listdir(store.at("work")) == []


# Garbage


def test_garbage_is_what_no_root_keeps(store, source, tmp_path):
    (tmp_path / "other").write_text("other")
    (tmp_path / "third").write_text("third")
    first, second = keep(store, REQUEST, source), keep(store, OTHER, tmp_path / "other")
    third = taken(store, tmp_path / "third")
    store.add_root("result", REQUEST)
    store.add_root("object", third)
    found = store.collect_garbage()
    assert (found.results, found.objects) == (1, 1)
    assert found.bytes > 0
    assert store.results() == [REQUEST]
    assert store.objects() == sorted([first.hash, third.hash])
    assert not os.path.exists(second.path)
    store.add_root("object", first)  # replaced
    store.remove_root("result")
    store.remove_root("result")
    store.collect_garbage()
    assert store.results() == []
    assert store.objects() == [first.hash]
    assert store.verify() == []


def test_garbage_is_what_nobody_has_used_for_a_while(store, source, tmp_path):
    (tmp_path / "other").write_text("other")
    first, second = keep(store, REQUEST, source), keep(store, OTHER, tmp_path / "other")
    for one, request in ((first, REQUEST), (second, OTHER)):
        age(store.at("results", request[7:]), 1000)
        age(store.at("objects", one.hash[7:]), 1000)
    with store.open() as place:
        place.find(REQUEST)  # to find it is to use it
    store.collect_garbage(older_than=500)
    assert store.results() == [REQUEST]
    assert store.objects() == [first.hash]


def test_what_a_running_build_uses_is_no_garbage(store, source, tmp_path):
    (tmp_path / "other").write_text("other")
    with store.open() as place:
        first = place.take_input(str(source), nothing)
        second = add(place, tmp_path / "other")
        assert store.collect_garbage().objects == 0
        assert store.objects() == sorted([first.hash, second.hash])
    assert store.collect_garbage().objects == 2


@pytest.mark.parametrize("name", ["", ".x", "a/b"])
def test_names_of_roots(store, source, name):
    output = keep(store, REQUEST, source)
    with pytest.raises(ValueError, match="a root's name"):
        store.add_root(name, output)


def test_roots_of_nothing(store):
    with pytest.raises(ValueError, match="holds nothing of hash"):
        store.add_root("x", OTHER)
    with pytest.raises(ValueError, match="is no hash"):
        store.add_root("x", "../objects")


# Many at once


def test_many_threads_keep_the_same(store, source):
    def work(number):
        return keep(store, f"sha256:{number:064x}", source)

    with ThreadPoolExecutor(8) as pool:
        outputs = list(pool.map(work, range(24)))
    assert len(set(outputs)) == 1
    assert len(store.results()) == 24
    assert store.verify() == []
    assert os.listdir(store.at("work")) == []


def test_garbage_is_collected_while_others_work(store, tmp_path):
    paths = []
    for number in range(6):
        paths.append(tmp_path / f"source-{number}")
        paths[-1].write_text(str(number) * 100)
    end = time.monotonic() + 1.0
    failures = []

    def work(number):
        count = 0
        while time.monotonic() < end:
            count += 1
            with store.open() as place:
                output = add(place, paths[(number + count) % 6])
                if not os.path.exists(output.path):
                    failures.append(output)
                place.keep(f"sha256:{number:064x}", {"o": output})
                found = place.find(f"sha256:{number:064x}")
                if found is not None and not os.path.exists(found["o"].path):
                    failures.append(found)

    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(work, number) for number in range(4)]
        while not all(job.done() for job in jobs):
            store.collect_garbage()
        for job in jobs:
            job.result()
    assert failures == []
    assert store.verify() == []


SLOTS = """
import os, sys, time
from pycontainer.build import DirectoryStore
store = DirectoryStore(sys.argv[1], max_builds=2, durable=False)
with store.open() as place:
    sys.stdin.read()  # until all have come so far
    with place.turn("sha256:" + sys.argv[2] * 64, lambda: None):
        os.write(1, b"+")
        time.sleep(0.05)
        os.write(1, b"-")
"""


def test_so_many_builds_at_once_whichever_process_they_are_of(tmp_path):
    read, write = os.pipe()
    gate, opened = os.pipe()
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SLOTS, str(tmp_path / "s"), digit], stdin=gate, stdout=write
        )
        for digit in "01234567"
    ]
    for fd in (write, gate, opened):
        os.close(fd)
    with open(read) as file:
        events = file.read()
    assert [process.wait() for process in started] == [0] * 8
    running = most = 0
    for event in events:
        running += 1 if event == "+" else -1
        most = max(most, running)
    assert len(events) == 16
    assert most <= 2


def test_one_build_of_a_request_at_once(tmp_path):
    store = DirectoryStore(tmp_path / "store", max_builds=8)
    running, most = [], []

    def work(_):
        with store.open() as place, place.turn(REQUEST, nothing):
            running.append(1)
            most.append(len(running))
            time.sleep(0.01)
            running.pop()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(8)))
    assert max(most) == 1
    assert [name for name in os.listdir(store.at("turns")) if not name.startswith("slot")] == []


def test_waiting_for_a_turn_can_be_ended(store):
    ended = threading.Event()

    def check():
        if ended.is_set():
            raise KeyboardInterrupt

    with store.open() as first, first.turn(REQUEST, nothing):
        threading.Timer(0.1, ended.set).start()
        with pytest.raises(KeyboardInterrupt), store.open() as second:
            with second.turn(REQUEST, check):
                pass


DIES = """
import os, sys
from pycontainer.build import DirectoryStore
store = DirectoryStore(sys.argv[1], durable=False)
place = store.open().__enter__()
os.makedirs(f"{place.directory}/bundle/scratch/deep/er")
os.chmod(f"{place.directory}/bundle/scratch", 0)
os.kill(os.getpid(), 9)
"""


def test_what_a_killed_process_has_left_is_swept(store, source):
    done = subprocess.run([sys.executable, "-c", DIES, store.path], check=False)
    assert done.returncode == -9
    with store.open() as alive:
        name = os.path.basename(alive.directory)
        assert sorted(os.listdir(store.at("work"))) == [name, f"{name}.lock"]
        assert store.sweep() == []
        assert os.path.isdir(alive.directory)
    assert os.listdir(store.at("work")) == []


def test_a_lock_whose_file_is_removed_is_none(tmp_path):
    path = str(tmp_path / "lock")
    lock = FileLock.attempt(path)
    assert lock is not None
    assert FileLock.attempt(path) is None
    assert FileLock.attempt(path, shared=True) is None
    os.unlink(path)
    second = FileLock.attempt(path)
    assert second is not None
    lock.release()
    assert FileLock.attempt(path) is None
    second.release(remove=True)
    assert not os.path.exists(path)


def test_what_a_store_cannot_be(tmp_path):
    with pytest.raises(ValueError, match="max_builds must be a positive int"):
        DirectoryStore(tmp_path / "s", max_builds=0)
    DirectoryStore(tmp_path / "s")
    (tmp_path / "s/format").write_text("99\n")
    with pytest.raises(ValueError, match="is a store of format '99'"):
        DirectoryStore(tmp_path / "s")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        DirectoryStore(tmp_path / "file")


def test_a_result_is_plain_json(store, source):
    output = keep(store, REQUEST, source, ["content"])
    with open(store.at("results", "1" * 64)) as file:
        assert json.load(file) == {
            "outputs": {"build/out": {"hash": output.hash, "references": ["content"]}}
        }

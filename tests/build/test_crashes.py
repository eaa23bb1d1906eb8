"""SIGKILL before each single thing that a store does to the file system: it is whole at every one.

The interpreter announces them (audit events, PEP 578), so that a process can be made to die at the
first, the second, and so on, until one gets through.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

CRASHES = """
import json, os, signal, sys
from pycontainer.build import DirectoryStore
from pycontainer.build.scan import O_PLACE, scan

top, kind = sys.argv[1:]
EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link",
          "os.utime", "os.chmod", "os.truncate", "os.listdir", "os.scandir"}
REQUEST, OLD = "sha256:" + "1" * 64, "sha256:" + "2" * 64
source, other = f"{top}/source", f"{top}/other"
os.makedirs(f"{source}/sub")
open(f"{source}/sub/file", "w").write("source")
os.symlink("sub", f"{source}/link")
open(other, "w").write("other")


def keep(store, request, path):
    with store.open() as place:
        place.take_input(source, lambda: None)
        fd = os.open(path, O_PLACE)
        output = place.take_output(fd, "out", (), lambda: None)
        with place.turn(request, lambda: None):
            place.keep(request, {"out": output})
            place.find(request)


def work(path):
    if kind == "new":
        store = DirectoryStore(path, durable=False)
        keep(store, REQUEST, source)
        store.add_root("root", REQUEST)
    elif kind == "again":
        keep(DirectoryStore(path, durable=False), REQUEST, source)
    else:
        DirectoryStore(path, durable=False).collect_garbage()


def prepare(path):
    if kind != "new":
        store = DirectoryStore(path, durable=False)
        keep(store, REQUEST, source)
        keep(store, OLD, other)
        store.add_root("kept", OLD)


def die_at(last):
    count = 0

    def hook(event, arguments):
        nonlocal count
        if event in EVENTS:
            count += 1
            if count == last:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


points, wrong = 0, []
while True:
    path = f"{top}/store-{points}"
    prepare(path)
    child = os.fork()
    if child == 0:
        die_at(points + 1)
        try:
            work(path)
        finally:
            os._exit(0)
    status = os.waitpid(child, 0)[1]
    store = DirectoryStore(path, durable=False)
    problems = store.verify()
    if kind != "new" and store.find(OLD) is None:
        problems.append("what a root keeps is gone")
    store.sweep()
    problems += [f"left: {name}" for name in os.listdir(f"{path}/work")]
    if points % 4 == 0:
        keep(store, REQUEST, source)
        problems += store.verify()
    if problems:
        wrong.append([points, problems])
    if status == 0:
        break
    points += 1
print(json.dumps([points, wrong]))
"""


@pytest.fixture
def quick_path(tmp_path):
    """A directory in memory where there is one: a thousand files are made, and removed."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    path = Path(tempfile.mkdtemp(prefix="pytest-crashes-", dir="/dev/shm"))
    yield path
    for folder in path.rglob("*"):
        if folder.is_dir() and not folder.is_symlink():
            folder.chmod(0o700)
    shutil.rmtree(path)


@pytest.mark.parametrize("kind", ["new", "again", "garbage"])
def test_killed_at_each_step(quick_path, kind):
    done = subprocess.run(
        [sys.executable, "-c", CRASHES, str(quick_path), kind],
        stdout=subprocess.PIPE,
        timeout=55,
        check=True,
    )
    points, wrong = json.loads(done.stdout)
    assert wrong == []
    assert points > 30

"""SIGKILL at any moment of a build: the store is whole, nothing is left, and the next build works.

PYCONTAINER_KILLS says how often each; a run of CI has time for a few.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from pycontainer.build import BuildRequest, DirectoryStore, ProvideBinSh, build

KILLS = int(os.environ.get("PYCONTAINER_KILLS", "10"))
PATIENCE = 30.0

BUILDS = """
import itertools, sys
from pycontainer.build import *

store = DirectoryStore(sys.argv[1], max_builds=2)
print("ready", flush=True)
for number in itertools.count():
    request = BuildRequest(
        inputs={"in": sys.argv[3]},
        command_args=["/bin/sh", "-ec", sys.argv[4]],
        outputs=["build/tree", "build/file"],
        environment_vars={"MARK": sys.argv[5], "NUMBER": str(number % 5) + sys.argv[6]},
        constraints=[ProvideBinSh()],
        refscan_needles=["needle"],
    )
    build(request, store, runtime=sys.argv[2])
    store.collect_garbage(older_than=0.05)
"""

# Of a shell without any program: a few files, more of them than can be written at once.
WORK = """
i=0
while [ $i -lt 30 ]; do echo $NUMBER needle $i >> file; i=$((i+1)); done
text=$NUMBER; for i in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do text=$text$text; done
echo $text > tree
"""


def request(source, mark, number):
    return BuildRequest(
        inputs={"in": source},
        command_args=["/bin/sh", "-ec", WORK],
        outputs=["build/tree", "build/file"],
        environment_vars={"MARK": mark, "NUMBER": number},
        constraints=[ProvideBinSh()],
        refscan_needles=["needle"],
    )


def processes_of(mark):
    """Processes that have *mark* in their environment or their command line."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            text = (directory / "cmdline").read_bytes() + (directory / "environ").read_bytes()
        except OSError:
            continue
        if mark.encode() in text and int(directory.name) != os.getpid():
            found.append(int(directory.name))
    return found


def states():
    """What runtimes have left: cgroups, and the directories of their states."""
    found = set()
    for place in ("/run", "/tmp", os.environ.get("XDG_RUNTIME_DIR") or "/tmp"):
        for path in Path(place).glob("pycontainer-oci-*"):
            if path.owner() == Path("/proc/self").owner():
                found.add(str(path))
    for folder, names, _ in os.walk("/sys/fs/cgroup"):
        found |= {f"{folder}/{name}" for name in names if re.fullmatch("c[0-9a-f]{16}", name)}
    return found


def until_gone(look):
    """Wait until none of what *look* finds now is there any more; others may come meanwhile."""
    first = set(look())
    deadline = time.monotonic() + PATIENCE
    while left := first & set(look()):
        assert time.monotonic() < deadline, f"left behind: {left}"
        time.sleep(0.02)


@pytest.mark.timeout(60 + 20 * KILLS)
@pytest.mark.parametrize("runtime", ["native", "runc"])
def test_killed_at_any_moment(tmp_path, runtime):
    chance = random.Random()
    source = tmp_path / "in"
    source.mkdir()
    for number in range(20):
        (source / str(number)).write_text(f"{number} needle" * 100)
    store = DirectoryStore(tmp_path / "store", max_builds=2)
    mark = f"mark-{uuid.uuid4().hex}"
    others = states()
    mounts = Path("/proc/self/mountinfo").read_text()
    assert str(tmp_path) not in mounts
    number_of_kills = KILLS if runtime == "native" else max(1, KILLS // 2)
    for kill in range(number_of_kills):
        child = subprocess.Popen(
            [sys.executable, "-c", BUILDS, store.path, runtime, source, WORK, mark, f"-{kill}"],
            stdout=subprocess.PIPE,
        )
        with child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            time.sleep(chance.uniform(0.0, 0.6))
            assert child.poll() is None
            child.kill()
        assert store.verify() == []
        until_gone(lambda: processes_of(mark))
        result = build(request(source, mark, f"next-{kill}"), store, runtime=runtime)
        assert not result.cached
        assert result.outputs["build/file"].references == ("needle",)
        # It has swept what was left.
        assert os.listdir(store.at("work")) == []
        assert set(os.listdir(store.at("turns"))) <= {"slot-0", "slot-1"}
        assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    assert store.verify() == []
    until_gone(lambda: states() - others)
    store.collect_garbage()
    assert store.objects() == []

"""Row 2: what is masked lies in a directory that is exchanged while the container is set up.

runc CVE-2019-19921: of two containers with one root file system the first exchanges directories,
so that the other's /proc is no longer where its masks are looked for, which would be passed over as
absent.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading

import pytest

from pycontainer import SetupError, call_with_container

STARTS = 150
EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2)


@pytest.fixture
def exchanging(tmp_path):
    """A root in which /proc and /other are exchanged all the time."""
    root = tmp_path / "root"
    for name in ("proc", "other", "dev", "sys", "tmp", "etc"):
        (root / name).mkdir(parents=True)
    ended = threading.Event()
    library = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(root / "proc"), os.fsencode(root / "other")

    def exchange():
        count = 0
        while not ended.is_set():
            assert library.renameat2(-100, names[0], -100, names[1], EXCHANGE) == 0
            count += 1
            ended.wait(count % 5 * 0.0001)

    thread = threading.Thread(target=exchange)
    thread.start()
    yield root
    ended.set()
    thread.join()


def parts_of_proc():
    """Which parts of its /proc are mounts, wherever that is by now."""
    while True:
        for place in ("/proc", "/other"):
            try:
                with open(f"{place}/self/mountinfo") as file:
                    lines = [line.split() for line in file]
            except FileNotFoundError:
                continue
            return sorted(line[3] for line in lines if "proc" in line[line.index("-") + 1 :])


def test_exchanged_while_places_are_made_read_only(exchanging):
    refused = set()
    found = 0
    for _ in range(STARTS):
        try:
            parts = call_with_container(
                [], parts_of_proc, rootfs=exchanging, readonly_paths=["/proc/fs"]
            )
        except SetupError as error:
            refused.add((error.errno, error.filename))
        else:
            assert {"/", "/fs"} <= set(parts)
            found += 1
    assert found
    assert {number for number, _ in refused} <= {errno.EBUSY}, refused

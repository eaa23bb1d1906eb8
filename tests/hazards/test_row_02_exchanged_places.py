"""Row 2: a place is exchanged for a link between the look at it and its use.

runc CVE-2021-30465, Flatpak CVE-2024-42472: somebody who may write to the root swaps a directory
and a symbolic link to the host while containers start, until a mount lands outside.
"""

from __future__ import annotations

import ctypes
import os
import threading

import pytest

from pycontainer import SetupError, bind, call_with_container

STARTS = 500
EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2)


@pytest.fixture
def exchanging(tmp_path, victim):
    """A root in which /data is, by turns, a directory and a link to the host."""
    root = tmp_path / "root"
    for name in ("proc", "dev", "sys", "tmp", "etc", "data/x"):
        (root / name).mkdir(parents=True)
    (root / "link").symlink_to(victim)
    ended = threading.Event()
    exchanges = 0
    library = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(root / "data"), os.fsencode(root / "link")

    def exchange():
        nonlocal exchanges
        while not ended.is_set():
            # ctypes lets other threads run meanwhile.
            assert library.renameat2(-100, names[0], -100, names[1], EXCHANGE) == 0
            exchanges += 1
            ended.wait(exchanges % 7 * 0.0001)

    thread = threading.Thread(target=exchange)
    thread.start()
    yield root
    ended.set()
    thread.join()
    assert exchanges > 10


@pytest.mark.timeout(240)
def test_exchanged_while_containers_start(tmp_path, exchanging):
    source = tmp_path / "source"
    source.mkdir()

    def mounted():
        """Whether the mount lies below the container's root: elsewhere it is not listed."""
        with open("/proc/self/mountinfo") as file:
            return sum(line.split()[4].endswith("/x") for line in file)

    refused: list[str | None] = []
    inside = 0
    for _ in range(STARTS):
        try:
            assert call_with_container([bind(source, "/data/x")], mounted, rootfs=exchanging) == 1
            inside += 1
        except SetupError as error:
            refused.append(error.filename)
    assert set(refused) == {"/data/x"}
    assert inside  # both were met

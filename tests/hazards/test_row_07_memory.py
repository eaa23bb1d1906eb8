"""Row 7: a forked heap.

A child that is forked from the caller has all that the caller ever held: keys, tokens, other
users' data.  The function runs in a process that never had them.
"""

from __future__ import annotations

import gc
import os
import re

import pytest

from pycontainer import call_with_container, container_excursion, start_container

# In two halves, so that neither this module nor the pattern is what is searched for.
HEAD, TAIL = "SECRET-OF-THE-", "CALLER:"


@pytest.fixture
def secret(monkeypatch):
    """Held in the caller's heap in every form, and in its environment."""
    text = HEAD + TAIL + os.urandom(16).hex()
    kept = [text, text.encode(), bytearray(text.encode()), {text: [text] * 3}, text * 1000]
    monkeypatch.setenv("TOKEN", text)
    yield text
    kept.clear()


def search():
    """How often a secret lies in this process's objects and in its readable memory."""
    import re

    pattern = "SECRET-OF-THE-" + "CALL[E]R:[0-9a-f]{32}"
    in_objects = 0
    for thing in gc.get_objects():
        for part in (thing, *gc.get_referents(thing)):
            if isinstance(part, str):
                in_objects += len(re.findall(pattern, part))
            elif isinstance(part, (bytes, bytearray)):
                in_objects += len(re.findall(pattern.encode(), part))
    in_memory, looked_at = 0, 0
    if not os.access("/proc/self/mem", os.R_OK):  # an excursion's is closed, even to itself
        return in_objects, 0, False
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for line in maps.read().splitlines():
            span, access, *_ = line.split()
            start, end = (int(number, 16) for number in span.split("-"))
            if not access.startswith("r") or line.endswith(("[vvar]", "[vsyscall]")):
                continue
            for at in range(start, end, 1 << 20):
                try:
                    data = os.pread(memory.fileno(), min(end - at, (1 << 20) + 64), at)
                except OSError:
                    continue
                looked_at += len(data)
                in_memory += len(re.findall(pattern.encode(), data))
    return in_objects, in_memory, looked_at > 1 << 20


def test_container(secret):
    assert call_with_container([], search) == (0, 0, True)


def test_second_container(secret):
    """Its process was cloned before it was ordered, and after another call's function."""

    def fn():
        return search()[:2] if secret else None

    for _ in range(2):
        objects, memory = call_with_container([], fn)
        assert objects and memory  # this one was given the secret, and the search finds it
        assert call_with_container([], search) == (0, 0, True)


def test_large_payload(secret):
    """One that goes by shared memory, and whose memory is used again."""
    data = [secret * 20_000]
    assert call_with_container([], lambda: len(data[0])) == len(data[0])
    data.clear()
    assert call_with_container([], search) == (0, 0, True)


def test_excursion(secret):
    with start_container([]) as running:
        assert container_excursion(running, search, preload=["re"]) == (0, 0, False)


def test_helper(secret):
    """The process that all of them are copies of; only root, or its owner, can look."""
    from pycontainer.launch import forkserver as forkservers

    call_with_container([], lambda: len(secret))
    pid = forkservers.forkserver().pid
    found = 0
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps.read().splitlines():
            start, end = (int(number, 16) for number in line.split()[0].split("-"))
            if "[" in line and "[heap]" not in line and "[stack]" not in line:
                continue
            if line.split()[1].startswith("r"):
                data = os.pread(memory.fileno(), end - start, start)
                found += len(re.findall(secret.encode(), data))
    with open(f"/proc/{pid}/environ", "rb") as environment:
        found += environment.read().count(secret.encode())
    assert found == 0


def test_fork_has_it_all(secret):
    """What ``start_method="fork"`` is documented to give away; so the search does find."""

    def fn():
        gc.unfreeze()  # what was taken over is not collected, nor listed
        return search()

    objects, memory, _ = call_with_container([], fn, start_method="fork")
    assert objects
    assert memory

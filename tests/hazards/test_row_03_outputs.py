"""Row 3 · outputs of builds are copied out, and leftovers removed, without a link being followed.

Precedents: BuildKit CVE-2024-23652, Nix CVE-2026-39860.
"""

from __future__ import annotations

import os
import threading

import pytest

from pycontainer.build import (
    AvailableReadOnlyPath,
    BuildError,
    BuildRequest,
    DirectoryStore,
    ProvideBinSh,
    build,
)
from pycontainer.build.scan import O_PLACE
from pycontainer.build.trees import remove

HOST = [
    AvailableReadOnlyPath(path)
    for path in ("/usr", "/bin", "/lib", "/lib64", "/lib32")
    if os.path.exists(path)
]


@pytest.fixture
def store(tmp_path):
    return DirectoryStore(tmp_path / "store", durable=False)


def built(store, script, output):
    return build(
        BuildRequest(
            command_args=["/bin/sh", "-ec", script],
            outputs=[output],
            environment_vars={"PATH": "/usr/bin:/bin"},
            constraints=[*HOST, ProvideBinSh()],
        ),
        store,
    ).outputs[output]


def holds(store, text):
    """Whether any file of the store has *text* in it."""
    for parent, _, files in os.walk(store.path):
        for name in files:
            path = os.path.join(parent, name)
            if not os.path.islink(path):
                with open(path, "rb") as file:
                    if text in file.read():
                        return True
    return False


def test_an_output_that_is_a_link(store, victim):
    output = built(store, f"ln -s {victim} out", "build/out")
    assert os.readlink(output.path) == str(victim)
    inner = built(store, f"mkdir out; ln -s {victim}/f out/f; ln -s {victim} out/d", "build/out")
    assert os.readlink(f"{inner.path}/d") == str(victim)
    assert not holds(store, b"of the host")


@pytest.mark.parametrize("way", ["way", "way/further"])
def test_a_link_on_the_way_to_an_output(store, victim, way):
    script = f"mkdir -p {os.path.dirname(way) or '.'}; rm -rf {way}; ln -s {victim} {way}"
    with pytest.raises(BuildError, match=f"did not make build/{way}/f"):
        built(store, script, f"build/{way}/f")
    assert not holds(store, b"of the host")


class Swapping:
    """A directory that is exchanged for a link to *victim*, and back, all the time."""

    def __init__(self, top, victim):
        self.place = top / "place"
        self._hidden = top / "hidden"
        self._link = top / "link"
        self._victim = victim
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.rounds = 0

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._ended.set()
        self._thread.join()

    def _run(self):
        while not self._ended.is_set():
            try:
                self.place.mkdir()
                (self.place / "f").write_text("ours")
                self.place.rename(self._hidden)
                self.place.symlink_to(self._victim)
                self.place.unlink()
                self._hidden.rename(self.place)
                self.rounds += 1
            except OSError:  # the other side has just removed it
                pass
            for path in (self.place, self._hidden):
                try:
                    os.unlink(path / "f") if not path.is_symlink() else os.unlink(path)
                    os.rmdir(path)
                except OSError:
                    pass


def test_a_directory_that_becomes_a_link_while_it_is_copied(store, victim, tmp_path):
    top = tmp_path / "top"
    top.mkdir()
    with Swapping(top, victim) as swapping, store.open() as place:
        count = 0
        while count < 200 or swapping.rounds < 20:
            count += 1
            fd = os.open(top, O_PLACE)
            try:
                place.take_output(fd, "top", (), lambda: None)
            except OSError:
                pass  # gone meanwhile
            finally:
                os.close(fd)
    assert not holds(store, b"of the host")


def test_a_directory_that_becomes_a_link_while_it_is_removed(victim, tmp_path):
    top = tmp_path / "top"
    top.mkdir()
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        with Swapping(top, victim) as swapping:
            count = 0
            while count < 200 or swapping.rounds < 20:
                count += 1
                try:
                    remove(folder, "top")
                except OSError:
                    pass  # it is filled faster than it is emptied
                top.mkdir(exist_ok=True)
        remove(folder, "top")
    finally:
        os.close(folder)


def test_leftovers_that_are_links(store, victim):
    """What a killed build has left is swept; what it leads to stays."""
    left = store.at("work", "1-dead")
    os.makedirs(f"{left}/bundle/scratch")
    os.symlink(victim, f"{left}/bundle/scratch/way")
    os.symlink(victim, store.at("work", "2-dead"))
    assert store.sweep() == ["1-dead", "2-dead"]
    assert os.listdir(store.at("work")) == []

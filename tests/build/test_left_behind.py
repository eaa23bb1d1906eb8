"""What builds leave in their places, and that no other build suffers from it."""

from __future__ import annotations

import os
from typing import Literal

import pytest

from pycontainer.build import AvailableReadOnlyPath, BuildRequest, DirectoryStore, build

HOST = [
    AvailableReadOnlyPath(path)
    for path in ("/usr", "/bin", "/lib", "/lib64")
    if os.path.exists(path)
]
RUNTIMES: list[Literal["native", "runc", "crun"]] = ["native", "runc", "crun"]

# runc gives an ordinary user's build a root, which is one of the user's subordinate ids.
AS_ROOT = """
mkdir "out"; $< = $> = 0; mkdir "kept", 0700; mkdir "kept/below", 0700;
open F, ">", "kept/below/file"; close F; chmod 0, "kept/below/file"; chmod 0, "kept/below";
"""


def request(program: str) -> BuildRequest:
    return BuildRequest(
        command_args=["/usr/bin/perl", "-e", program], outputs=["build/out"], constraints=HOST
    )


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_directories_of_other_ids(tmp_path, runtime):
    store = DirectoryStore(tmp_path / "store", durable=False)
    build(request(AS_ROOT), store, runtime=runtime)
    assert os.listdir(store.at("work")) == []
    build(request('mkdir "out"'), store, runtime=runtime)


def test_what_cannot_be_removed_stops_no_other_build(tmp_path, monkeypatch):
    store = DirectoryStore(tmp_path / "store", durable=False)
    os.mkdir(store.at("work", "1-left"))
    discard = store.discard

    def refuse(name):
        if name == "1-left":
            raise PermissionError(name)
        discard(name)

    monkeypatch.setattr(store, "discard", refuse)
    build(request('mkdir "out"'), store)
    assert sorted(os.listdir(store.at("work"))) == ["1-left", "1-left.lock"]
    monkeypatch.undo()
    assert store.sweep() == ["1-left"]
    assert os.listdir(store.at("work")) == []

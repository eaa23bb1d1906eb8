"""Removing from a ``DirectoryStore`` what nobody needs."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable

from .store import Collected, DirectoryStore, hexadecimal

__all__ = ["collect"]


def collect(store: DirectoryStore, older_than: float) -> Collected:
    """See ``DirectoryStore.collect_garbage``.

    What is dead is taken away by rename(2) while nobody may rely on it, and removed afterwards: at
    no moment is half an object where a whole one is looked for.
    """
    with store.working() as trash:
        with store.changing():
            results, objects = _take_away(store, trash, time.time() - older_than)
        size = _disk_use(trash)
    return Collected(results, objects, size)


def _take_away(store: DirectoryStore, trash: str, since: float) -> tuple[int, int]:
    """Move what is dead into *trash*: how many results, how many objects."""
    roots = set(_roots(store))
    live = set(_pins(store)) | {name for kind, name in roots if kind == "objects"}
    dead = []
    for request in store.results():
        name = hexadecimal(request)
        kept = ("results", name) in roots or _used(store.at("results", name)) >= since
        try:
            outputs = store.find(request) if kept else None
        except ValueError:
            outputs = None  # what is no result is of no use
        if outputs is None:
            dead.append(name)
        else:
            live.update(hexadecimal(output.hash) for output in outputs.values())
    for name in dead:  # before the objects, which a result that is there promises
        os.unlink(store.at("results", name))
    store.fsync_directory(store.at("results"))
    count = 0
    for digest in store.objects():
        name = hexadecimal(digest)
        if name not in live and _used(store.at("objects", name)) < since:
            os.rename(store.at("objects", name), os.path.join(trash, name))
            count += 1
    _forget_inputs(store)
    return len(dead), count


def _used(path: str) -> float:
    return os.lstat(path).st_mtime


def _roots(store: DirectoryStore) -> Iterable[tuple[str, str]]:
    """What the roots lead to: "results" or "objects", and the digits of a hash."""
    for name in os.listdir(store.at("roots")):
        kind, digest = os.readlink(store.at("roots", name)).split("/")[-2:]
        yield kind, digest


def _pins(store: DirectoryStore) -> Iterable[str]:
    """The objects that running builds use."""
    for name in os.listdir(store.at("work")):
        try:
            yield from os.listdir(store.at("work", name, "pins"))
        except (FileNotFoundError, NotADirectoryError):
            continue


def _forget_inputs(store: DirectoryStore) -> None:
    """What an input was is of no use without its object."""
    for name in os.listdir(store.at("inputs")):
        path = store.at("inputs", name)
        try:
            with open(path, "rb") as file:
                known = store.has(json.load(file)["hash"])
        except (ValueError, KeyError, TypeError):
            known = False
        if not known:
            os.unlink(path)


def _disk_use(path: str) -> int:
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            total += os.lstat(os.path.join(folder, name)).st_blocks * 512
    return total

"""Checked by mypy in test_typing.py: what the front doors return.  Never run."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import assert_type

from pycontainer import (
    Completed,
    Container,
    Running,
    bind,
    call_with_container,
    container_excursion,
    exec_command,
    extend,
    file,
    host_network,
    host_python,
    host_system,
    run_command,
    run_container,
    start_command,
    start_container,
    tmpfs,
)


def number() -> int:
    return 1


def of(text: str) -> list[str]:
    return [text]


def generic(fn: Callable[[], bytes]) -> bytes:
    return call_with_container([], fn, timeout=1.0, hostname="a")


container = Container([bind("/etc"), host_python()], env={"A": Path("/x")}, cwd="/etc")

assert_type(call_with_container([], number), int)
assert_type(call_with_container(container, partial(of, "x")), list[str])
assert_type(call_with_container([tmpfs("/a"), file("/a/b", "")], lambda: "x"), str)
assert_type(call_with_container([], os.getcwd, returns="pickle", guest_uid=1), str)

assert_type(run_container([], number, capture_output=True), Completed[int])
assert_type(run_container([], number).result(), int)

assert_type(start_container([], number), Running[int])
assert_type(start_container([]), Running[None])
assert_type(start_container([], number).wait(1.0), Completed[int])
assert_type(start_container([], number).result(), int)
with start_container(container, number, stdin=None, writable_root=True) as running:
    assert_type(running, Running[int])
    assert_type(running.poll(), int | None)
    assert_type(container_excursion(running, lambda: b""), bytes)

assert_type(container_excursion(1, number, namespaces={"net"}), int)
assert_type(run_command([], ["true", Path("/x"), b"y"], input="", text=True), Completed[None])
assert_type(exec_command(1, ("true",), cwd="/", env={"A": "b"}), Completed[None])
with start_command(container, ["true"], hostname="b") as program:
    assert_type(program, Running[None])
assert_type(extend(container, tmpfs("/x"), hostname="b"), Container)

mounts = [tmpfs("/a"), file("/a/b", "")]
assert_type(call_with_container(mounts, number), int)
views = [host_python(), bind("/srv"), host_system()]
assert_type(call_with_container(views, number), int)
assert_type(Container([tmpfs("/a"), host_network()]), Container)

# Mistakes that a checker must find (warn_unused_ignores finds it if one passes).
call_with_container([], 1)  # type: ignore[arg-type]
call_with_container([], number, hostnam="a")  # type: ignore[call-arg]
call_with_container([], number, guest_uid="0")  # type: ignore[arg-type]
call_with_container(["/etc"], number)  # type: ignore[list-item]
call_with_container([], of)  # type: ignore[arg-type]

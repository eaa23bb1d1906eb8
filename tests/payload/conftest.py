"""A child as lean as the helper process makes them, for what the payload tests send."""

from __future__ import annotations

import marshal
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

import pycontainer
from pycontainer.launch.payload import dump_payload

_BOOTSTRAP = """
import sys, marshal
path, package, count = marshal.load(sys.stdin.buffer)
standard = list(sys.path)
sys.path[:] = [package, *standard]
import pycontainer.launch.reconstruct as reconstruct
lean = sorted(sys.modules)
sys.path[:] = path
try:
    data = sys.stdin.buffer.read()
    fn, populate, allow, extra = reconstruct.load_payload(data)
except BaseException as error:
    kind, value = type(error).__name__, str(error)
    answer = ("load", kind, value, reconstruct.failed_import(error),
              reconstruct.wants_environment(error))
else:
    after = sorted(sys.modules)
    answer = ("value", [fn() for _ in range(count)], lean, after)
sys.path[:] = standard
import pickle
sys.stdout.buffer.write(pickle.dumps(answer))
"""


class Outcome:
    """What a child made of a payload: the values of its calls, the modules it had loaded."""

    def __init__(self, answer: Any) -> None:
        self.failure: tuple[Any, ...] = answer[1:] if answer[0] == "load" else ()
        self.values: list[Any] = [] if self.failure else answer[1]
        self.lean: list[str] = [] if self.failure else answer[2]
        self.modules: list[str] = [] if self.failure else answer[3]

    @property
    def value(self) -> Any:
        assert not self.failure, self.failure
        return self.values[-1]


def load_and_run(payload: bytes, *, calls: int = 1, path: Iterable[str] | None = None) -> Outcome:
    package = str(Path(pycontainer.__file__).parent.parent)
    head = marshal.dumps((list(sys.path if path is None else path), package, calls))
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", _BOOTSTRAP],
        input=head + payload,
        capture_output=True,
        timeout=60,
        env={},
        cwd=os.getcwd(),
    )
    assert ran.returncode == 0, ran.stderr.decode()
    return Outcome(pickle.loads(ran.stdout))


@pytest.fixture
def load() -> Callable[..., Outcome]:
    """Load the bytes of a payload in a fresh child, and call what they hold."""
    return load_and_run


@pytest.fixture
def run() -> Callable[..., Outcome]:
    """Send a function to a fresh child and run it there."""

    def send(
        fn: Callable[..., Any], *, calls: int = 1, path: Iterable[str] | None = None, **options: Any
    ) -> Outcome:
        return load_and_run(bytes(dump_payload(fn, **options)), calls=calls, path=path)

    return send

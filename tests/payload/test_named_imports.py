"""Import statements of functions that a function names: the child imports them too.

They go by name, so nothing of them is in the payload; in the container their modules may be gone.
"""

from __future__ import annotations

import importlib
import sys

import pytest

from pycontainer.launch import references
from pycontainer.launch.payload import dump_payload

LAZY = """
import functools


def plain():
    from . import other
    return other.X


def decorated(function):
    @functools.wraps(function)
    def around(*arguments):
        return function(*arguments)
    return around


@decorated
def wrapped():
    import mine.other
    return mine.other.X


@functools.cache
def cached():
    from mine import other
    return other.X


class Base:
    def method(self):
        from . import other
        return other.X

    def unnamed(self):
        from . import unwanted


class Thing(Base):
    def __init__(self, value=0):
        self.value = value

    @staticmethod
    def static():
        from . import other
        return other.X

    @classmethod
    def of_class(cls):
        from . import other
        return other.X

    @property
    def found(self):
        from . import other
        return other.X


class Eager:
    def __init__(self):
        from . import other
        self.value = other.X


def deep():
    return plain()


thing = Thing()
partial = functools.partial(plain)
"""


@pytest.fixture
def lazy(tmp_path, monkeypatch):
    """The module mine.lazy, whose functions import mine.other when they are called."""
    package = tmp_path / "mine"
    package.mkdir()
    for name, text in {"__init__": "", "lazy": LAZY, "other": "X = 5", "unwanted": ""}.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("mine.other")
    importlib.import_module("mine.unwanted")
    yield importlib.import_module("mine.lazy")
    for name in [name for name in sys.modules if name == "mine" or name.startswith("mine.")]:
        del sys.modules[name]


def calls(function):
    return lambda: function()


def calls_method(thing):
    return lambda: thing.method()


REFERENCES = {
    "function": lambda m: calls(m.plain),
    "attribute of a module": lambda m: lambda: m.plain(),
    "wrapped": lambda m: lambda: m.wrapped(),
    "cached": lambda m: lambda: m.cached(),
    "partial": lambda m: lambda: m.partial(),
    "instance": lambda m: lambda: m.thing.method(),
    "own instance": lambda m: calls_method(m.Thing()),
    "class": lambda m: lambda: m.Thing().method(),
    "static method": lambda m: lambda: m.Thing.static(),
    "class method": lambda m: lambda: m.Thing.of_class(),
    "property": lambda m: lambda: m.thing.found,
    "called by syntax": lambda m: lambda: m.Eager().value,
    "fn itself": lambda m: m.plain,
    "fn that names it": lambda m: m.deep,
    "method as fn": lambda m: m.thing.method,
    "partial as fn": lambda m: m.partial,
}


@pytest.mark.parametrize("how", REFERENCES)
def test_imports_of_what_a_function_names(lazy, run, how):
    fn = REFERENCES[how](lazy)
    assert "mine.other" in dump_payload(fn).imports
    assert "mine.unwanted" not in dump_payload(fn).imports
    assert run(fn).value == 5


def test_imports_of_what_no_function_names(lazy):
    """One step, no more: what would be imported for nothing costs every call."""
    assert "mine.other" not in dump_payload(lambda: lazy.deep()).imports
    assert "mine.other" not in dump_payload(lambda: lazy.thing.value).imports
    assert dump_payload(lambda: None).imports == ()


def test_imports_of_the_standard_library_that_a_function_names():
    import collections
    import heapq

    assert heapq
    counter = collections.Counter("aab")
    assert "heapq" in dump_payload(lambda: counter.most_common()).imports


def test_imports_of_this_package_are_not_looked_for():
    import pycontainer

    payload = dump_payload(lambda: pycontainer.diagnose())
    assert not [name for name in payload.imports if name.startswith("pycontainer")]


def test_looking_for_imports_is_done_once(lazy, monkeypatch):
    def fn():
        return lazy.Thing().method()

    first = dump_payload(fn).imports
    monkeypatch.setattr(references, "_has_import", None)
    assert dump_payload(fn).imports == first

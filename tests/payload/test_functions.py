"""Kinds of functions, sent to a child that must load them without cloudpickle."""

from __future__ import annotations

import asyncio
import concurrent.futures
import enum
import functools
import json
import operator
import os.path
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FACTOR = 3
FUNCTION = type(lambda: None)
SINGLETONS = (type(None), type(...))


def triple(n: int) -> int:
    """Multiply."""
    return FACTOR * n


def fibonacci(n: int) -> int:
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


def even(n: int) -> bool:
    return n == 0 or odd(n - 1)


def odd(n: int) -> bool:
    return n != 0 and even(n - 1)


def adder(n):
    return lambda m=2, *, k=3: n + m + k


def counter():
    count = 0

    def step():
        nonlocal count
        count += 1
        return count

    return step


def pair():
    count = 0

    def step():
        nonlocal count
        count += 1

    def read():
        return count

    return lambda: (step(), step(), read())[-1]


def recursive():
    def down(n=5):
        return 0 if n == 0 else 1 + down(n - 1)

    return down


def remember(value):
    global _remembered
    _remembered = value


def recall():
    return _remembered


_remembered = None


def share_globals():
    remember("told")
    return recall()


def unassigned():
    def f():
        try:
            return later
        except NameError:
            return "not yet"

    if False:
        later = None
    return f


async def later(n):
    await asyncio.sleep(0)
    return n


def squares():
    for n in range(4):
        yield n * n


def with_a_class_inside():
    class Local:
        factor = FACTOR  # LOAD_NAME: a global that only the class body names

        def get(self):
            return self.factor

    return Local().get()


class Greeter:
    greeting = "hello"

    def __init__(self, name="you"):
        self.name = name

    def greet(self):
        return f"{self.greeting} {self.name}"

    @classmethod
    def of_class(cls):
        return cls.greeting

    @staticmethod
    def of_nothing():
        return 7


class Louder(Greeter):
    def greet(self):
        return super().greet() + "!"


def attributes_of(f):
    return (
        f.__name__,
        f.__qualname__,
        f.__module__,
        f.__doc__,
        f.__defaults__,
        f.__kwdefaults__,
        f.__annotations__,
        f.__dict__,
    )


def documented(a: int, b: str = "x", *, c: float = 1.5) -> None:
    "What it does."


documented.tag = ["t"]  # type: ignore[attr-defined]


def renamed():
    return None


renamed.__name__ = "other"
renamed.__qualname__ = "quite.other"
renamed.__doc__ = "not in the code"
renamed.__module__ = "elsewhere"

CASES: dict[str, tuple[Any, Any]] = {
    "lambda": (lambda: 40 + 2, 42),
    "lambda, global": (lambda: triple(FACTOR), 9),
    "function": (functools.partial(triple, 5), 15),
    "closure, defaults": (adder(1), 6),
    "closure, nonlocal": (counter(), 1),
    "closure, cell shared": (pair(), 2),
    "closure, recursive": (recursive(), 5),
    "closure, unassigned": (unassigned(), "not yet"),
    "recursive": (lambda: fibonacci(10), 55),
    "mutually recursive": (lambda: even(10), True),
    "globals shared": (share_globals, "told"),
    "partial": (functools.partial(operator.add, 1, 2), 3),
    "partial, keywords": (functools.partial(adder(1), m=5, k=6), 12),
    "partial, nested": (functools.partial(functools.partial(triple), 1), 3),
    "built-in": (functools.partial(len, "abc"), 3),
    "built-in method": ("abc".upper, "ABC"),
    "bound method": (Greeter("me").greet, "hello me"),
    "bound method, super": (Louder("me").greet, "hello me!"),
    "class method": (Louder.of_class, "hello"),
    "static method": (Greeter.of_nothing, 7),
    "class": (functools.partial(lambda make: make().name, Greeter), "you"),
    "class, body names a global": (with_a_class_inside, 3),
    "async function": (lambda: asyncio.run(later(3)), 3),
    "generator function": (lambda: list(squares()), [0, 1, 4, 9]),
    "module global": (lambda: json.dumps([1]), "[1]"),
    "module, submodule by attribute": (lambda: os.path.join("a", "b"), "a/b"),
    "module, package attribute": (
        lambda: concurrent.futures.ThreadPoolExecutor.__name__,
        "ThreadPoolExecutor",
    ),
    "standard streams": (lambda out=sys.stdout: out is sys.stdout, True),
    "type without a name": (lambda: FUNCTION.__name__, "function"),
    "type of None": (lambda: [kind.__name__ for kind in SINGLETONS], ["NoneType", "ellipsis"]),
}


@pytest.mark.parametrize("case", CASES)
def test_function(run, case):
    fn, expected = CASES[case]
    outcome = run(fn)
    assert outcome.value == expected
    assert "cloudpickle" not in outcome.modules
    assert "pickle" not in outcome.lean


def test_function_attributes(run):
    for f in (documented, renamed):
        here = attributes_of(f)
        outcome = run(functools.partial(attributes_of, f))
        assert outcome.value == here
        assert "cloudpickle" not in outcome.modules


def test_function_called_twice_keeps_its_variables(run):
    assert run(counter(), calls=3).values == [1, 2, 3]


def test_standard_library_function_goes_by_name(run):
    outcome = run(functools.partial(os.path.basename, "a/b"))
    assert outcome.value == "b"


def test_function_many_globals(run):
    """More than 255 names: their indices do not fit in the argument of one instruction."""
    body = "def f():\n"
    body += "".join(f"    v{n}\n" for n in range(700))
    body += "    return v699\n"
    namespace: dict[str, Any] = {f"v{n}": n for n in range(700)}
    exec(body, namespace)
    assert run(namespace["f"]).value == 699


def test_cell_by_itself(run):
    cell = recursive().__closure__[0]
    assert run(lambda: cell.cell_contents(2)).value == 2


def test_code_object(run):
    code = compile("1 + 2", "<here>", "eval")
    assert run(lambda: eval(code)).value == 3


def test_code_file_name_survives(run):
    def where():
        return where.__code__.co_filename, where.__code__.co_firstlineno

    assert run(where).value == where()


def test_type_parameters(run):
    if sys.version_info < (3, 12):
        pytest.skip("PEP 695 came with Python 3.12")
    namespace: dict[str, Any] = {"__name__": "somewhere"}
    exec("def f[T](x: T = 4) -> T:\n    class L:\n        y = x\n    return L.y", namespace)
    assert run(namespace["f"]).value == 4


def test_main_script(tmp_path, load):
    """What __main__ defines goes by value: functions, plain classes, and the rarer kinds."""
    script = tmp_path / "script.py"
    script.write_text(
        """
import abc, collections, dataclasses, enum, functools, sys, typing
from pycontainer.launch.payload import dump_payload

class Plain:
    __slots__ = ("x",)
    def __init__(self): self.x = 5
class Child(Plain):
    def __init__(self):
        super().__init__()
        self.y = 6
class Base(abc.ABC):
    @abc.abstractmethod
    def get(self): ...
class Concrete(Base):
    def get(self): return "got"
@Base.register
class Virtual: pass
@dataclasses.dataclass
class Point:
    x: int
    y: typing.ClassVar[int] = 3
    z: list = dataclasses.field(default_factory=list)
class Colour(enum.Enum):
    RED = 1
class Flags(enum.Flag):
    A = 1
    B = 2
class Pair(typing.NamedTuple):
    a: int
    b: int = 2
T = typing.TypeVar("T")
class Box(typing.Generic[T]):
    def __init__(self, value: T): self.value = value
class Problem(ValueError): pass
class Meta(type):
    def __new__(mcs, name, bases, body): return super().__new__(mcs, name, bases, body)
    @property
    def tag(cls): return cls.__name__
class Tagged(metaclass=Meta): pass

def lean():
    try:
        raise Problem("p")
    except Problem as e:
        problem = str(e)
    return (Child().x, Child().y, Concrete().get(), issubclass(Virtual, Base), problem,
            Tagged.tag, __name__)

def rich():
    return (str(Point(1)), Point.y, Point(1) == Point(1), Colour.RED.name, Colour(1) is Colour.RED,
            str(Flags.A | Flags.B), tuple(Pair(1)), Pair(1).b, Box[int](3).value)

which = {"lean": lean, "rich": rich}[sys.argv[1]]
sys.stdout.buffer.write(bytes(dump_payload(which)))
"""
    )
    import pycontainer

    package = Path(pycontainer.__file__).parent.parent

    def answer(which):
        ran = subprocess.run(
            [sys.executable, script, which],
            capture_output=True,
            check=True,
            env={"PYTHONPATH": str(package)},
        )
        return load(ran.stdout)

    lean = answer("lean")
    assert lean.value == (5, 6, "got", True, "p", "Tagged", "__main__")
    assert "cloudpickle" not in lean.modules
    rich = answer("rich")
    assert rich.value == (
        *("Point(x=1, z=[])", 3, True, "RED", True, str(Flags.A | Flags.B)),
        *((1, 2), 2, 3),
    )


class Flags(enum.Flag):
    A = 1
    B = 2

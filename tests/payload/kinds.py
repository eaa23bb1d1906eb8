"""Functions of many kinds, and what each returns in a child.  Imported by name, and from a path."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import json
import operator
import os.path
import sys
from typing import Any

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

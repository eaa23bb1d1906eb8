"""Kinds of functions, sent to a child that must load them without cloudpickle."""

from __future__ import annotations

import concurrent.futures
import enum
import functools
import importlib
import importlib.util
import os.path
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pycontainer.launch import pickler, reconstruct
from pycontainer.launch.payload import dump_payload

HERE = Path(__file__).parent


def _from_a_path() -> Any:
    spec = importlib.util.spec_from_file_location("kinds_from_a_path", HERE / "kinds.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["kinds_from_a_path"] = module
    spec.loader.exec_module(module)
    return module


BY_VALUE = _from_a_path()


@pytest.fixture(params=["by value", "by name"])
def kinds(request, monkeypatch):
    """The module of functions as a test runner loads it, then as an import statement does."""
    if request.param == "by value":
        return BY_VALUE
    monkeypatch.syspath_prepend(HERE)
    return importlib.import_module("kinds")


@pytest.mark.parametrize("case", BY_VALUE.CASES)
def test_function(run, kinds, case):
    fn, expected = kinds.CASES[case]
    outcome = run(fn)
    assert outcome.value == expected
    assert "cloudpickle" not in outcome.modules
    assert (kinds.__name__ in outcome.modules) <= (kinds is not BY_VALUE)
    assert "pickle" not in outcome.lean


def test_function_attributes(run, kinds):
    for f in (kinds.documented, kinds.renamed):
        here = kinds.attributes_of(f)
        outcome = run(functools.partial(kinds.attributes_of, f))
        assert outcome.value == here
        assert "cloudpickle" not in outcome.modules


def test_function_called_twice_keeps_its_variables(run):
    assert run(BY_VALUE.counter(), calls=3).values == [1, 2, 3]


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
    cell = BY_VALUE.recursive().__closure__[0]
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


def test_annotations(run):
    namespace: dict[str, Any] = {"__name__": "somewhere"}
    exec(
        "import typing, collections.abc as c\n"
        "T = typing.TypeVar('T'); P = typing.ParamSpec('P'); Id = typing.NewType('Id', int)\n"
        "def f(a: list[int], b: int | None, c: c.Callable[P, T], d: Id) -> typing.Any: ...\n",
        namespace,
    )
    f = namespace["f"]
    expected = {name: str(value) for name, value in f.__annotations__.items()}
    assert run(lambda: {k: str(v) for k, v in f.__annotations__.items()}).value == expected


def test_class_left_to_cloudpickle(run, monkeypatch):
    """With a cloudpickle whose reduction of classes we do not know, the child uses it too."""
    monkeypatch.setattr(pickler, "_class_reduction_known", False)
    outcome = run(BY_VALUE.Louder("me").greet)
    assert outcome.value == "hello me!"
    assert "cloudpickle" in outcome.modules


def test_class_comes_back_as_itself(run):
    """A result that the child pickles by cloudpickle finds the caller's own class again."""

    greeter = BY_VALUE.Greeter

    def back():
        import cloudpickle

        from pycontainer.launch import reconstruct

        reconstruct.classes_to_cloudpickle()
        return cloudpickle.dumps(greeter("it"))

    made = pickle.loads(run(back).value)
    assert type(made) is greeter


def test_function_and_allow_share_their_classes():
    greeter = BY_VALUE.Greeter
    payload = bytes(dump_payload(lambda: greeter, allow=[greeter]))
    fn, populate, allow, extra = reconstruct.load_payload(payload)
    assert fn() is allow[0]
    assert (populate, extra) == (None, None)


def test_threads_may_dump_at_once():
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        sizes = pool.map(lambda n: dump_payload(BY_VALUE.adder(n % 100)).size, range(400))
    assert len(set(sizes)) == 1


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

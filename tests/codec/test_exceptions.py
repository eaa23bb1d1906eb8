"""What a function raises arrives as itself where that is safe, else as a RemoteError."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import linecache
import pickle
import sys
import traceback
from typing import Any

import attrs
import pytest

from pycontainer.errors import ContainerError, RemoteError
from pycontainer.launch.codec.encode import encode_value
from pycontainer.launch.codec.exceptions import encode_exception
from pycontainer.launch.codec.raised import RemoteTraceback, decode_exception


def cross(error: BaseException, allow: Any = (), **options: Any) -> Any:
    made = decode_exception(b"".join(encode_exception(error, allow, **options)), allow)
    assert isinstance(made.__cause__, RemoteTraceback)
    return made


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


class Plain(ValueError):
    pass


class TwoArgs(Exception):
    def __init__(self, code: int, *, why: str) -> None:
        super().__init__(f"{code}: {why}")
        self.code = code
        self.why = why


class Slotted(Exception):
    __slots__ = ("extra",)
    extra: int


@attrs.define(auto_exc=True)
class Attrs(Exception):
    code: int
    items: list[int]


@dataclasses.dataclass
class Dataclass(Exception):
    code: int


class MyOSError(FileNotFoundError):
    pass


class MyExit(SystemExit):
    pass


class MyBase(BaseException):
    pass


class MyGroup(ExceptionGroup[Exception]):
    pass


@pytest.mark.parametrize(
    "error",
    [
        ValueError(),
        ValueError("x", 1, [2], None),
        KeyError("k"),
        ZeroDivisionError("division by zero"),
        RecursionError("x"),
        AssertionError({"a": 1}),
        OSError("text"),
        FileNotFoundError(2, "No such file or directory", "/x"),
        PermissionError(13, "Permission denied", "a", None, "b"),
        OSError(5, "I/O error", b"name\xff"),
        TimeoutError("t"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        UnicodeEncodeError("ascii", "\udc80é", 0, 2, "ordinal not in range"),
        UnicodeTranslateError("x", 0, 1, "r"),
        ImportError("m", name="n", path="/p"),
        ModuleNotFoundError("No module named 'x'", name="x"),
        AttributeError("a", name="b"),
        NameError("a", name="b"),
        SyntaxError("bad", ("f.py", 3, 4, "code\n", 3, 5)),
        IndentationError("bad", ("f.py", 3, 4, "code\n")),
        BlockingIOError(11, "again", 3),
        UserWarning("w"),
        MemoryError(),
        BufferError("b"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_built_in_exceptions_cross_as_themselves(error: Exception) -> None:
    after = cross(raised(error))
    assert type(after) is type(error)
    assert after.args == error.args
    assert str(after) == str(error)
    for name in ("errno", "strerror", "filename", "filename2", "name", "path", "msg", "lineno",
                 "text", "end_offset", "start", "object", "characters_written"):  # fmt: skip
        assert getattr(after, name, None) == getattr(error, name, None), name


def test_args_that_do_not_cross_are_text() -> None:
    error = ValueError("a", object(), {"x": [object()]}, 3)
    after = cross(error)
    assert after.args[0] == "a"
    assert after.args[1].startswith("<object object at")
    assert after.args[2].startswith("{'x': [<object")
    assert after.args[3] == 3


def test_attributes_and_notes_cross() -> None:
    error = ValueError("x")
    error.add_note("a note")
    error.code = 5  # type: ignore[attr-defined]
    error.what = object()  # type: ignore[attr-defined]
    after = cross(error)
    assert after.__notes__ == ["a note"]
    assert after.code == 5
    assert after.what.startswith("<object")


def test_import_error_of_a_real_import() -> None:
    try:
        import pycontainer_has_no_such_module  # type: ignore[import-not-found] # noqa: F401
    except ImportError as error:
        after = cross(error)
    assert after.name == "pycontainer_has_no_such_module"


# -- RemoteError ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "base"),
    [
        (Plain("x"), ValueError),
        (MyOSError(2, "no", "/f"), FileNotFoundError),
        (TwoArgs(1, why="w"), Exception),
        (asyncio.CancelledError(), Exception),
        (asyncio.InvalidStateError(), Exception),
        (StopIteration(1), Exception),
        (StopAsyncIteration(), Exception),
        (SystemExit(3), Exception),
        (MyExit(3), Exception),
        (KeyboardInterrupt(), Exception),
        (GeneratorExit(), Exception),
        (MyBase("x"), Exception),
        (type("U", (UnicodeDecodeError,), {})("utf-8", b"\xff", 0, 1, "bad"), UnicodeDecodeError),
        (MyGroup("g", [Plain(1)]), ExceptionGroup),
    ],
    ids=lambda e: getattr(e, "__name__", type(e).__name__),
)
def test_others_become_remote_errors_of_the_nearest_base(error: Any, base: Any) -> None:
    after = cross(raised(error))
    assert isinstance(after, RemoteError)
    assert isinstance(after, ContainerError)
    assert isinstance(after, base)
    forbidden = (StopIteration, StopAsyncIteration, SystemExit, KeyboardInterrupt, GeneratorExit)
    assert not isinstance(after, forbidden)
    cls = type(error)
    assert after.type_name == f"{cls.__module__}.{cls.__qualname__}"
    assert cls.__name__ in str(after)
    assert "Traceback" in after.traceback_text
    assert type(after).__qualname__ == "RemoteError"
    assert type(after).__module__ == "pycontainer.errors"


def test_remote_error_text() -> None:
    assert str(cross(Plain("a \x1b[31m"))) == f"{__name__}.Plain: a \\x1b[31m"
    assert cross(Plain("a \x1b[31m")).args == ("a \x1b[31m",)


def test_remote_error_classes_are_cached() -> None:
    assert type(cross(Plain(1))) is type(cross(Plain(2)))
    assert type(cross(TwoArgs(1, why=""))) is type(cross(MyBase()))


def test_remote_error_of_an_os_error_keeps_errno() -> None:
    after = cross(MyOSError(2, "no", "/f"))
    assert (after.errno, after.strerror, after.filename) == (2, "no", "/f")


@pytest.mark.parametrize(
    "error", [Plain("x"), MyOSError(2, "no", "/f"), MyGroup("g", [Plain(1)]), MyBase()], ids=repr
)
def test_remote_error_can_be_pickled_and_copied(error: BaseException) -> None:
    error.add_note("n")
    after = cross(error)
    for again in (pickle.loads(pickle.dumps(after)), copy.copy(after)):
        assert type(again) is type(after)
        assert str(again) == str(after)
        assert again.type_name == after.type_name
        assert again.traceback_text == after.traceback_text
        assert again.__notes__ == ["n"]
        assert again.args == after.args or isinstance(after, ExceptionGroup)


# -- allow= ---------------------------------------------------------------------------------------


def test_allowed_exception_without_running_init() -> None:
    after = cross(raised(TwoArgs(7, why="x")), (TwoArgs,))
    assert type(after) is TwoArgs
    assert (after.code, after.why, str(after)) == (7, "x", "7: x")


def test_allowed_exceptions_of_every_make() -> None:
    slotted = Slotted("a")
    slotted.extra = 3
    assert cross(slotted, (Slotted,)).args == ("a",)
    after = cross(Attrs(1, [2]), (Attrs,))
    assert (type(after), after.code, after.items) == (Attrs, 1, [2])
    made = cross(Dataclass(1), (Dataclass,))
    assert (type(made), made.code) == (Dataclass, 1)
    moved = cross(MyOSError(2, "no", "/f"), (MyOSError,))
    assert (type(moved), moved.errno, moved.filename) == (MyOSError, 2, "/f")
    base = cross(MyBase(3), (MyBase,))
    assert (type(base), base.args) == (MyBase, (3,))
    group = cross(MyGroup("g", [ValueError(1)]), (MyGroup,))
    assert (type(group), group.message, type(group.exceptions[0])) == (MyGroup, "g", ValueError)


class Defaults(Exception):
    code: Any = None

    def method(self) -> int:
        return 1

    @property
    def computed(self) -> int:
        return 2


def hostile(name: str, base: str, args: Any = (), state: Any = (), attributes: Any = ()) -> Any:
    """What a container that does not use our encoder may send."""
    value: Any = (name, base, "text", args, state, attributes, [], None, [])
    return decode_exception(b"".join(encode_value(value)), (Defaults,))


def test_attributes_do_not_replace_what_a_class_defines() -> None:
    sent = ("code", 3, "method", 4, "computed", 5, "args", 6, "with_traceback", 7, "add_note", 8,
            "__class__", 9, "__notes__", [10], "new", 11)  # fmt: skip
    after = hostile(f"{__name__}.Defaults", "Exception", (1,), (), sent)
    assert type(after) is Defaults
    assert (after.code, after.method(), after.computed, after.args) == (3, 1, 2, (1,))
    assert vars(after) == {"code": 3, "new": 11}
    assert after.with_traceback(None) is after


HUGE = 10**14


@pytest.mark.parametrize("attributes", [(), ("end_offset", HUGE)])
@pytest.mark.parametrize("name", ["builtins.SyntaxError", "x.Sub"])
@pytest.mark.parametrize(
    "args",
    [
        ("m", ("f", HUGE, HUGE, "text", HUGE, HUGE)),
        ("m", ("f", 1, 1, "t", 1, HUGE)),
        ("m", ("f", "1", (), 5, [], None)),
        (),
    ],
)
def test_traceback_of_a_hostile_syntax_error_ends(name: str, args: Any, attributes: Any) -> None:
    state = ("offset", 2, "end_offset", HUGE)
    after = hostile(name, "SyntaxError", args, state, attributes)
    assert isinstance(after, SyntaxError)
    assert len("".join(traceback.format_exception(after))) < 40_000


def test_traceback_of_a_hostile_import_error_imports_nothing() -> None:
    after = hostile(
        "builtins.ImportError", "ImportError", ("m",), ("name", "this"), ("name_from", "x")
    )
    "".join(traceback.format_exception(after))
    assert getattr(after, "name_from", None) is None
    assert "this" not in sys.modules


@pytest.mark.parametrize("attributes", [(), ("start", 10**6), ("end", -5), ("object", 3)])
@pytest.mark.parametrize("place", [(0, 1), (10**6, 10**6), (-5, 1), (1, 0)])
def test_positions_of_a_hostile_unicode_error(place: Any, attributes: Any) -> None:
    for name in ("builtins.UnicodeDecodeError", "x.Sub"):
        after = hostile(name, "UnicodeDecodeError", ("u", b"\xff", *place, "r"), (), attributes)
        assert isinstance(after, UnicodeDecodeError)
        str(after)
        if type(after) is UnicodeDecodeError:
            assert (after.start, after.end, after.object) == (0, 1, b"\xff")


# -- groups ---------------------------------------------------------------------------------------


def test_groups_cross_member_by_member() -> None:
    group = ExceptionGroup("g", [ValueError(1), ExceptionGroup("h", [Plain("x"), OSError(2, "n")])])
    after = cross(raised(group))
    assert type(after) is ExceptionGroup
    assert after.message == "g"
    one, inner = after.exceptions
    assert type(one) is ValueError
    assert type(inner) is ExceptionGroup
    assert isinstance(inner.exceptions[0], RemoteError)
    assert isinstance(inner.exceptions[0], ValueError)
    assert type(inner.exceptions[1]) is FileNotFoundError
    assert isinstance(one.__cause__, RemoteTraceback)
    matched, rest = after.split(ValueError)
    assert matched is not None
    assert rest is not None


def test_base_group_becomes_a_group_of_exceptions() -> None:
    after = cross(BaseExceptionGroup("g", [KeyboardInterrupt(), ValueError(1)]))
    assert type(after) is ExceptionGroup
    assert isinstance(after.exceptions[0], RemoteError)
    assert after.exceptions[0].type_name == "builtins.KeyboardInterrupt"


def test_group_of_very_many() -> None:
    after = cross(ExceptionGroup("g", [ValueError(i) for i in range(3000)]))
    assert len(after.exceptions) == 1001
    assert "2000 more" in str(after.exceptions[-1])


def test_groups_in_groups_in_groups() -> None:
    group: Any = ValueError("x")
    for _ in range(100):
        group = ExceptionGroup("g", [group])
    after = cross(group)
    depth = 0
    while isinstance(after, ExceptionGroup):
        after = after.exceptions[0]
        depth += 1
    assert depth == 21
    assert "1 more" in str(after)


# -- the traceback --------------------------------------------------------------------------------


def inner() -> None:
    raise KeyError("in\x1bner")


def outer() -> None:
    try:
        inner()
    except KeyError as error:
        raise ValueError("outer\r\n") from error


def failing() -> None:
    try:
        outer()
    except ValueError:
        raise Plain("last") from OSError("cause")


def caught() -> BaseException:
    try:
        failing()
    except Plain as error:
        error.add_note("note \x07")
        return error
    raise AssertionError


def test_traceback_text() -> None:
    after = cross(caught())
    text = after.traceback_text
    assert str(after.__cause__).strip() == text
    assert "\nbuiltins" not in text
    lines = text.splitlines()
    assert lines[0] == "OSError: cause"
    assert "The above exception was the direct cause of the following exception:" in lines
    assert f"{__name__}.Plain: last" in lines
    assert "note \\x07" in lines
    first = caught.__code__.co_firstlineno
    assert f'  File "{__file__}", line {first + 2}, in caught' in lines


def test_traceback_text_of_a_chain() -> None:
    try:
        outer()
    except ValueError as error:
        text = str(cross(error).__cause__)
    assert "KeyError: 'in\\x1bner'" in text
    assert text.endswith("ValueError: outer\\r")
    assert text.index("KeyError") < text.index("direct cause") < text.index("ValueError")
    assert "\x1b" not in text
    assert "\r" not in text


def test_traceback_text_of_a_context() -> None:
    try:
        try:
            inner()
        except KeyError:
            raise ValueError("second")  # noqa: B904
    except ValueError as error:
        text = str(cross(error).__cause__)
    assert "During handling of the above exception, another exception occurred" in text


def test_traceback_takes_source_only_from_what_is_loaded(tmp_path: Any) -> None:
    path = tmp_path / "named by the container.py"
    path.write_text("raise ValueError('loaded')\n")
    code = compile(path.read_text(), str(path), "exec")
    try:
        exec(code)
    except ValueError as error:
        data = b"".join(encode_exception(error))
    linecache.cache.pop(str(path), None)
    text = str(decode_exception(data).__cause__)
    assert str(path) in text
    assert "raise" not in text
    assert str(path) not in linecache.cache
    linecache.getlines(str(path))
    assert "    raise ValueError('loaded')\n" in str(decode_exception(data).__cause__)


def test_traceback_is_shown_by_python() -> None:
    shown = "".join(traceback.format_exception(cross(caught())))
    assert "RemoteTraceback: \n" in shown
    assert f"RemoteError: {__name__}.Plain: last" in shown


def test_traceback_forged_lines_are_escaped() -> None:
    namespace: dict[str, Any] = {}
    exec(compile("def f():\n raise ValueError(1)", 'x"\nForged', "exec"), namespace)
    try:
        namespace["f"]()
    except ValueError as error:
        text = str(cross(error).__cause__)
    assert "\nForged" not in text
    assert "\\nForged" in text


def test_traceback_of_deep_recursion_is_short() -> None:
    def down(n: int) -> None:
        down(n + 1)

    try:
        down(0)
    except RecursionError as error:
        data = b"".join(encode_exception(error))
        after = decode_exception(data)
    assert type(after) is RecursionError
    assert "frames left out" in str(after.__cause__)
    assert len(data) < 50_000


def test_cycle_of_causes_ends() -> None:
    one, two = ValueError(1), ValueError(2)
    one.__cause__, two.__cause__ = two, one
    assert type(cross(one)) is ValueError


def test_long_chain_is_bounded() -> None:
    error = ValueError(0)
    for i in range(1, 500):
        following = ValueError(i)
        following.__context__ = error
        error = following
    assert str(cross(error).__cause__).count("ValueError") == 20


# -- exceptions that misbehave --------------------------------------------------------------------


class BadStr(Exception):
    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


class ExitingStr(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class NoneStr(Exception):
    def __str__(self) -> str:
        return None  # type: ignore[return-value] # noqa: PLE0307


class BadArgs(Exception):
    args = property(lambda self: 1 / 0)


class BadDict(Exception):
    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        raise RuntimeError


class BadNotes(Exception):
    __notes__ = property(lambda self: 1 / 0)


class BadClass(Exception):
    __class__ = property(lambda self: 1 / 0)


class BadGetattribute(Exception):
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


class BadRepr:
    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    "make",
    [
        BadStr,
        ExitingStr,
        NoneStr,
        BadArgs,
        BadDict,
        BadNotes,
        BadClass,
        BadGetattribute,
        lambda text: Plain(BadRepr()),
        lambda text: Plain(BadStr()),
    ],
)
def test_misbehaving_exceptions_arrive(make: Any) -> None:
    error = make("x")
    after = cross(raised(error))
    assert isinstance(after, RemoteError)
    assert after.type_name == f"{__name__}.{type(error).__name__}"


def test_unprintable_has_a_placeholder() -> None:
    assert "<unprintable" in str(cross(BadStr("x")))
    assert cross(ValueError(BadRepr())).args[0].startswith("<unprintable")


def test_notes_that_are_no_notes() -> None:
    error = ValueError("x")
    error.__notes__ = 5  # type: ignore[assignment]
    assert cross(error).__notes__ == ["5"]
    error.__notes__ = [BadRepr(), "y"]  # type: ignore[list-item]
    assert cross(error).__notes__[1] == "y"


def test_too_large_exceptions_come_in_words() -> None:
    error = ValueError("x" * (10 << 20))
    assert len(b"".join(encode_exception(error, limit=1000))) < 100_000
    after = cross(error, limit=1000)
    assert type(after) is ValueError
    assert "characters" in str(after)
    many = ExceptionGroup("g", [ValueError("y" * 15_000) for _ in range(900)])
    assert "g (900 sub-exceptions)" in str(cross(many, limit=1000))


def test_cyclic_arguments() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert cross(ValueError(loop)).args == ("[[...]]",)

"""Classes that ``allow=`` names cross by name and fields; others never do."""

from __future__ import annotations

import dataclasses
import enum
import pickle
from collections import namedtuple
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import attrs
import pytest

from pycontainer.errors import ResultError
from pycontainer.launch.codec.allow import Data, check_allow
from pycontainer.launch.codec.decode import decode_value
from pycontainer.launch.codec.encode import EncodeError, encode_value


@dataclasses.dataclass
class Point:
    x: Any
    y: Any = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    name: str
    tags: tuple[str, ...] = ()
    size: int = dataclasses.field(init=False, default=0)
    kind: ClassVar[str] = "k"

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", len(self.name))


@dataclasses.dataclass
class Positive:
    n: int

    def __post_init__(self) -> None:
        if self.n <= 0:
            raise ValueError("n must be positive")


@dataclasses.dataclass
class Doubling:
    n: int

    def __post_init__(self) -> None:
        self.n *= 2


@dataclasses.dataclass(init=False)
class NoInit:
    n: int


@dataclasses.dataclass
class Cached:
    n: int

    @cached_property
    def square(self) -> int:
        return self.n**2


@dataclasses.dataclass
class WithInitVar:
    n: int
    seed: dataclasses.InitVar[int]


@dataclasses.dataclass
class Sub(Point):
    z: int = 0


class Undecorated(Point):
    pass


@attrs.define
class Thing:
    _secret: int
    items: list[Any] = attrs.field(factory=list, alias="things")
    late: int = attrs.field(init=False)


@attrs.frozen
class Checked:
    n: int = attrs.field(validator=attrs.validators.instance_of(int))
    text: str = attrs.field(converter=str, default="")


class Row(NamedTuple):
    a: int
    b: str = "x"


Old = namedtuple("Old", "a b")


class Colour(enum.Enum):
    RED = 1
    BLUE = object()


class Level(enum.IntEnum):
    LOW = 1


class Mode(enum.Flag):
    R = 4
    W = 2


class Opaque:
    def __init__(self, n: int) -> None:
        self.n = n

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Opaque) and other.n == self.n

    __hash__ = None  # type: ignore[assignment]


class OpaqueChild(Opaque):
    pass


def encode_opaque(value: Opaque) -> Any:
    return {"n": value.n}


def decode_opaque(data: Any) -> Opaque:
    return Opaque(data["n"])


OPAQUE = Data(Opaque, encode_opaque, decode_opaque)
ALLOW = check_allow(
    [Point, Frozen, Positive, Doubling, NoInit, Cached, Sub, Thing, Checked, Row, Old, Colour,
     Level, Mode, OPAQUE, ValueError]
)  # fmt: skip


def cross(value: Any, allow: Any = ALLOW) -> Any:
    return decode_value(b"".join(encode_value(value, allow)), allow)


def late() -> Thing:
    thing = Thing(1, [2])
    thing.late = 7
    return thing


@pytest.mark.parametrize(
    "value",
    [
        Point(1, [Point("x", None)]),
        Frozen(name="abc", tags=("t",)),
        Sub(1, 2, 3),
        late(),
        Checked(3, "x"),
        Row(1),
        Old(1, Row(2, "y")),
        Colour.RED,
        Colour.BLUE,
        Level.LOW,
        Mode.R | Mode.W,
        Mode(0),
        Opaque(5),
        {Row(1): Colour.RED},
    ],
    ids=lambda v: type(v).__name__,
)
def test_round_trip(value: Any) -> None:
    after = cross(value)
    assert type(after) is type(value)
    assert after == value


def test_enum_members_are_the_same_objects() -> None:
    assert cross(Colour.BLUE) is Colour.BLUE


def test_dataclass_without_init() -> None:
    value = NoInit()
    value.n = 5
    assert cross(value).n == 5


def test_dataclass_init_runs_and_what_was_sent_wins() -> None:
    value = Doubling(1)
    assert value.n == 2
    assert cross(value).n == 2


def test_attrs_field_without_a_value_stays_without() -> None:
    after = cross(Thing(1, []))
    assert after._secret == 1
    assert not hasattr(after, "late")


def test_invariants_hold_against_the_container() -> None:
    value = Positive(1)
    value.n = -1
    with pytest.raises(ResultError, match=r"no .*Positive can be made .*n must be positive"):
        cross(value)


def test_fields_are_checked() -> None:
    for data in (b"mg\x01s\x01zg\x01N", b"mg\x00g\x00", b"N", b"tg\x00", b"mg\x01Ng\x01N"):
        name = f"{__name__}.Point".encode()
        with pytest.raises(ResultError):
            decode_value(b"n" + bytes((len(name),)) + name + data, ALLOW)


def test_cached_property_is_left_behind() -> None:
    value = Cached(3)
    assert value.square == 9
    after = cross(value)
    assert "square" not in vars(after)
    assert after.square == 9


def test_attribute_that_is_no_field_is_refused() -> None:
    value = Point(1)
    value.extra = 1  # type: ignore[attr-defined]
    with pytest.raises(EncodeError, match="attribute 'extra', which is no field"):
        cross([value])


@pytest.mark.parametrize("value", [Undecorated(1), OpaqueChild(1)], ids=["dataclass", "data"])
def test_subclasses_do_not_cross(value: Any) -> None:
    with pytest.raises(EncodeError, match=f"is a .*{type(value).__name__}"):
        cross(value)


def test_path_in_fields() -> None:
    with pytest.raises(EncodeError) as caught:
        cross(Point(1, [object()]))
    assert caught.value.path == "result.y[0]"


def test_exception_as_a_value() -> None:
    (error,) = cross([ValueError("x", object())])
    assert type(error) is ValueError
    assert error.args[0] == "x"
    assert "object at" in error.args[1]


def test_names_are_looked_up_in_allow_alone() -> None:
    data = b"".join(encode_value(Point(1), ALLOW))
    with pytest.raises(ResultError, match=r"Point, which allow= does not name"):
        decode_value(data, (Row,))


def test_entry_is_chosen_by_name() -> None:
    """What cloudpickle sends by value is another class of the same name."""
    twin = dataclasses.make_dataclass("Point", ["x", "y"])
    twin.__module__, twin.__qualname__ = Point.__module__, Point.__qualname__
    data = b"".join(encode_value(twin(1, 2), (twin,)))
    after = decode_value(data, (Point,))
    assert type(after) is Point
    assert after == Point(1, 2)


@pytest.mark.parametrize("value", [99, "x", 1 << 100, None])
def test_enum_hostile(value: Any) -> None:
    for cls in (Colour, Level, Mode):
        name = f"{__name__}.{cls.__name__}".encode()
        data = b"n" + bytes((len(name),)) + name + b"".join(encode_value(value))
        with pytest.raises(ResultError, match="malformed"):
            decode_value(data, ALLOW)


def test_data_functions_that_fail() -> None:
    bad = Data(Opaque, lambda x: x.missing, decode_opaque)
    with pytest.raises(EncodeError, match=r"Opaque whose Data.encode raised AttributeError"):
        cross(Opaque(1), (bad,))
    bad = Data(Opaque, encode_opaque, lambda d: d["missing"])
    with pytest.raises(ResultError, match="KeyError"):
        cross(Opaque(1), (bad,))
    bad = Data(Opaque, encode_opaque, dict)
    with pytest.raises(ResultError, match="decode returned a dict"):
        cross(Opaque(1), (bad,))
    bad = Data(Opaque, lambda x: x, decode_opaque)
    with pytest.raises(EncodeError, match="nested"):
        cross(Opaque(1), (bad,))


def test_data_is_frozen_hashable_picklable() -> None:
    assert pickle.loads(pickle.dumps(OPAQUE)) == OPAQUE
    assert hash(OPAQUE) == hash(Data(Opaque, encode_opaque, decode_opaque))
    assert Data(Opaque, encode_opaque, dict) != OPAQUE
    assert OPAQUE != 1
    with pytest.raises(AttributeError):
        OPAQUE.cls = int
    with pytest.raises(AttributeError):
        del OPAQUE.cls
    assert "Opaque" in repr(OPAQUE)


@pytest.mark.parametrize(
    ("allow", "words"),
    [
        ([int], "builtins.int is no dataclass"),
        ([Opaque], r"give Data\(Opaque, encode, decode\)"),
        ([Undecorated], "Undecorated is no dataclass"),
        (["Point"], "is no class"),
        ([Point(1)], "is no class"),
        ([Point, Point(1), Opaque], "is no class.*; .*Opaque is no dataclass"),
        ([list[int]], "is no class"),
        ([SystemExit], "never crosses"),
        ([KeyboardInterrupt], "never crosses"),
        ([WithInitVar], "takes seed"),
        ([Data("x", encode_opaque, decode_opaque)], "no class"),  # type: ignore[arg-type]
        ([Data(Opaque, 1, decode_opaque)], "must be callable"),  # type: ignore[arg-type]
        ([OPAQUE, Data(Opaque, encode_opaque, dict)], "named twice"),
        (Point, "takes a list"),
        ("Point", "takes a list"),
        (OPAQUE, "takes a list"),
    ],
)
def test_check_allow_refuses(allow: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        check_allow(allow)


def test_check_allow_takes_any_iterable() -> None:
    assert check_allow(x for x in (Point, Row)) == (Point, Row)
    assert check_allow([Point, Point]) == (Point, Point)
    assert check_allow(()) == ()

"""Records and classes of ``allow=`` from plain values that are hostile."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable
from typing import Any

from .allow import calls_init, class_of, fields_of, kind_of
from .wire import MAX_FRACTION_BITS, RECORDS

Builder = Callable[[Any, dict[Any, Any]], Any]


def _class(name: str, cache: dict[Any, Any]) -> Any:
    """The class of a name of ``RECORDS``; its module is imported when it is first needed."""
    cls = cache.get(name)
    if cls is None:
        module, _, attribute = name.partition(".")
        cls = cache[name] = getattr(importlib.import_module(module), attribute)
    return cls


def _want(value: Any, *kinds: type[Any]) -> Any:
    if type(value) not in kinds:
        raise ValueError(f"a {type(value).__name__} in place of a {kinds[0].__name__}")
    return value


def _by_text(name: str, longest: int | None = None) -> Builder:
    def build(value: Any, cache: dict[Any, Any]) -> Any:
        text = _want(value, str)
        if longest is not None and len(text) > longest:
            raise ValueError(f"a text too long for {name}")
        return _class(name, cache)(text)

    return build


def _by_fields(name: str) -> Builder:
    def build(value: Any, cache: dict[Any, Any]) -> Any:
        return _class(name, cache)(**_want(value, dict))

    return build


def _structure(name: str) -> Builder:
    def build(value: Any, cache: dict[Any, Any]) -> Any:
        visible, others = _want(value, tuple)
        return _class(name, cache)(_want(visible, tuple), _want(others, dict))

    return build


def _enum(name: str) -> Builder:
    def build(value: Any, cache: dict[Any, Any]) -> Any:
        cls = _class(name, cache)
        known = cache.get((name, "bits"))
        if known is None:
            known = 0
            for member in cls:
                known |= int(member)
            cache[name, "bits"] = known
        # A flag class would keep a member for every number it ever met.
        if _want(value, int) & ~known:
            raise ValueError(f"no member of {name}")
        return cls(value)

    return build


def _deque(value: Any, cache: dict[Any, Any]) -> Any:
    maxlen, items = _want(value, tuple)
    if maxlen is not None and not len(items) <= _want(maxlen, int):
        raise ValueError("a deque longer than its maxlen")
    return _class("collections.deque", cache)(_want(items, list), maxlen)


def _ordered_dict(value: Any, cache: dict[Any, Any]) -> Any:
    return _class("collections.OrderedDict", cache)(_want(value, dict))


def _counter(value: Any, cache: dict[Any, Any]) -> Any:
    counter = _class("collections.Counter", cache)()
    dict.update(counter, _want(value, dict))
    return counter


def _moment(name: str, numbers: int) -> Builder:
    """*numbers* integers, then a time zone and the fold for a class that has them."""

    def build(value: Any, cache: dict[Any, Any]) -> Any:
        # Counted and typed here, because these classes also take the bytes that pickle writes, and
        # look at them less closely.
        for part in _want(value, tuple)[:numbers]:
            _want(part, int)
        cls = _class(name, cache)
        if len(value) == numbers:
            return cls(*value)
        *parts, fold = value
        if len(parts) != numbers + 1:
            raise ValueError(f"a {name} of too few or too many parts")
        return cls(*parts, fold=fold)

    return build


def _timezone(value: Any, cache: dict[Any, Any]) -> Any:
    return _class("datetime.timezone", cache)(*_want(value, tuple))


def _fraction(value: Any, cache: dict[Any, Any]) -> Any:
    numerator, denominator = _want(value, tuple)
    for part in (numerator, denominator):
        if _want(part, int).bit_length() > MAX_FRACTION_BITS:
            raise ValueError("a fraction too long")
    return _class("fractions.Fraction", cache)(numerator, denominator)


def _uuid(value: Any, cache: dict[Any, Any]) -> Any:
    return _class("uuid.UUID", cache)(bytes=_want(value, bytes))


def _zone(value: Any, cache: dict[Any, Any]) -> Any:
    """A time zone of the caller's own database.

    ``ZoneInfo`` looks for a key that is no file in a package of that name, which would be an import
    chosen by the bytes; so the key must be known to be there.
    """
    zone = cache.get(("zone", _want(value, str)))
    if zone is None:
        zoneinfo = importlib.import_module("zoneinfo")
        parts = value.split("/")
        plain = all(part.strip(".") and part.replace("-", "").isprintable() for part in parts)
        if len(value) > 100 or "\0" in value or not plain:
            raise ValueError("no time zone")
        found = any(os.path.isfile(os.path.join(top, *parts)) for top in zoneinfo.TZPATH)
        if not found and value not in _packaged_zones(zoneinfo, cache):
            raise ValueError(f"the time zone {value} is not known here")
        zone = cache["zone", value] = zoneinfo.ZoneInfo(value)
    return zone


def _packaged_zones(zoneinfo: Any, cache: dict[Any, Any]) -> Any:
    if "zones" not in cache:
        cache["zones"] = zoneinfo.available_timezones()
    return cache["zones"]


BUILDERS: dict[str, Builder] = {
    "collections.deque": _deque,
    "collections.OrderedDict": _ordered_dict,
    "collections.Counter": _counter,
    "datetime.date": _moment("datetime.date", 3),
    "datetime.time": _moment("datetime.time", 4),
    "datetime.datetime": _moment("datetime.datetime", 7),
    "datetime.timedelta": _moment("datetime.timedelta", 3),
    "datetime.timezone": _timezone,
    "zoneinfo.ZoneInfo": _zone,
    "decimal.Decimal": _by_text("decimal.Decimal"),
    "fractions.Fraction": _fraction,
    "uuid.UUID": _uuid,
    "types.SimpleNamespace": _by_fields("types.SimpleNamespace"),
    "subprocess.CompletedProcess": _by_fields("subprocess.CompletedProcess"),
}
for _name in RECORDS:
    if _name in BUILDERS:
        continue
    if _name.startswith("pathlib."):
        BUILDERS[_name] = _by_text(_name)
    elif _name.startswith("ipaddress."):
        BUILDERS[_name] = _by_text(_name, 200)
    elif _name.startswith(("signal.", "socket.")):
        BUILDERS[_name] = _enum(_name)
    else:
        BUILDERS[_name] = _structure(_name)


def builder_for(entry: Any, allow: Iterable[Any]) -> Callable[[Any], Any]:
    """A function from the fields that were received to an instance of the class of *entry*.

    A dataclass or attrs class is called with the fields that its ``__init__`` takes, so that its
    own checks see them; fields that then differ from what was sent are set to what was sent.
    """
    cls = class_of(entry)
    kind = kind_of(entry)
    if kind == "data":

        def build_data(value: Any) -> Any:
            made = entry.decode(value)
            if not isinstance(made, cls):
                raise TypeError(f"Data.decode returned a {type(made).__name__}")
            return made

        return build_data
    if kind == "namedtuple":
        return lambda value: cls(*_want(value, tuple))
    if kind == "enum":
        return lambda value: cls[_want(value, str)]
    if kind == "flag":
        return lambda value: _flag(cls, value)
    if kind == "exception":
        from .raised import exception_of

        return lambda value: exception_of(value, allow)
    fields = fields_of(cls)
    initialised = calls_init(cls)

    def build(value: Any) -> Any:
        for name in _want(value, dict):
            if name not in fields:
                raise ValueError(f"it has no field {name!r}")
        arguments = {
            argument: value[name]
            for name, argument in fields.items()
            if argument is not None and name in value
        }
        made = cls(**arguments) if initialised else cls.__new__(cls)
        for name, sent in value.items():
            if getattr(made, name, value) is not sent:
                object.__setattr__(made, name, sent)
        return made

    return build


def _flag(cls: Any, value: Any) -> Any:
    if _want(value, int).bit_length() > 64:
        raise ValueError("a flag of too many bits")
    made = cls(value)
    if made.value != value:  # a class may drop bits that it does not know
        raise ValueError("a flag of unknown bits")
    return made

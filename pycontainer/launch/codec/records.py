"""What the well-known types of the standard library are made of, as plain values.

Imported by the helper that runs in the container: nothing here imports the types it speaks of.
"""

from __future__ import annotations

import sys

from .allow import kind_of, type_name
from .wire import MAX_FRACTION_BITS, RECORDS, EncodeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def _moment(x: Any) -> tuple[Any, ...]:
    return x.hour, x.minute, x.second, x.microsecond, x.tzinfo, x.fold


def _fraction(x: Any) -> tuple[int, int]:
    n, d = x.numerator, x.denominator
    if max(n.bit_length(), d.bit_length()) > MAX_FRACTION_BITS:
        raise EncodeError(
            f"is a fractions.Fraction of more than {MAX_FRACTION_BITS} bits",
            "return its numerator and denominator",
        )
    return n, d


def _zone(x: Any) -> str:
    try:
        x.__reduce__()  # refuses a zone that was read from a file object
    except Exception:
        raise EncodeError("is a zoneinfo.ZoneInfo that came from a file, not by its key") from None
    return str(x.key)


def _structure(x: Any) -> tuple[Any, ...]:
    # For a structure sequence: (the visible fields, a dict of the others).
    fields: tuple[Any, ...] = x.__reduce__()[1]
    return fields


# A type that is missing here is a dict.
FIELDS: dict[str, Callable[[Any], Any]] = {
    "collections.deque": lambda x: (x.maxlen, list(x)),
    "datetime.date": lambda x: (x.year, x.month, x.day),
    "datetime.time": _moment,
    "datetime.datetime": lambda x: (x.year, x.month, x.day, *_moment(x)),
    "datetime.timedelta": lambda x: (x.days, x.seconds, x.microseconds),
    "datetime.timezone": lambda x: x.__getinitargs__(),
    "zoneinfo.ZoneInfo": _zone,
    "decimal.Decimal": str,
    "fractions.Fraction": _fraction,
    "uuid.UUID": lambda x: x.bytes,
    "os.stat_result": _structure,
    "os.uname_result": _structure,
    "os.terminal_size": _structure,
    "time.struct_time": _structure,
    "pwd.struct_passwd": _structure,
    "grp.struct_group": _structure,
    "resource.struct_rusage": _structure,
}
FIELDS.update((name, str) for name in RECORDS if name.startswith(("pathlib.", "ipaddress.")))
FIELDS.update((name, int) for name in RECORDS if name.startswith(("signal.", "socket.")))

RECORDS_OF_FIELDS = ("types.SimpleNamespace", "subprocess.CompletedProcess")

# A type's own idea of its name → its public name.
PUBLIC_NAMES: dict[tuple[str, str], str] = {
    (module, attribute): name for name in RECORDS for module, _, attribute in (name.partition("."),)
}
PUBLIC_NAMES["posix", "uname_result"] = "os.uname_result"
for _path in ("PurePosixPath", "PureWindowsPath", "PosixPath"):
    PUBLIC_NAMES["pathlib._local", _path] = f"pathlib.{_path}"  # Python 3.13

_LISTED = ("dict_keys", "dict_values", "dict_items")


def hint_for(cls: type[Any]) -> str:
    """What the author of a function may do about a result of a type that does not cross."""
    name = cls.__name__
    if name in _LISTED or hasattr(cls, "__next__"):
        return "return list(...) of it"
    if name == "memoryview":
        return "return bytes(...) of it"
    if cls in (type(hint_for), type(len), type(sys), type):
        return "results are data; code and modules do not cross"
    kind = kind_of(cls)
    if kind == "dataclass":
        return f"pass allow=[{name}], or return dataclasses.asdict(...)"
    if kind == "attrs":
        return f"pass allow=[{name}], or return attrs.asdict(...)"
    if kind is not None:
        return f"pass allow=[{name}]"
    for base in cls.__mro__[1:-1]:
        known = (base.__module__, base.__qualname__) in PUBLIC_NAMES
        if known or (base.__module__ == "builtins" and base in _PLAIN):
            shown = type_name(base).removeprefix("builtins.")
            return (
                f"only exact types cross; return {shown}(...), "
                f"or pass allow=[Data({name}, encode, decode)]"
            )
    return f"return plain data, or pass allow=[Data({name}, encode, decode)]"


_PLAIN = (int, float, complex, str, bytes, bytearray, list, tuple, set, frozenset, dict)

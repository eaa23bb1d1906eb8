"""The bytes that values cross in: tags, limits and names that both sides share.

A value is one tag byte and a body.  Lengths are one byte below 255, else 255 and eight bytes.
Numbers are little endian.  A sequence is a length and its items, or a *block* when all items are of
one type: numbers side by side, or the lengths of strings and their joined text.  Every other type
is a *record*: its place in ``RECORDS`` (or, for a class named in ``allow=``, its name) and a value
made of the types above.

Imported by the helper that runs in the container, so this module imports nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULT_LIMIT = 256 << 20  # bytes; the default of max_result
MAX_DEPTH = 200  # containers in containers; both sides spend two Python frames on each
INLINE = 64 << 10  # bytes; what is longer travels in a memfd
LARGE = 16 << 10  # bytes; shorter buffers are cheaper to copy than to hand on
ALIGNMENT = 64  # bytes; a cache line, and what vector instructions ask of an array at most

NONE, TRUE, FALSE, ELLIPSIS, NOT_IMPLEMENTED = b"NTFEX"
BYTE, INT, LONG, FLOAT, COMPLEX, STR, BYTES, BYTEARRAY, RANGE, SLICE = b"bizdcsyaRS"
LIST, TUPLE, SET, FROZENSET, DICT = b"ltefm"
ARRAY, SCALAR, RECORD, NAMED = b"ACrn"
ITEMS, INTS, FLOATS, TEXTS = b"gIDU"

# The place in this list is what the wire carries: both sides are always one installation.
RECORDS = (
    "collections.deque",
    "collections.OrderedDict",
    "collections.Counter",
    "datetime.date",
    "datetime.time",
    "datetime.datetime",
    "datetime.timedelta",
    "datetime.timezone",
    "zoneinfo.ZoneInfo",
    "decimal.Decimal",
    "fractions.Fraction",
    "uuid.UUID",
    "pathlib.PurePosixPath",
    "pathlib.PureWindowsPath",
    "pathlib.PosixPath",
    "ipaddress.IPv4Address",
    "ipaddress.IPv6Address",
    "ipaddress.IPv4Interface",
    "ipaddress.IPv6Interface",
    "ipaddress.IPv4Network",
    "ipaddress.IPv6Network",
    "types.SimpleNamespace",
    "os.stat_result",
    "os.uname_result",
    "os.terminal_size",
    "time.struct_time",
    "pwd.struct_passwd",
    "grp.struct_group",
    "resource.struct_rusage",
    "subprocess.CompletedProcess",
    "signal.Signals",
    "signal.Handlers",
    "signal.Sigmasks",
    "socket.AddressFamily",
    "socket.SocketKind",
    "socket.MsgFlag",
    "socket.AddressInfo",
)

# An exception may take this much even if max_result is smaller.
EXCEPTION_ROOM = 4 << 20  # bytes
MAX_TEXT = 16_384  # characters of a message or note of an exception; the rest is left out
MAX_CHAIN = 20  # causes of causes in one traceback
MAX_FRAMES = 101  # in one traceback

# Fraction(n, d) takes the greatest common divisor, whose cost grows with the square of the length.
MAX_FRACTION_BITS = 1 << 16

# What the constructors of the built-in exceptions do not take, or what may be set afterwards.
EXCEPTION_STATE = {
    "OSError": ("errno", "strerror", "filename", "filename2"),
    "BlockingIOError": ("characters_written",),
    "ImportError": ("msg", "name", "path"),
    "NameError": ("name",),
    "AttributeError": ("name",),
    "SyntaxError": (
        "msg",
        "filename",
        "lineno",
        "offset",
        "text",
        "end_lineno",
        "end_offset",
        "print_file_and_line",
    ),
}


class EncodeError(Exception):
    """A value does not cross.

    Attributes:
        path: where it sits, such as ``result[0]['when']``.
        reason: what it is, such as ``is a __main__.Point``.
        hint: what to do about it, or "".
    """

    def __init__(self, reason: str, hint: str = "", path: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint
        self.path = path
        # Filled from the inside out while the error passes the containers: each container with the
        # step from it to the value.
        self.trail: list[tuple[object, Any]] = []

    def __str__(self) -> str:
        return f"{self.path} {self.reason}".lstrip()


def size_text(size: int) -> str:
    """*size* bytes in words."""
    if size < 10_000:
        return f"{size} bytes"
    if size < 10_000 << 10:
        return f"{size / 1024:.1f} KiB"
    return f"{size / (1 << 20):.1f} MiB"

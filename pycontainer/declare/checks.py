"""How the declared classes look at their fields: conversions that never raise, and the problems
that are collected and raised together.

A converter leaves what it cannot read as it is; the check that follows names it.  That is how one
``ValueError`` can list every bad field.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, TypeAlias, TypeGuard

__all__ = ["ID_MAX", "StrPath"]

StrPath: TypeAlias = "str | os.PathLike[str]"

ID_MAX = 2**32 - 2
"""The largest user or group id: 2**32 - 1 is (uid_t)-1, "leave unchanged" in setresuid(2)."""

Problems: TypeAlias = "list[str]"


def refuse(what: str, problems: Problems) -> None:
    """Raise a ValueError that lists *problems*, a line each, if there are any."""
    if not problems:
        return
    if len(problems) == 1:
        raise ValueError(f"{what}: {problems[0]}")
    raise ValueError(f"{what}: {len(problems)} problems\n  " + "\n  ".join(problems))


def nearest(name: str, known: Iterable[str]) -> str:
    """'; did you mean X?' for the known name that looks most like *name*, else nothing."""
    import difflib  # only a mistake pays for it

    found = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


def text_of(path: StrPath) -> str:
    """*path* as a str where it is one, unchanged where it is not."""
    try:
        return os.fspath(path)
    except TypeError:
        return path  # type: ignore[return-value]


def host_path(path: StrPath) -> str:
    """*path* made absolute against the current directory of this moment."""
    text = text_of(path)
    if isinstance(text, str) and text:
        return os.path.abspath(text)
    return text


def guest_path(path: StrPath) -> str:
    """*path* without doubled slashes, "." and a slash at its end; ".." stays, to be refused."""
    text = text_of(path)
    if not isinstance(text, str) or text[:1] != "/":
        return text
    if "//" not in text and "/." not in text and text[-1] != "/":
        return text
    return "/" + "/".join(part for part in text.split("/") if part not in ("", "."))


def parents(path: str) -> Iterable[str]:
    """The directories above *path*, from the nearest to "/"."""
    while path != "/":
        path = path[: path.rindex("/")] or "/"
        yield path


def is_below(path: str, directory: str) -> bool:
    """Whether *path* is *directory* or below it; both are absolute, without "." and ".."."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def check_text(problems: Problems, field: str, text: Any) -> bool:
    """Whether *text* can be handed to the kernel: a str, not empty, without NUL, encodable."""
    if not isinstance(text, str):
        hint = " (os.fsdecode() makes it one)" if isinstance(text, bytes) else ""
        problems.append(f"{field} must be a str or a path, not {type(text).__name__}{hint}")
    elif not text:
        problems.append(f"{field} is empty")
    elif "\0" in text:
        problems.append(f"{field} {text!r} contains a NUL character")
    elif not encodable(text):
        problems.append(f"{field} {text!r} cannot be encoded for the file system")
    else:
        return True
    return False


def check_guest_path(problems: Problems, field: str, path: Any) -> bool:
    """Whether *path* names a place in the container: absolute, without ".."."""
    if not check_text(problems, field, path):
        return False
    if path[0] != "/":
        problems.append(f"{field} {path!r} is relative; a place in the container starts with '/'")
    elif "/.." in path and ".." in path.split("/"):
        problems.append(f"{field} {path!r} contains '..'")
    else:
        return True
    return False


def check_mode(problems: Problems, field: str, mode: Any, most: int) -> None:
    """*mode* must be permission bits: an int of at most *most*."""
    if not is_int(mode):
        problems.append(f"{field} must be an int such as 0o755, not {mode!r}")
    elif not 0 <= mode <= most:
        problems.append(f"{field} {mode:#o} is outside 0 to {most:#o}")


def check_size(problems: Problems, field: str, size: Any) -> None:
    """*size* must be a tmpfs size: bytes, with a suffix of k, m, g, t, p or e, or a percentage.

    The syntax is that of shmem_parse_one() in the kernel's mm/shmem.c, less 0, which means
    "without a bound" there.
    """
    number, percent = size, False
    if isinstance(size, str) and size[-1:] in tuple("%kKmMgGtTpPeE"):
        number, percent = size[:-1], size[-1] == "%"
    if (
        not isinstance(number, str)
        or not (number.isascii() and number.isdigit())
        or int(number) == 0
        or (percent and int(number) > 100)
    ):
        problems.append(f"{field} {size!r} is no size; use bytes, '64m', '1g' or '10%'")


def check_flag(problems: Problems, field: str, value: Any) -> None:
    """*value* must be True or False."""
    if value is not True and value is not False:
        problems.append(f"{field} must be True or False, not {value!r}")


def is_int(value: Any) -> TypeGuard[int]:
    """Whether *value* is an int and no bool: ``True`` is never meant as a number here."""
    return isinstance(value, int) and not isinstance(value, bool)


def encodable(text: str) -> bool:
    """Whether *text* has bytes in the file system's encoding."""
    if text.isascii():
        return True
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True

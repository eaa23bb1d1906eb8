"""Command lines: what is given, in its order.

Importing click takes a quarter of the time that ``pycontainer run /bin/true`` takes in all, so the
usual command line is read here, from the same table of options.  Whatever is not plain (help, a
name that is not known, a missing argument) is click's to read and to word.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .option import Option

__all__ = ["MisuseError", "Parsed", "names_of", "parse", "whole"]

Parsed = tuple[list[tuple[str, tuple[str, ...]]], list[str]]
"""Options by their first name with their arguments, in order; and the command."""


class MisuseError(Exception):
    """The command line is wrong.  ``str()`` says how; the notes, what to do."""


def names_of(options: Iterable[Option]) -> dict[str, Option]:
    """Every name of every option."""
    return {name: option for option in options for name in option.names}


def parse(
    options: Sequence[Option], arguments: list[str], *, interspersed: bool = False
) -> Parsed | None:
    """Read *arguments*; None where that is not simple.

    What ``--args`` gives is put into *arguments* in its place, as it can be read once only.

    Arguments:
        interspersed: options may stand behind other words; else the first word begins the command.

    Raises:
        MisuseError: ``--args`` does not name a descriptor that can be read.
    """
    names = names_of(options)
    given: list[tuple[str, tuple[str, ...]]] = []
    rest: list[str] = []
    at = 0
    while at < len(arguments):
        word = arguments[at]
        if word == "--":
            return given, rest + arguments[at + 1 :]
        if word == "-" or not word.startswith("-"):
            if not interspersed:
                break
            rest.append(word)
            at += 1
            continue
        if word == "--args" and word in names and at + 1 < len(arguments):
            arguments[at : at + 2] = _read_arguments(arguments[at + 1])
            continue
        option = names.get(word)
        if option is not None:
            end = at + 1 + len(option.takes)
            if end > len(arguments):
                return None
            given.append((option.names[0], tuple(arguments[at + 1 : end])))
            at = end
            continue
        name, equals, value = word.partition("=")
        option = names.get(name)
        if equals and name.startswith("--") and option is not None and len(option.takes) == 1:
            given.append((option.names[0], (value,)))
        elif not word.startswith("--") and all(
            letter in names and not names[letter].takes for letter in map("-{}".format, word[1:])
        ):
            given += [(names[f"-{letter}"].names[0], ()) for letter in word[1:]]  # -it
        else:
            return None
        at += 1
    return given, rest + arguments[at:]


def _read_arguments(fd: str) -> list[str]:
    data = read_descriptor(fd, "--args")
    words = data.split(b"\0")
    if words and not words[-1]:
        words.pop()
    return [os.fsdecode(word) for word in words]


def read_descriptor(fd: str, option: str) -> bytes:
    """All that is in a descriptor of ours.

    Raises:
        MisuseError: it is no number, or cannot be read.
    """
    if not (fd.isascii() and fd.isdigit()):
        raise MisuseError(f"{option} takes the number of a descriptor, not {fd!r}")
    try:
        with open(int(fd), "rb") as file:
            return file.read()
    except OSError as error:
        raise MisuseError(f"{option} {fd}: {error.strerror}") from None


def whole(option: str, text: str) -> int:
    """The whole number that *option* takes.

    Raises:
        MisuseError: it is none.
    """
    if not (text.isascii() and text.isdigit()):
        raise MisuseError(f"{option} takes a whole number, not {text!r}")
    return int(text)

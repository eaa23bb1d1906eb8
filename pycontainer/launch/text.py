"""Text mode: what goes to a program and comes from it as str, as ``subprocess`` has it."""

from __future__ import annotations

import io
from typing import IO, Any, NamedTuple

__all__ = ["Text"]


class Text(NamedTuple):
    """How bytes become text.

    Attributes:
        encoding: the codec's name.
        errors: what is done with bytes that are none ("strict", "replace", ...).
    """

    encoding: str
    errors: str = "strict"

    @classmethod
    def of(cls, text: bool, encoding: str | None, errors: str | None) -> Text | None:
        """From the keywords of ``subprocess``; None is binary mode.

        Raises:
            LookupError: there is no such encoding.
        """
        if not text and encoding is None and errors is None:
            return None
        import locale

        made = cls(encoding or locale.getencoding(), errors or "strict")
        "".encode(made.encoding)  # now, and not when the program has ended
        return made

    def open(self, binary: IO[bytes], write: bool) -> IO[str]:
        """The text file over *binary*, raw or buffered; one that is written is flushed by lines."""
        if write:
            # A raw file may write a part, which a text file would not notice.
            buffered: Any = io.BufferedWriter(binary)
            return io.TextIOWrapper(buffered, self.encoding, self.errors, line_buffering=True)
        return io.TextIOWrapper(binary, self.encoding, self.errors)

    def encode(self, text: Any) -> bytes:
        """What is sent for *text*."""
        if not isinstance(text, str):
            raise TypeError(f"in text mode input is a str, not a {type(text).__name__}")
        return text.encode(self.encoding, self.errors)

    def decode(self, data: bytes | None) -> str | None:
        """What *data* reads as, its line ends those of Python."""
        if data is None:
            return None
        return data.decode(self.encoding, self.errors).replace("\r\n", "\n").replace("\r", "\n")

"""What the options for limits come to."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from ..declare.limits import Limits
from .parse import MisuseError, whole

__all__ = ["Bounds"]


class Bounds:
    """Limits that a command line gives, option by option.

    Attributes:
        given: fields of ``Limits``.
    """

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}

    def limits(self, base: Limits | None) -> Limits:
        """*base* with what is given.

        Raises:
            ValueError: it makes no sense.
        """
        return Limits(**self.given) if base is None else evolve(base, **self.given)

    def limit(self, name: str, value: Any) -> None:
        """Anything that ``Limits`` takes itself."""
        self.given[name] = value

    def quantity(self, name: str, option: str, text: str) -> None:
        """A number with or without a fraction."""
        try:
            self.given[name] = float(text)
        except ValueError:
            raise MisuseError(f"{option} takes a number, not {text!r}") from None

    def count(self, name: str, option: str, text: str) -> None:
        """A whole number."""
        self.given[name] = whole(option, text)

    def processors(self, text: str) -> None:
        """Of --cpuset-cpus: "0-2,4"."""
        numbers: set[int] = set()
        for part in text.split(","):
            first, dash, last = part.partition("-")
            start = whole("--cpuset-cpus", first)
            end = whole("--cpuset-cpus", last) if dash else start
            if end < start or end - start > 1 << 16:
                raise MisuseError(f"--cpuset-cpus: {part!r} is no range of processors")
            numbers.update(range(start, end + 1))
        self.given["cpu_affinity"] = numbers

    def resource(self, text: str) -> None:
        """Of --ulimit: "nofile=64" or "nofile=64:128"."""
        name, _, value = text.partition("=")
        value = value.rpartition(":")[2]  # soft:hard; what may be raised again is no limit
        if name == "stack":
            self.limit("stack", "unlimited" if value in ("-1", "unlimited") else value)
        elif name == "fsize":
            self.limit("file_size", value)
        elif name in ("nofile", "nproc"):
            self.count("open_files" if name == "nofile" else "processes", "--ulimit", value)
        elif name == "cpu":
            self.quantity("cpu_time", "--ulimit", value)
        else:
            raise MisuseError(f"--ulimit takes cpu, fsize, nofile, nproc or stack, not {name!r}")

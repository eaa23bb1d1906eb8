"""The members of a JSON object, each taken once, so that what is left over can be reported."""

from __future__ import annotations

from typing import Any

__all__ = ["Fields", "lines_of"]


class Fields:
    """An object of a config.json.

    Arguments:
        where: its JSON path, for the problems; "" for the whole.
        given: what is there; something else than an object is a problem and reads as empty.
    """

    def __init__(self, problems: list[str], where: str, given: Any) -> None:
        self.where = where
        self._problems = problems
        self._left: dict[str, Any] = {}
        if isinstance(given, dict):
            self._left = dict(given)
        elif given is not None:
            problems.append(f"{where or 'config.json'}: must be an object, not {given!r}")

    def path(self, name: str) -> str:
        """The JSON path of a member."""
        return f"{self.where}.{name}" if self.where else name

    def take(self, name: str, kind: type, default: Any) -> Any:
        """A member of a type; *default* if it is absent, null or of another."""
        value = self._left.pop(name, None)
        if value is None:
            return default
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            words = {dict: "an object", list: "an array", str: "a string", int: "an integer"}
            wanted = words.get(kind, "true or false")
            self._problems.append(f"{self.path(name)}: must be {wanted}, not {value!r}")
            return default
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A member that is an array of strings."""
        found = []
        for number, text in enumerate(self.take(name, list, [])):
            if isinstance(text, str):
                found.append(text)
            else:
                self._problems.append(f"{self.path(name)}[{number}]: must be a string")
        return tuple(found)

    def section(self, name: str) -> Fields:
        """A member that is an object, empty if it is absent."""
        return Fields(self._problems, self.path(name), self._left.pop(name, None))

    def finish(self) -> None:
        """Report what has not been taken, element by element where it is an array."""
        for name, value in self._left.items():
            if value is None or value == [] or value == {}:
                continue
            if isinstance(value, list):
                self._problems += [
                    f"{self.path(name)}[{number}]: not supported" for number in range(len(value))
                ]
            elif isinstance(value, dict):
                before = len(self._problems)
                Fields(self._problems, self.path(name), value).finish()
                if len(self._problems) == before:  # empty members, which may mean something
                    self._problems.append(f"{self.path(name)}: not supported")
            else:
                self._problems.append(f"{self.path(name)}: not supported")
        self._left = {}


def lines_of(error: ValueError) -> list[str]:
    """The single problems of an error of ``refuse()``."""
    first, *rest = str(error).splitlines()
    return [line.strip() for line in rest] or [first]

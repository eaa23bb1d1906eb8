"""A container as the Python that makes it: to be read, reviewed and kept in a file."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import attrs

from ..declare import filters, untrusted
from ..declare.capabilities import ALL, CAPABILITIES
from ..declare.container import Container, Environment
from ..declare.entries import Directory, File, Symlink
from ..declare.filters import SeccompFilter, SyscallArgument
from ..declare.limits import Limits
from ..declare.mounts import Mount, Overlay
from ..declare.namespaces import NAMESPACES

__all__ = ["literal", "spell"]

_FILTERS = {
    "UNTRUSTED": untrusted.UNTRUSTED,
    **{name: getattr(filters, name) for name in filters.__all__ if name.startswith("NO_")},
}


def spell(container: Container) -> tuple[str, frozenset[str]]:
    """An expression that makes *container*, and the names of ``pycontainer`` that it uses.

    What is as by default is left out.  Paths are absolute in it, as they are in *container*.
    """
    names: set[str] = set()
    return _Speller(names).container(container), frozenset(names)


class _Speller:
    def __init__(self, names: set[str]) -> None:
        self._names = names

    def _call(self, name: str, *arguments: str) -> str:
        self._names.add(name)
        return f"{name}({', '.join(argument for argument in arguments if argument)})"

    def container(self, container: Container) -> str:
        self._names.add("Container")
        lines = [f"        {self._item(item)},\n" for item in container.mounts]
        text = "    [\n" + "".join(lines) + "    ],\n" if lines else ""
        for name, value in _changed(container, skip=("mounts",)):
            text += f"    {name}={self._field(name, value)},\n"
        return f"Container(\n{text})" if text else "Container()"

    def _field(self, name: str, value: Any) -> str:
        if name == "namespaces" and len(value) > 3:
            self._names.add("NAMESPACES")
            return f"NAMESPACES - {_set(NAMESPACES - value)}"
        if name == "capabilities" and value != ALL and value == frozenset(CAPABILITIES):
            return repr(ALL)
        if isinstance(value, Environment):
            inside = "".join(f"        {literal(key)}: {literal(value[key])},\n" for key in value)
            return "{\n" + inside + "    }"
        if isinstance(value, Limits):
            self._names.add("Limits")
            inside = "".join(f"        {keyword},\n" for keyword in self._keywords(value))
            return f"Limits(\n{inside}    )"
        if isinstance(value, SeccompFilter):
            return self._filter(value)
        return _plain(value)

    def _keywords(self, record: Any, skip: tuple[str, ...] = ()) -> list[str]:
        return [f"{name}={_plain(value)}" for name, value in _changed(record, skip)]

    # ---- mounts and entries

    def _item(self, item: Any) -> str:
        if isinstance(item, Directory):
            return self._call("directory", literal(item.path), _mode(item.mode, 0o755))
        if isinstance(item, File):
            content = item.content.decode("utf-8", "surrogateescape")
            whole = content.encode("utf-8", "surrogateescape") == item.content
            spelt = literal(content) if whole and content.isprintable() else repr(item.content)
            return self._call("file", literal(item.path), spelt, _mode(item.mode, 0o644))
        if isinstance(item, Symlink):
            return self._call("symlink", literal(item.path), literal(item.to))
        if isinstance(item, Overlay):
            lower = literal(item.lower[0]) if len(item.lower) == 1 else _plain(list(item.lower))
            keywords = self._keywords(item, ("target", "lower"))
            return self._call("overlay", lower, literal(item.target), *keywords)
        assert isinstance(item, Mount)
        return self._mount(item)

    def _mount(self, mount: Mount) -> str:
        fields = dict(_changed(mount, ("target", "type", "source")))
        if mount.type == "bind" and mount.source is not None and not fields.keys() - _OF_BIND:
            target = "" if mount.target == mount.source else literal(mount.target)
            keywords = (f"{name}={_plain(value)}" for name, value in fields.items())
            return self._call("bind", literal(mount.source), target, *keywords)
        if mount.type == "tmpfs" and fields.keys() == {"options"} and len(mount.options) == 2:
            (size, bytes_), (mode, octal) = (option.split("=") for option in mount.options)
            if (size, mode) == ("size", "mode"):
                wanted = "" if bytes_ == "10%" else f"size={literal(bytes_)}"
                mode = _mode(int(octal, 8), 0o755)
                return self._call("tmpfs", literal(mount.target), wanted, mode and f"mode={mode}")
        source = "" if mount.source is None else literal(mount.source)
        keywords = (f"{name}={_plain(value)}" for name, value in fields.items())
        return self._call("Mount", literal(mount.target), literal(mount.type), source, *keywords)

    # ---- filters

    def _filter(self, wanted: SeccompFilter) -> str:
        """By the names of ready ones where they make it up; else rule by rule."""
        for count in range(1, 4):
            for chosen in permutations(_FILTERS, count):
                made = _FILTERS[chosen[0]]
                for name in chosen[1:]:
                    made = made | _FILTERS[name]
                if made == wanted:
                    self._names.update(chosen)
                    return " | ".join(chosen)
        rules = ", ".join(
            f"{literal(name)}: {self._rule(rule)}" for name, rule in wanted.rules.items()
        )
        also = ", ".join(self._filter(one) + "," for one in wanted.also)
        return self._call(
            "SeccompFilter",
            _plain(wanted.default),
            f"{{{rules}}}",
            also and f"also=({also})",
            "other_abis=True" if wanted.other_abis else "",
        )

    def _rule(self, rule: Any) -> str:
        if not isinstance(rule, tuple):
            return _plain(rule)
        cases = []
        for conditions, action in rule:
            spelt = ", ".join(self._condition(one) for one in conditions)
            cases.append(f"(({spelt}{',' if len(conditions) == 1 else ''}), {_plain(action)})")
        return f"[{', '.join(cases)}]"

    def _condition(self, one: SyscallArgument) -> str:
        keywords = self._keywords(one, ("index", "comparison", "value"))
        return self._call(
            "SyscallArgument", str(one.index), literal(one.comparison), f"{one.value:#x}", *keywords
        )


_OF_BIND = {"writable", "recursive", "optional", "nosuid", "nodev", "noexec"}


def _changed(record: Any, skip: tuple[str, ...] = ()) -> list[tuple[str, Any]]:
    """The fields that are not as by default."""
    found = []
    for field in attrs.fields(type(record)):
        value = getattr(record, field.name)
        default = field.default
        if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
            assert default is not None
            default = default.factory(record) if default.takes_self else default.factory()
        if field.name not in skip and value != default:
            found.append((field.name, value))
    return found


def _mode(mode: int, usual: int) -> str:
    return "" if mode == usual else f"0o{mode:o}"


def _set(names: frozenset[str]) -> str:
    return f"{{{', '.join(map(literal, sorted(names)))}}}" if names else "frozenset()"


def literal(text: str) -> str:
    """A literal in double quotes, as the rest of it has them."""
    spelt = repr(text)
    return f'"{spelt[1:-1]}"' if spelt[0] == "'" and '"' not in text else spelt


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return literal(value)
    if isinstance(value, frozenset):
        if all(isinstance(one, str) for one in value):
            return _set(value)
        return f"{{{', '.join(map(repr, sorted(value)))}}}"
    if isinstance(value, (tuple, list)):
        inside = ", ".join(map(_plain, value))
        if isinstance(value, list):
            return f"[{inside}]"
        return f"({inside}{',' if len(value) == 1 else ''})"
    return repr(value)

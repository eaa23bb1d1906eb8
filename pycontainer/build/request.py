"""A build as data: ``BuildRequest``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from attrs import field, frozen

from ..declare.checks import Problems, StrPath, check_text, encodable, host_path, refuse, text_of
from .constraints import (
    AvailableReadOnlyPath,
    Constraint,
    MinMemory,
    NetworkAccess,
    ProvideBinSh,
    System,
)

__all__ = ["BuildRequest", "SortedMap", "below"]

V = TypeVar("V")

_KINDS = (System, MinMemory, AvailableReadOnlyPath, NetworkAccess, ProvideBinSh)
_ONCE = (System, MinMemory)
_KERNELS = ("proc", "sys", "dev")  # what the kernel shows there is no place for files


class SortedMap(Mapping[str, V]):
    """An immutable, hashable mapping in the order of its names (as bytes)."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, V] | Iterable[tuple[str, V]] = ()) -> None:
        pairs = dict(items)
        # A name that is no str is kept for the check to name it.
        self._items: dict[str, V] = dict(sorted(pairs.items(), key=lambda pair: _order(pair[0])))

    def __getitem__(self, name: str) -> V:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(tuple(self._items.items()))

    def __repr__(self) -> str:
        return repr(self._items)

    def __reduce__(self) -> tuple[Any, ...]:
        return SortedMap, (self._items,)


def _order(name: Any) -> bytes:
    return os.fsencode(name) if isinstance(name, str) and encodable(name) else repr(name).encode()


def _map_of(items: Any, convert: Callable[[Any], Any]) -> Any:
    """A mapping, or pairs, with values converted.  What is neither is left for the check."""
    try:
        pairs = list(items.items() if isinstance(items, Mapping) else items)
        names = [_text_of(name) for name, _ in pairs]
        if len(set(names)) < len(names):
            return items  # the check names the double
        return SortedMap(
            [(name, convert(value)) for name, (_, value) in zip(names, pairs, strict=True)]
        )
    except (TypeError, ValueError):
        return items


def _paths_of(inputs: Mapping[str, StrPath] | Iterable[tuple[str, StrPath]]) -> Mapping[str, str]:
    made: Mapping[str, str] = _map_of(inputs, lambda path: host_path(_text_of(path)))
    return made


def _contents_of(
    items: Mapping[str, bytes | str] | Iterable[tuple[str, bytes | str]],
) -> Mapping[str, bytes]:
    made: Mapping[str, bytes] = _map_of(items, _bytes_of)
    return made


def _text_of(text: Any) -> Any:
    return os.fsdecode(text) if isinstance(text, bytes) else text_of(text)


def _bytes_of(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    return bytes(value) if isinstance(value, (bytearray, memoryview)) else value


def _texts_of(texts: Iterable[StrPath | bytes]) -> tuple[str, ...]:
    if isinstance(texts, (str, bytes, os.PathLike)):
        return texts  # type: ignore[return-value]  # a single word is no list
    try:
        return tuple(_text_of(text) for text in texts)
    except TypeError:
        return texts  # type: ignore[return-value]


def _sorted_texts(texts: Iterable[StrPath | bytes]) -> tuple[str, ...]:
    made = _texts_of(texts)
    return tuple(sorted(made, key=_order)) if isinstance(made, tuple) else made


def _sorted_constraints(constraints: Iterable[Constraint]) -> tuple[Constraint, ...]:
    try:
        return tuple(sorted(set(constraints), key=lambda one: (type(one).__name__, repr(one))))
    except TypeError:
        return constraints  # type: ignore[return-value]


@frozen(cache_hash=True, kw_only=True)
class BuildRequest:
    """A build: what goes in, what runs, and what must come out.  Names are Tvix's.

    All paths inside are relative to the root of the build, without ".", ".." and doubled slashes.
    What has no order is sorted when the request is made, so that equal requests are equal.

    Attributes:
        inputs: name to path on the host (relative ones are taken from the current directory of
            this moment).  The build sees each read-only at ``inputs_dir``/name, in its canonical
            form: only the content, the owner's execute bit and links count.
        command_args: the program and its arguments.  The program is named by its path, or is in
            the PATH of ``environment_vars``.
        working_dir: where it starts.
        scratch_paths: directories that are writable, empty at the start and gone at the end.
        inputs_dir: where the inputs are seen.
        outputs: files, directories or links that the build must have made when it ends, each below
            a scratch path.
        environment_vars: name to bytes (a str is taken as UTF-8); the whole environment.
        constraints: what it asks of the machine: ``System``, ``MinMemory``,
            ``AvailableReadOnlyPath``, ``NetworkAccess``, ``ProvideBinSh``.
        additional_files: path to content (bytes; a str is taken as UTF-8) of further files.
        refscan_needles: what outputs are searched for: a text that can be in the content of a
            file, a name or what a link points to.

    Raises:
        ValueError: its message lists everything that is wrong, a line each.
    """

    inputs: Mapping[str, str] = field(default=(), converter=_paths_of)
    command_args: tuple[str, ...] = field(converter=_texts_of)
    working_dir: str = field(default="build", converter=_text_of)
    scratch_paths: tuple[str, ...] = field(default=("build",), converter=_sorted_texts)
    inputs_dir: str = field(default="inputs", converter=_text_of)
    outputs: tuple[str, ...] = field(converter=_sorted_texts)
    environment_vars: Mapping[str, bytes] = field(default=(), converter=_contents_of)
    constraints: tuple[Constraint, ...] = field(default=(), converter=_sorted_constraints)
    additional_files: Mapping[str, bytes] = field(default=(), converter=_contents_of)
    refscan_needles: tuple[str, ...] = field(default=(), converter=_sorted_texts)

    def __attrs_post_init__(self) -> None:
        problems: Problems = []
        _check_inputs(problems, self.inputs)
        _check_texts(problems, "command_args", self.command_args, unique=False)
        if self.command_args == ():
            problems.append("command_args is empty: the first is the program")
        for name in ("working_dir", "inputs_dir"):
            _check_clean(problems, name, getattr(self, name))
        for name in ("scratch_paths", "outputs"):
            _check_texts(problems, name, getattr(self, name), each=_check_clean)
        if self.outputs == ():
            problems.append("outputs is empty: a build without one has no result")
        _check_variables(problems, self.environment_vars)
        _check_files(problems, self.additional_files)
        _check_texts(problems, "refscan_needles", self.refscan_needles)
        _check_constraints(problems, self.constraints)
        if not problems:
            _check_places(problems, self)
        refuse("build request", problems)

    def input_places(self) -> dict[str, str]:
        """Where each input is seen: name to path, relative to the root of the build."""
        return {name: f"{self.inputs_dir}/{name}" for name in self.inputs}

    def available_paths(self) -> tuple[str, ...]:
        """The paths of its ``AvailableReadOnlyPath``s, sorted."""
        found = [one.path for one in self.constraints if isinstance(one, AvailableReadOnlyPath)]
        return tuple(sorted(found))

    def has(self, kind: type[Constraint]) -> bool:
        """Whether one of its constraints is of this kind."""
        return any(isinstance(one, kind) for one in self.constraints)


def below(path: str, above: str) -> bool:
    """Whether *path* is *above* or below it.  Both are clean, and both absolute or relative."""
    return path == above or path.startswith(above + "/")


def _check_clean(problems: Problems, name: str, path: Any) -> bool:
    if not check_text(problems, name, path):
        return False
    if path.startswith("/"):
        problems.append(f"{name} {path!r} is absolute; paths are relative to the build's root")
    elif any(part in ("", ".", "..") for part in path.split("/")):
        problems.append(f"{name} {path!r} is not clean: without '.', '..' and empty parts")
    else:
        return True
    return False


def _check_texts(
    problems: Problems,
    name: str,
    texts: Any,
    unique: bool = True,
    each: Callable[[Problems, str, Any], bool] = check_text,
) -> None:
    """*texts* must be a tuple of usable strings; *unique*: none of them twice, none empty."""
    if not isinstance(texts, tuple):
        problems.append(f"{name} must be a list of str, not {texts!r}")
        return
    for text in texts:
        if text != "" or unique:  # an empty argument is an argument
            each(problems, name, text)
    if unique:
        for text in sorted({text for text in texts if texts.count(text) > 1}, key=_order):
            problems.append(f"{name}: {text!r} is given twice")


def _check_map(problems: Problems, name: str, items: Any) -> bool:
    if isinstance(items, SortedMap):
        return True
    problems.append(f"{name} must be a mapping, or pairs without a name twice, not {items!r:.200}")
    return False


def _check_inputs(problems: Problems, inputs: Any) -> None:
    if not _check_map(problems, "inputs", inputs):
        return
    for name, path in inputs.items():
        if check_text(problems, "inputs: a name", name) and ("/" in name or name in (".", "..")):
            problems.append(f"inputs: name {name!r} is more than a name")
        check_text(problems, f"inputs: the path of {name!r}", path)


def _check_variables(problems: Problems, variables: Any) -> None:
    if not _check_map(problems, "environment_vars", variables):
        return
    for name, value in variables.items():
        if check_text(problems, "environment_vars: a name", name) and "=" in name:
            problems.append(f"environment_vars: name {name!r} contains '='")
        # The value may be a secret and stays out of the message.
        if not isinstance(value, bytes):
            problems.append(f"environment_vars: {name} must be bytes, not {type(value).__name__}")
        elif b"\0" in value:
            problems.append(f"environment_vars: {name} contains a NUL character")


def _check_files(problems: Problems, files: Any) -> None:
    if not _check_map(problems, "additional_files", files):
        return
    for path, content in files.items():
        _check_clean(problems, "additional_files", path)
        if not isinstance(content, bytes):
            kind = type(content).__name__
            problems.append(f"additional_files: {path!r} must be bytes, not {kind}")


def _check_constraints(problems: Problems, constraints: Any) -> None:
    if not isinstance(constraints, tuple):
        problems.append(f"constraints must be a list of constraints, not {constraints!r}")
        return
    for one in constraints:
        if not isinstance(one, _KINDS):
            hint = ""
            if isinstance(one, type) and issubclass(one, _KINDS):
                hint = f"; say {one.__name__}()"
            problems.append(f"constraints: {one!r} is no constraint{hint}")
    for kind in _ONCE:
        found = [one for one in constraints if isinstance(one, kind)]
        if len(found) > 1:
            words = " and ".join(map(repr, found))
            problems.append(f"constraints: {words}: give one {kind.__name__}")


def _check_places(problems: Problems, request: BuildRequest) -> None:
    """Nothing lies where something else is, and every output can be written."""
    inputs = sorted(request.input_places().values())
    named = [
        *(("scratch path", path) for path in request.scratch_paths),
        *(("output", path) for path in request.outputs),
        *(("input", path) for path in inputs),
        *(("additional file", path) for path in request.additional_files),
        ("working_dir", request.working_dir),
    ]
    for what, path in named:
        first = path.split("/", 1)[0]
        if first in _KERNELS and what != "working_dir":
            problems.append(f"{what} {path!r}: /{first} is the kernel's")
        for host in request.available_paths():
            if below("/" + path, host) and what != "working_dir":
                problems.append(f"{what} {path!r} is in {host}, which is the host's and read-only")
            elif below(host, "/" + path) and what in ("output", "additional file", "input"):
                problems.append(f"{what} {path!r} is in the way of {host}")
        for place in inputs:
            if below(path, place) and what in ("scratch path", "output", "additional file"):
                problems.append(f"{what} {path!r} is in an input, which is read-only")
            elif below(place, path) and what in ("output", "additional file"):
                problems.append(f"{what} {path!r} is in the way of the input {place!r}")
    for output in request.outputs:
        if not any(below(output, scratch) for scratch in request.scratch_paths):
            problems.append(f"output {output!r} is below no scratch path, so nothing can make it")
        for other in (*request.outputs, *request.additional_files):
            if other != output and below(other, output):
                problems.append(f"output {output!r} contains {other!r}, which is given too")
        for scratch in request.scratch_paths:
            if scratch != output and below(scratch, output):
                problems.append(f"output {output!r} contains the scratch path {scratch!r}")
    for path in request.additional_files:
        for other in (*request.additional_files, *request.scratch_paths):
            if below(other, path) and (other != path or other in request.scratch_paths):
                problems.append(f"additional file {path!r} is in the way of {other!r}")

"""A build request as JSON, and back."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping
from typing import Any

from attrs import fields

from ..declare.checks import StrPath, nearest, refuse
from .constraints import (
    AvailableReadOnlyPath,
    Constraint,
    MinMemory,
    NetworkAccess,
    ProvideBinSh,
    System,
)
from .request import BuildRequest

__all__ = ["from_document", "to_document"]

_CONSTRAINTS = (
    "system",
    "min_memory",
    "available_read_only_paths",
    "network_access",
    "provide_bin_sh",
)


def to_document(request: BuildRequest) -> dict[str, Any]:
    """*request* as what ``json.dump`` takes and ``from_document`` reads: all fields, in order."""
    constraints: dict[str, Any] = {}
    for one in request.constraints:
        match one:
            case System(name):
                constraints["system"] = name
            case MinMemory(number):
                constraints["min_memory"] = number
            case AvailableReadOnlyPath(path):
                constraints.setdefault("available_read_only_paths", []).append(path)
            case NetworkAccess():
                constraints["network_access"] = True
            case ProvideBinSh():
                constraints["provide_bin_sh"] = True
    return {
        "inputs": dict(request.inputs),
        "command_args": list(request.command_args),
        "working_dir": request.working_dir,
        "scratch_paths": list(request.scratch_paths),
        "inputs_dir": request.inputs_dir,
        "outputs": list(request.outputs),
        "environment_vars": {
            name: _text_of(value) for name, value in request.environment_vars.items()
        },
        "constraints": constraints,
        "additional_files": {
            path: _text_of(content) for path, content in request.additional_files.items()
        },
        "refscan_needles": list(request.refscan_needles),
    }


def from_document(document: Any, folder: StrPath = ".") -> BuildRequest:
    """The request that a JSON document describes.

    Arguments:
        document: what ``json.load`` gives: an object with the fields of ``BuildRequest``.  Bytes
            are a string, taken as UTF-8, or {"base64": "…"}.  The constraints are an object of
            "system", "min_memory", "available_read_only_paths", "network_access" and
            "provide_bin_sh".
        folder: what relative paths of inputs are taken from.

    Raises:
        ValueError: its message lists everything that is wrong, a line each.
    """
    problems: list[str] = []
    if not isinstance(document, dict):
        raise ValueError(f"build request: must be an object, not {document!r:.100}")
    known = [one.name for one in fields(BuildRequest)]
    for name in document.keys() - set(known):
        problems.append(f"there is no field {name!r}{nearest(name, known)}")
    for name in ("command_args", "outputs"):
        if name not in document:
            problems.append(f"{name} is missing")
    given: dict[str, Any] = {name: document[name] for name in known if name in document}
    for name in ("environment_vars", "additional_files"):
        if isinstance(given.get(name), dict):
            given[name] = _each(problems, name, given[name], _bytes_of)
    if isinstance(given.get("inputs"), dict):
        given["inputs"] = {
            name: os.path.join(os.path.abspath(folder), path) if isinstance(path, str) else path
            for name, path in given["inputs"].items()
        }
    if "constraints" in given:
        given["constraints"] = _constraints_of(problems, given["constraints"])
    given.setdefault("command_args", ["?"])
    given.setdefault("outputs", ["build/?"])
    made: BuildRequest | None = None
    try:
        made = BuildRequest(**given)
    except ValueError as error:
        first, *rest = str(error).splitlines()
        problems += [line.strip() for line in rest] or [first.removeprefix("build request: ")]
    refuse("build request", problems)
    assert made is not None
    return made


def _constraints_of(problems: list[str], given: Any) -> list[Constraint]:
    if not isinstance(given, dict):
        problems.append(f"constraints must be an object, not {given!r}")
        return []
    found: list[Constraint] = []

    def add(make: Callable[[Any], Constraint], value: Any) -> None:
        try:
            found.append(make(value))
        except ValueError as error:
            problems.append(f"constraints: {error}")

    for name, value in given.items():
        if name == "system":
            add(System, value)
        elif name == "min_memory":
            add(MinMemory, value)
        elif name == "available_read_only_paths" and isinstance(value, list):
            for path in value:
                add(AvailableReadOnlyPath, path)
        elif name == "available_read_only_paths":
            problems.append(f"constraints: {name} must be a list of paths, not {value!r}")
        elif name not in _CONSTRAINTS:
            problems.append(f"constraints: there is no {name!r}{nearest(name, _CONSTRAINTS)}")
        elif value is True:
            found.append(NetworkAccess() if name == "network_access" else ProvideBinSh())
        elif value is not False:
            problems.append(f"constraints: {name} must be true or false, not {value!r}")
    return found


def _each(
    problems: list[str], name: str, given: Mapping[str, Any], convert: Callable[[Any], Any]
) -> dict[str, Any]:
    made = {}
    for key, value in given.items():
        try:
            made[key] = convert(value)
        except ValueError as error:
            problems.append(f"{name}: {key!r}: {error}")
    return made


def _text_of(content: bytes) -> str | dict[str, str]:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode()}


def _bytes_of(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {"base64"}:
        return base64.b64decode(value["base64"], validate=True)
    return value

"""What OCI has no word for, as annotations of a config.json: JSON under keys of our own."""

from __future__ import annotations

import base64
import json
from typing import Any

from ..declare.entries import Directory, Entry, File, Symlink

__all__ = ["KEYS", "PLAIN", "PREFIX", "dump", "entry_of", "record_of"]

PREFIX = "org.pycontainer."
"""Of every key."""

PLAIN: dict[str, Any] = {
    "lock_mounts": True,
    "loopback_network": True,
    "child_is_pid1": None,
    "root_size": None,
    "default_files": True,
    "ambient_capabilities": True,
    "set_id_files": False,
}
"""Fields of a container that are annotations when they differ from these, their defaults."""

_KINDS: dict[str, type] = {
    "version": int,
    "defaults": list,
    "entries": list,
    "mounts": dict,
    "ids": dict,
    "limits": dict,
    "seccomp": dict,
    "all": bool,
}

KEYS = (*PLAIN, *_KINDS)
"""What follows the prefix."""

VERSION = 1


def is_of_kind(name: str, value: Any) -> bool:
    """Whether *value* is of the type that an annotation has.  Those of ``PLAIN`` are checked as
    the container's fields."""
    if not isinstance(value, _KINDS.get(name, object)):
        return False
    if name == "mounts" and isinstance(value, dict):
        return all(isinstance(one, dict) and _says(one) for one in value.values())
    return True


def _says(more: dict[str, Any]) -> bool:
    own, implied = more.get("own", 0), more.get("implied", [])
    return isinstance(own, int) and own >= 0 and isinstance(implied, list)


def dump(value: Any) -> str:
    """An annotation's text."""
    return json.dumps(value, separators=(", ", ": "))


def record_of(entry: Entry, position: int) -> dict[str, Any]:
    """An entry of a container as JSON.

    Arguments:
        position: among the container's mounts and entries.
    """
    if isinstance(entry, Directory):
        return {"at": position, "directory": entry.path, "mode": f"{entry.mode:o}"}
    if isinstance(entry, Symlink):
        return {"at": position, "symlink": entry.path, "to": entry.to}
    record: dict[str, Any] = {"at": position, "file": entry.path}
    try:
        record["text"] = entry.content.decode()
    except UnicodeDecodeError:
        record["base64"] = base64.b64encode(entry.content).decode()
    record["mode"] = f"{entry.mode:o}"
    return record


def entry_of(record: dict[str, Any]) -> Entry:
    """The entry of a record of ``record_of``.

    Raises:
        ValueError, TypeError, KeyError: it is none.
    """
    left = dict(record)
    left.pop("at")
    entry: Entry
    if "directory" in left:
        entry = Directory(left.pop("directory"), int(left.pop("mode"), 8))
    elif "symlink" in left:
        entry = Symlink(left.pop("symlink"), left.pop("to"))
    elif "base64" in left:
        content = base64.b64decode(left.pop("base64"), validate=True)
        entry = File(left.pop("file"), content, int(left.pop("mode"), 8))
    else:
        entry = File(left.pop("file"), left.pop("text"), int(left.pop("mode"), 8))
    if left:
        raise ValueError(f"{', '.join(sorted(left))}: not known")
    return entry

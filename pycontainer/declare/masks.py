"""Places of a container that are hidden or made read-only once everything is mounted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .checks import Problems, StrPath, check_guest_path, guest_path

__all__: list[str] = []


def places_of(paths: Iterable[StrPath]) -> tuple[str, ...]:
    """*paths* in the spelling of mounts' targets, each once, in their order."""
    if not paths or isinstance(paths, (str, bytes)):
        return paths if paths else ()  # type: ignore[return-value]
    try:
        places = tuple(guest_path(path) for path in paths)
    except TypeError:
        return paths  # type: ignore[return-value]
    if all(isinstance(place, str) for place in places):
        return tuple(dict.fromkeys(places))
    return places


def check_places(problems: Problems, name: str, places: Any, root: str) -> None:
    """*places* must be a tuple of places in the container other than its root.

    Arguments:
        root: what to use for the root instead.
    """
    if not isinstance(places, tuple):
        problems.append(f"{name} must be a collection of paths, not {places!r}")
        return
    for place in places:
        if check_guest_path(problems, name, place) and place == "/":
            problems.append(f"{name}: '/' is the root: {root}")

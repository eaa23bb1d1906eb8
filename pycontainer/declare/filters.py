"""Which system calls a container may make."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

__all__ = ["SeccompFilter"]


@frozen
class SeccompFilter:
    """A default action and actions for system calls by name (seccomp(2))."""

    default: str | int = "allow"
    rules: Mapping[str, str | int] = field(factory=dict, hash=False)

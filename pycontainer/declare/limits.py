"""What a container may use."""

from __future__ import annotations

from attrs import field, frozen

__all__ = ["Limits"]


@frozen(kw_only=True)
class Limits:
    """Bounds for everything that runs in a container.  None leaves a bound out.

    Attributes:
        cpu_time: processor time of all its processes together, in seconds.
        wall_time: from its start, in seconds.
        memory: of all its processes together, in bytes.
        strict: refuse to start where a limit cannot be held.
    """

    cpu_time: float | None = None
    wall_time: float | None = None
    memory: int | None = None
    stack: int | None = None
    processes: int | None = None
    open_files: int | None = None
    file_size: int | None = None
    cpu_affinity: frozenset[int] | None = field(default=None)
    cpus: float | None = None
    output: int | None = None
    strict: bool = True

"""A plan: what is done to make a container, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..declare.record import HashedRecord, set_field
from .steps import PHASES, Op, Step, StepFlag

if TYPE_CHECKING:
    from ..declare.filters import SeccompFilter
    from .pack import Packed

__all__ = ["Plan"]


class Plan(HashedRecord):
    """The steps that make a container, in order.

    Attributes:
        steps: all of them.  The place of a step here is its number in the helper's reports.
        hook: how many come before the ``populate_filesystem`` hook.
        start: how many come before the process that runs the function or program: those after
            are for it alone, and not for an init above it.
        seccomp: the filter whose programs its INSTALL_FILTER steps install.
    """

    __slots__ = (  # noqa: RUF023 - in the order of __init__()
        "steps",
        "hook",
        "start",
        "seccomp",
        "_packed",
    )

    steps: tuple[Step, ...]
    hook: int
    start: int
    seccomp: SeccompFilter | None
    _packed: dict[Any, Packed]

    def __init__(
        self,
        steps: tuple[Step, ...],
        hook: int,
        start: int,
        seccomp: SeccompFilter | None = None,
    ) -> None:
        set_field(self, "steps", steps)
        set_field(self, "hook", hook)
        set_field(self, "start", start)
        set_field(self, "seccomp", seccomp)
        set_field(self, "_packed", {})

    @property
    def steps_before_hook(self) -> tuple[Step, ...]:
        """The steps up to the ``populate_filesystem`` hook, while the root is still writable."""
        return self.steps[: self.hook]

    @property
    def steps_after_hook(self) -> tuple[Step, ...]:
        """The steps after the ``populate_filesystem`` hook."""
        return self.steps[self.hook :]

    @property
    def tree_steps(self) -> tuple[Step, ...]:
        """The steps with a source on the host: BIND and ROOT_DIRECTORY, in order."""
        return tuple(
            step
            for step in self.steps
            if step.op in (Op.BIND, Op.ROOT_DIRECTORY) and not step.flags & StepFlag.INSIDE
        )

    def explain(self) -> str:
        """The whole plan in words: phases as headings, steps numbered from 1."""
        lines: list[str] = []
        numbered = list(enumerate(self.steps, 1))
        for phase in PHASES:
            if phase == "populate":
                lines += [phase, "     (a populate_filesystem hook runs here)"]
                continue
            steps = [(number, step) for number, step in numbered if step.phase == phase]
            if steps:
                lines.append(phase)
                lines += [f"{number:4} {step.describe()}" for number, step in steps]
        return "\n".join(lines) + "\n"

"""Host root's containers leave no set-id programs on the host."""

from __future__ import annotations

from ..plan.compile import Plan
from ..plan.steps import MountAttr, Op, Step
from .identity import Identity
from .stdio import Stdio

__all__ = ["guarded"]


def guarded(plan: Plan, identity: Identity, guest_uid: int, streams: Stdio) -> Plan:
    """Host root's containers may write to its files only without set-id modes (HAZARDS 31).

    With ids that the caller chose itself, the file behind stdout is one that they may chmod.
    """
    if not identity.host_root or not identity.uid_map:
        return plan
    writable = any(
        (step.op in (Op.BIND, Op.ROOT_DIRECTORY) and not step.attributes & MountAttr.READ_ONLY)
        or any(option.startswith("upperdir=/") for option in step.options)
        for step in plan.steps
    )
    if not identity.mount_uid_map:
        writable = writable or streams.hold_files()
    if not writable:
        return plan
    after = max(
        index
        for index, step in enumerate(plan.steps)
        if step.op in (Op.LOCK, Op.ROOT_READ_ONLY, Op.PIVOT) or index < plan.hook
    )
    steps = list(plan.steps)
    # Where host root is not id 0 inside, a nested user namespace could give file capabilities.
    steps.insert(after + 1, Step(Op.REFUSE_SET_ID, numbers=(int(guest_uid != 0),)))
    return Plan(tuple(steps), plan.hook, plan.start + 1, plan.seccomp)

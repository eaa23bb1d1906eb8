"""Host root's containers leave no set-id programs on the host."""

from __future__ import annotations

from ..plan.plan import Plan
from ..plan.steps import MountAttr, Op, Refused, Step
from .identity import Identity
from .stdio import Stdio

__all__ = ["guarded"]


def guarded(plan: Plan, identity: Identity, guest_uid: int, streams: Stdio, hooked: bool) -> Plan:
    """Host root's containers may write to its files only without set-id modes (HAZARDS 31).

    Without a user namespace too: there the container's root is the host's own, and with no
    capability at all it may still make its own files set-id.

    With ids that the caller chose itself, the file behind stdout is one that they may chmod.

    Arguments:
        hooked: a populate_filesystem hook runs, and may be made of what the function brought along.
    """
    if not identity.host_root:
        return plan
    writable = any(
        (step.op in (Op.BIND, Op.ROOT_DIRECTORY) and not step.attributes & MountAttr.READ_ONLY)
        or any(option.startswith("upperdir=/") for option in step.options)
        for step in plan.steps
    )
    if identity.uid_map and not identity.mount_uid_map:
        writable = writable or streams.hold_files()
    if not writable:
        return plan
    after = 1 + max(
        index for index, step in enumerate(plan.steps) if step.op in _BEFORE or index < plan.hook
    )
    before, between, rest = (
        plan.steps[: plan.hook],
        plan.steps[plan.hook : after],
        plan.steps[after:],
    )
    refused = Refused.MODES | Refused.CAPABILITIES
    if hooked or (identity.uid_map and guest_uid != 0):
        # Where host root is not id 0 inside, a nested user namespace could give file capabilities.
        # A hook has CAP_SETFCAP itself: whoever maps id 0 needs it (verify_root_map() in
        # kernel/user_namespace.c), and the lock, which comes later, does.
        refused |= Refused.ATTRIBUTES
    if not hooked:
        return Plan(
            (*before, *between, _refuse(refused), *rest), plan.hook, plan.start + 1, plan.seccomp
        )
    return Plan(
        (
            *before,
            _refuse(refused & ~Refused.CAPABILITIES),
            *between,
            _refuse(Refused.CAPABILITIES),
            *rest,
        ),
        plan.hook + 1,
        plan.start + 2,
        plan.seccomp,
    )


_BEFORE = (Op.LOCK, Op.ROOT_READ_ONLY, Op.MAKE_READ_ONLY, Op.MASK, Op.PIVOT)
"""Steps that the filter comes after."""


def _refuse(what: Refused) -> Step:
    return Step(Op.REFUSE_SET_ID, numbers=(int(what),))

"""A plan as bytes for the compiled helper: an array of fixed-size rows, and a blob of texts.

The rows are read as ``struct pc_step`` of ``_native/pycontainer.h``.
"""

from __future__ import annotations

import os
import struct

from .plan import Plan
from .steps import Op, StepFlag

__all__ = ["STEP", "Packed", "pack"]

STEP = struct.Struct("<HHIIIIIQQQ")
"""A row: op, flags, mode, three offsets into the blob, a length, three numbers (48 bytes)."""

_TREE = int(StepFlag.TREE)
_INSIDE = int(StepFlag.INSIDE)


class Packed:
    """A packed plan.

    Attributes:
        steps: the rows, as many as the plan has steps, in its order.
        blob: the texts, each ended by a NUL.  Offset 0 means "no text" and reads as an empty one.
    """

    __slots__ = ("blob", "steps")

    steps: bytes
    blob: bytes

    def __init__(self, steps: bytes, blob: bytes) -> None:
        self.steps = steps
        self.blob = blob


def pack(plan: Plan, *, trees: bool = False, program: tuple[bytes, ...] = ()) -> Packed:
    """The bytes of *plan*, made once.

    Arguments:
        program: what the INSTALL_FILTER steps install, in their order.
        trees: mark every step of ``plan.tree_steps`` with ``StepFlag.TREE``: the launcher opens
            their sources and hands them over in that order.
    """
    key = (trees, program)
    packed = plan._packed.get(key)
    if packed is None:
        packed = plan._packed[key] = _pack(plan, _TREE if trees else 0, program)
    return packed


def _pack(plan: Plan, tree: int, program: tuple[bytes, ...]) -> Packed:
    rows = bytearray(STEP.size * len(plan.steps))
    blob = bytearray(b"\0")
    offsets = {"": 0}
    position = 0
    programs = iter(program)
    for step in plan.steps:
        op = step.op
        path = offsets.get(step.path)
        if path is None:
            path = _add(blob, offsets, step.path)
        other = offsets.get(step.other)
        if other is None:
            other = _add(blob, offsets, step.other)
        options = length = 0
        if step.options:
            text = "\n".join(step.options)
            options = offsets.get(text) or _add(blob, offsets, text)
        content = next(programs) if op is Op.INSTALL_FILTER else step.content
        if content is not None:
            other, length = len(blob), len(content)
            blob += content
            blob.append(0)
        numbers = step.numbers
        STEP.pack_into(
            rows,
            position,
            op,
            step.flags | tree
            if (op is Op.BIND or op is Op.ROOT_DIRECTORY) and not step.flags & _INSIDE
            else step.flags,
            step.mode,
            path,
            other,
            options,
            length,
            *(numbers + (0, 0, 0)[len(numbers) :]),
        )
        position += STEP.size
    return Packed(bytes(rows), bytes(blob))


def _add(blob: bytearray, offsets: dict[str, int], text: str) -> int:
    offset = offsets[text] = len(blob)
    blob += os.fsencode(text)
    blob.append(0)
    return offset

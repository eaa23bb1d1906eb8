"""``pack``: the bytes that the compiled helper reads."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontainer.declare.container import Container
from pycontainer.declare.entries import file
from pycontainer.declare.mounts import bind, tmpfs
from pycontainer.plan.compile import Plan, compile
from pycontainer.plan.pack import STEP, pack
from pycontainer.plan.steps import MountAttr, Op, Step, StepFlag


def text_at(blob, offset):
    return os.fsdecode(blob[offset : blob.index(b"\0", offset)])


def unpack(packed):
    """The steps that a reader of the bytes sees."""
    steps = []
    for row in STEP.iter_unpack(packed.steps):
        op, flags, mode, path, other, options, length, *numbers = row
        content = None
        if op == Op.WRITE_FILE:
            content, other = packed.blob[other : other + length], 0
        text = text_at(packed.blob, options)
        steps.append(
            Step(
                Op(op),
                text_at(packed.blob, path),
                text_at(packed.blob, other),
                tuple(text.split("\n")) if text else (),
                content,
                mode,
                flags,
                tuple(numbers),
            )
        )
    return steps


def padded(step):
    numbers = step.numbers + (0,) * (3 - len(step.numbers))
    return Step(
        step.op, step.path, step.other, step.options, step.content, step.mode, step.flags, numbers
    )


def test_pack_row():
    assert STEP.size == 48
    packed = pack(Plan((Step(Op.BIND, "/t", "/s", mode=3, flags=8, numbers=(7, 2**64 - 1)),), 1, 1))
    assert packed.blob == b"\0/t\0/s\0"
    assert STEP.unpack(packed.steps) == (10, 8, 3, 1, 4, 0, 0, 7, 2**64 - 1, 0)


def test_pack_reads_back():
    plan = compile(
        Container(
            [bind("/usr"), tmpfs("/t"), file("/b", b"\0a\0"), file("/e", b""), bind("/\udcff")],
            capabilities=["checkpoint_restore"],
        )
    )
    assert unpack(pack(plan)) == [padded(step) for step in plan.steps]


def test_pack_empty_file():
    packed = pack(Plan((Step(Op.WRITE_FILE, "/e", content=b""),), 1, 1))
    assert unpack(packed)[0].content == b""


def test_pack_texts_once():
    packed = pack(Plan((Step(Op.BIND, "/a", "/a"), Step(Op.CHANGE_DIRECTORY, "/a")), 2, 2))
    assert packed.blob == b"\0/a\0"


def test_pack_trees():
    plan = compile(Container([bind("/a")], rootfs="/r"))
    plain, trees = unpack(pack(plan)), unpack(pack(plan, trees=True))
    for before, after in zip(plain, trees, strict=True):
        tree = before.op in (Op.BIND, Op.ROOT_DIRECTORY)
        assert after.flags == before.flags | (StepFlag.TREE if tree else 0)
    assert len([s for s in trees if s.flags & StepFlag.TREE]) == len(plan.tree_steps)


def test_pack_once():
    plan = compile(Container())
    assert pack(plan) is pack(plan)
    assert pack(plan, trees=True) is pack(plan, trees=True)
    assert pack(plan) is not pack(plan, trees=True)


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0\n"), min_size=1)


@given(st.lists(st.tuples(TEXT, TEXT, st.binary(), st.lists(TEXT, max_size=3))))
def test_pack_reads_back_anything(rows):
    steps = []
    for path, other, content, options in rows:
        steps += [
            Step(Op.MOUNT, path, other, tuple(options), numbers=(1, 2, 3)),
            Step(Op.WRITE_FILE, other, content=content, numbers=(0, 0, 0)),
        ]
    assert unpack(pack(Plan(tuple(steps), 0, 0))) == steps


HEADER = Path(__file__).parents[2] / "pycontainer" / "_native" / "pycontainer.h"


@pytest.mark.skipif(not HEADER.exists(), reason="the C sources are not here")
@pytest.mark.parametrize(
    ("prefix", "enumeration"),
    [("PC_OP_", Op), ("PC_STEP_", StepFlag), ("PC_MOUNT_", MountAttr)],
)
def test_numbers_are_those_of_the_helper(prefix, enumeration):
    body = re.search(rf"enum \{{\s*({prefix}\w+ = 1,.*?)\}};", HEADER.read_text(), re.DOTALL)
    assert body is not None
    numbers: dict[str, int] = {}
    value = 0
    for name, number in re.findall(rf"{prefix}(\w+)(?: = (\d+))?,", body.group(1)):
        value = int(number) if number else value + 1
        numbers[name] = value
    assert numbers == {member.name: member.value for member in enumeration}

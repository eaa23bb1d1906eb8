"""Filters of system calls as "linux.seccomp", and back.

A filter here is several programs of which the strictest answer counts (``plan/layers.py``); OCI
has one list of rules, in which the order in which libseccomp looks at overlapping ones decides.
So rules for a call that several programs have an answer for are made disjoint.
"""

from __future__ import annotations

import errno
import os
from functools import lru_cache, reduce
from typing import Any, TypeAlias

from ..declare.filters import Action, SeccompFilter, SyscallArgument, cases_of
from ..plan.layers import Comparison, Layer, layers_of
from .fields import Fields

__all__ = ["filter_of", "note_of", "of_filter"]

_ARCHITECTURES = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
_OTHER_ABIS = {
    "x86_64": ("SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_ARM",),
}
_ALL = 2**64 - 1
_MOST = 1024
"""Rules for one call: with a comparison each, as much as the kernel takes (BPF_MAXINSNS)."""

Cube: TypeAlias = dict[int, tuple[int, int]]
"""Which bits of which arguments have which value: index → (mask, value)."""


@lru_cache(maxsize=16)
def of_filter(seccomp: SeccompFilter) -> dict[str, Any]:
    """ "linux.seccomp" for a filter.  Not to be changed: equal filters share it.

    Raises:
        ValueError: a call's cases are too many.
    """
    layers = layers_of(seccomp)
    default = reduce(_stricter, (layer.default for layer in layers))
    names = dict.fromkeys(name for layer in layers for name, _, _ in layer.rules)
    plain: dict[Action, list[str]] = {}
    rules: list[dict[str, Any]] = []
    for name in names:
        for args, action in _rules_for(name, layers, default):
            if action == default:
                continue  # libseccomp refuses them
            if args:
                rules.append({"names": [name], **_action(action), "args": args})
            else:
                plain.setdefault(action, []).append(name)
    grouped = [{"names": names, **_action(action)} for action, names in plain.items()]
    first = _action(default)
    found: dict[str, Any] = {"defaultAction": first["action"]}
    if "errnoRet" in first:
        found["defaultErrnoRet"] = first["errnoRet"]
    machine = os.uname().machine
    found["architectures"] = [_ARCHITECTURES.get(machine, f"SCMP_ARCH_{machine.upper()}")]
    if all(layer.other_abis for layer in layers):
        found["architectures"] += _OTHER_ABIS.get(machine, ())
    found["syscalls"] = grouped + rules
    return found


def _action(action: Action) -> dict[str, Any]:
    if isinstance(action, int):
        return {"action": "SCMP_ACT_ERRNO", "errnoRet": action}
    word = "KILL_PROCESS" if action == "kill" else action.upper()
    return {"action": f"SCMP_ACT_{word}"}


def _stricter(first: Action, second: Action) -> Action:
    return first if _rank(first) > _rank(second) else second


def _rank(action: Action) -> int:
    return 2 if isinstance(action, int) else ("allow", "log", "", "kill").index(action)


def _rules_for(
    name: str, layers: tuple[Layer, ...], default: Action
) -> list[tuple[list[dict[str, Any]], Action]]:
    """Conditions and actions for one call; where none applies the default counts."""
    answers = [
        [(comparisons, action) for other, comparisons, action in layer.rules if other == name]
        for layer in layers
    ]
    if sum(map(bool, answers)) == 1:
        found = next(filter(None, answers))
        return [
            ([_argument(one) for one in comparisons], _folded(layers, answers, action))
            for comparisons, action in found
        ]
    regions: list[tuple[Cube, Action]] = [({}, "allow")]
    for layer, found in zip(layers, answers, strict=True):
        regions = _split(name, regions, layer.default, found)
    return [
        ([_masked(index, *bits) for index, bits in sorted(cube.items())], action)
        for cube, action in regions
    ]


def _folded(layers: tuple[Layer, ...], answers: list[Any], action: Action) -> Action:
    """The answer of all programs where the one that has rules gives *action*."""
    each = (
        action if found else layer.default for layer, found in zip(layers, answers, strict=True)
    )
    return reduce(_stricter, each)


def _split(
    name: str,
    regions: list[tuple[Cube, Action]],
    default: Action,
    rules: list[tuple[tuple[Comparison, ...], Action]],
) -> list[tuple[Cube, Action]]:
    """*regions* with the answer of one more program, which divides them."""
    if not rules:
        return [(cube, _stricter(action, default)) for cube, action in regions]
    answer = rules[0][1]  # all rules of a layer for a call have the same
    inside = [cube for comparisons, _ in rules for cube in _cubes(comparisons)]
    divided: list[tuple[Cube, Action]] = []
    for region, action in regions:
        outside = [region]
        for cube in inside:
            both = _intersection(region, cube)
            if both is not None:
                divided.append((both, _stricter(action, answer)))
                outside = [piece for one in outside for piece in _without(one, cube)]
            if len(divided) + len(outside) > _MOST:
                raise ValueError(f"{name}: its cases are too many for one list of rules")
        divided += [(piece, _stricter(action, default)) for piece in outside]
    return divided


def _cubes(comparisons: tuple[Comparison, ...]) -> list[Cube]:
    found: list[Cube] = [{}]
    for one in comparisons:
        if one.mask:
            pieces: list[Cube] = [{one.index: (one.mask, one.value)}]
        else:  # different from a value
            pieces = _without({}, {one.index: (_ALL, one.value)})
        found = [
            both
            for cube in found
            for piece in pieces
            if (both := _intersection(cube, piece)) is not None
        ]
    return found


def _intersection(first: Cube, second: Cube) -> Cube | None:
    both = dict(first)
    for index, (mask, value) in second.items():
        known, bits = both.get(index, (0, 0))
        if (bits ^ value) & mask & known:
            return None
        both[index] = known | mask, bits | value
    return both


def _without(cube: Cube, other: Cube) -> list[Cube]:
    """*cube* less *other*, in pieces that have nothing in common."""
    if _intersection(cube, other) is None:
        return [cube]
    pieces = []
    rest = dict(cube)
    for index, (mask, value) in other.items():
        known, bits = rest.get(index, (0, 0))
        left = mask & ~known
        while left:
            bit = left & -left
            left ^= bit
            pieces.append({**rest, index: (known | bit, bits | (~value & bit))})
            known, bits = known | bit, bits | (value & bit)
            rest[index] = known, bits
    return pieces


def _argument(one: Comparison) -> dict[str, Any]:
    if one.mask == 0:
        return {"index": one.index, "value": one.value, "op": "SCMP_CMP_NE"}
    return _masked(one.index, one.mask, one.value)


def _masked(index: int, mask: int, value: int) -> dict[str, Any]:
    if mask == _ALL:
        return {"index": index, "value": value, "op": "SCMP_CMP_EQ"}
    return {"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}


# ---- as an annotation


def note_of(seccomp: SeccompFilter) -> dict[str, Any]:
    """A filter as JSON, as it was declared."""
    note: dict[str, Any] = {"default": seccomp.default, "rules": {}}
    for name, rule in seccomp.rules.items():
        if isinstance(rule, tuple):
            note["rules"][name] = [
                [[_condition(one) for one in conditions], action] for conditions, action in rule
            ]
        else:
            note["rules"][name] = rule
    if seccomp.also:
        note["also"] = [note_of(other) for other in seccomp.also]
    if seccomp.other_abis:
        note["other_abis"] = True
    return note


def _condition(one: SyscallArgument) -> dict[str, Any]:
    found: dict[str, Any] = {
        "index": one.index,
        "comparison": one.comparison,
        "value": one.value,
    }
    if one.mask is not None:
        found["mask"] = one.mask
    if one.bits != 32:
        found["bits"] = one.bits
    return found


def _of_note(note: dict[str, Any]) -> SeccompFilter:
    rules: dict[str, Any] = {}
    for name, rule in note["rules"].items():
        rules[name] = rule
        if isinstance(rule, list):
            rules[name] = tuple(
                (tuple(SyscallArgument(**one) for one in conditions), action)
                for conditions, action in rule
            )
    also = tuple(_of_note(other) for other in note.get("also", ()))
    abis = note.get("other_abis", False)
    return SeccompFilter(note["default"], rules, also=also, other_abis=abis)


# ---- back

_OPERATORS = {"EQ": "==", "NE": "!=", "LT": "<", "LE": "<=", "GE": ">=", "GT": ">"}


def filter_of(
    problems: list[str], where: str, given: dict[str, Any], note: Any
) -> SeccompFilter | None:
    """The filter of "linux.seccomp".

    Arguments:
        note: the annotation that goes with it, or None.
    """
    if note is not None:
        try:
            known = _of_note(note)
            same = of_filter(known) == given
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            problems.append(f"annotations: seccomp: {error!r}")
            return None
        if not same:
            problems.append(f"{where}: is not what the annotation about it says; leave one out")
        return known
    top = Fields(problems, where, given)
    default = _action_of(
        problems,
        top.path("defaultAction"),
        top.take("defaultAction", str, ""),
        top.take("defaultErrnoRet", int, errno.EPERM),
    )
    own = _ARCHITECTURES.get(os.uname().machine)
    architectures = top.texts("architectures")
    if architectures and own not in architectures:
        problems.append(f"{where}.architectures: {own}, this machine's, is not among them")
    others = _OTHER_ABIS.get(os.uname().machine, ())
    other_abis = bool(others) and set(others) <= set(architectures)
    rules: dict[str, Any] = {}
    for number, one in enumerate(top.take("syscalls", list, [])):
        _take_rule(problems, Fields(problems, f"{where}.syscalls[{number}]", one), rules)
    top.finish()
    try:
        return SeccompFilter(default, rules, other_abis=other_abis)
    except ValueError as error:
        problems.append(f"{where}: {error}")
        return None


def _take_rule(problems: list[str], given: Fields, rules: dict[str, Any]) -> None:
    names = given.texts("names")
    errno_ret = given.take("errnoRet", int, errno.EPERM)
    action = _action_of(problems, given.path("action"), given.take("action", str, ""), errno_ret)
    conditions = []
    for number, one in enumerate(given.take("args", list, [])):
        argument = Fields(problems, f"{given.where}.args[{number}]", one)
        index, value = argument.take("index", int, 0), argument.take("value", int, 0)
        second, op = argument.take("valueTwo", int, 0), argument.take("op", str, "")
        argument.finish()
        word = op.removeprefix("SCMP_CMP_")
        try:
            if word == "MASKED_EQ":
                conditions.append(SyscallArgument(index, "==", second, mask=value, bits=64))
            elif word in _OPERATORS:
                conditions.append(SyscallArgument(index, _OPERATORS[word], value, bits=64))
            else:
                problems.append(f"{argument.where}.op: {op!r} is not supported")
        except ValueError as error:
            problems.append(f"{argument.where}: {error}")
    if len({one.index for one in conditions}) < len(conditions):
        problems.append(f"{given.where}.args: two are about one argument")
    given.finish()
    for name in names:
        case = (tuple(conditions), action)
        rules[name] = (*cases_of(rules[name]), case) if name in rules else (case,)


def _action_of(problems: list[str], where: str, word: str, errno_ret: int) -> Action:
    known: dict[str, Action] = {
        "SCMP_ACT_ALLOW": "allow",
        "SCMP_ACT_LOG": "log",
        "SCMP_ACT_ERRNO": errno_ret,
        "SCMP_ACT_KILL_PROCESS": "kill",
        # Of one thread alone; nothing goes on sensibly without it.
        "SCMP_ACT_KILL": "kill",
        "SCMP_ACT_KILL_THREAD": "kill",
    }
    if word not in known:
        problems.append(f"{where}: {word!r} is not supported")
    return known.get(word, "kill")

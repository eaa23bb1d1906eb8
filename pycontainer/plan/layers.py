"""From a filter to its layers: what one program of the kernel can say without ambiguity.

Where several rules for one system call apply, what libseccomp makes of them depends on how it
sorts them.  The kernel's own rule is clear: it runs every program that is installed, and the
strictest answer counts, of two errnos the one of the program installed last (seccomp(2)).  So
cases with different actions go into different programs, and so do combined filters.

Conditions are rewritten to what libseccomp has: a comparison of some bits with a value, at most
one an argument.
"""

from __future__ import annotations

import errno
import itertools
import math
from collections.abc import Iterable, Iterator
from functools import lru_cache

from attrs import frozen

from ..declare.filters import Action, Conditions, SeccompFilter, SyscallArgument, cases_of
from .steps import Op, Step

__all__ = ["Comparison", "Layer", "filter_steps", "layers_of", "refuses"]

CASES_MAX = 1024
"""The most alternatives that a case may come to.  The kernel takes 4096 instructions a program."""


@frozen
class Comparison:
    """Of some bits of an argument: ``argument & mask == value``.

    With a mask of 0, "different from value", in all 64 bits.
    """

    index: int
    mask: int
    value: int


@frozen
class Layer:
    """One program.

    Attributes:
        default: the action for a call that no rule is about.
        rules: the name of a call, what must hold, the action.  All rules for a call have the same
            action, so that it does not matter which one is looked at first.
        other_abis: the rules are for the processor's other ABIs too, which are refused otherwise.
    """

    default: Action
    rules: tuple[tuple[str, tuple[Comparison, ...], Action], ...]
    other_abis: bool = False


@lru_cache(maxsize=64)
def layers_of(seccomp: SeccompFilter) -> tuple[Layer, ...]:
    """The programs that together are *seccomp*, in the order in which they are installed.

    Raises:
        ValueError: a rule comes to too many comparisons.
    """
    layers = [layer for part in (seccomp, *seccomp.also) for layer in _layers_of_one(part)]
    # The call that installs the next program must get through; what becomes of it is decided by
    # a last one.
    verdict: Action = "allow"
    for number, layer in enumerate(layers[:-1]):
        answer = _answer(layer, "seccomp")
        if answer != "allow":
            verdict = _stricter(verdict, answer)
            layers[number] = _with_seccomp(layer)
    if verdict != "allow":
        verdict = _stricter(verdict, _answer(layers[-1], "seccomp"))
        layers[-1] = _with_seccomp(layers[-1])
        every = all(layer.other_abis for layer in layers)
        layers.append(Layer("allow", (("seccomp", (), verdict),), every))
    return tuple(layers)


def _layers_of_one(seccomp: SeccompFilter) -> list[Layer]:
    """The filter without those that go along."""
    rules: list[list[tuple[str, tuple[Comparison, ...], Action]]] = [[]]

    def add(number: int, name: str, conditions: Iterable[Conditions], action: Action) -> None:
        while len(rules) <= number:
            rules.append([])
        default = seccomp.default if number == 0 else "allow"
        if action == default:
            return
        found = list(dict.fromkeys(one for each in conditions for one in _compared(name, each)))
        rules[number] += ((name, comparisons, action) for comparisons in found)

    for name, rule in seccomp.rules.items():
        cases = _relevant(cases_of(rule))
        groups = _groups(cases)
        if len(groups) == 1 or seccomp.default == "allow":
            action, conditions = groups.pop(0)
            add(0, name, conditions, action)
        else:
            # Whatever is decided elsewhere is let through here.
            every = [conditions for conditions, _ in cases]
            add(0, name, [()] if () in every else every, "allow")
            groups = [group for group in groups if group[0] != "allow"]
        for number, (action, conditions) in enumerate(groups, 1):
            add(number, name, conditions, action)
    return [
        Layer("allow" if number else seccomp.default, tuple(one), seccomp.other_abis)
        for number, one in enumerate(rules)
    ]


def _relevant(cases: Iterable[tuple[Conditions, Action]]) -> list[tuple[Conditions, Action]]:
    """Without cases that a stricter one without conditions covers, or a later one as strict."""
    kept: list[tuple[Conditions, Action]] = []
    for conditions, action in cases:
        if conditions == ():
            kept = [case for case in kept if _rank(case[1]) > _rank(action)]
        elif any(not other and _rank(already) > _rank(action) for other, already in kept):
            continue
        # Given again, the same conditions have their new action, unless it is laxer.
        same = [already for other, already in kept if other == conditions]
        if same and _rank(same[0]) > _rank(action):
            continue
        kept = [case for case in kept if case[0] != conditions]
        kept.append((conditions, action))
    return kept


def _groups(cases: Iterable[tuple[Conditions, Action]]) -> list[tuple[Action, list[Conditions]]]:
    """The cases by action; errnos in the order in which a later one counts."""
    groups: list[tuple[Action, list[Conditions]]] = []
    for conditions, action in cases:
        for known, others in reversed(groups):
            if known == action:
                others.append(conditions)
                break
            if isinstance(known, int) and isinstance(action, int):
                groups.append((action, [conditions]))
                break
        else:
            groups.append((action, [conditions]))
    return groups


def _rank(action: Action) -> int:
    return 2 if isinstance(action, int) else {"allow": 0, "log": 1, "kill": 3}[action]


def _stricter(first: Action, second: Action) -> Action:
    return first if _rank(first) > _rank(second) else second


def _answer(layer: Layer, name: str) -> Action:
    return next((action for other, _, action in layer.rules if other == name), layer.default)


def _with_seccomp(layer: Layer) -> Layer:
    rules = tuple(rule for rule in layer.rules if rule[0] != "seccomp")
    if layer.default != "allow":
        rules += (("seccomp", (), "allow"),)
    return Layer(layer.default, rules, layer.other_abis)


# ---- conditions ----


def _compared(name: str, conditions: Conditions) -> Iterator[tuple[Comparison, ...]]:
    """*conditions* as alternatives of comparisons, in each at most one an argument."""
    counts = [condition.index for condition in conditions]
    options = [_comparisons(one, counts.count(one.index) == 1) for one in conditions]
    count = math.prod(map(len, options))
    if count > CASES_MAX:
        raise ValueError(
            f"seccomp filter: {name}: its conditions come to {count} comparisons; the most is "
            f"{CASES_MAX}"
        )
    for chosen in itertools.product(*options):
        merged: dict[int, Comparison] = {}
        for one in chosen:
            other = merged.get(one.index)
            if other is None:
                merged[one.index] = one
            elif (one.value ^ other.value) & one.mask & other.mask:
                break  # they contradict each other
            else:
                merged[one.index] = Comparison(
                    one.index, one.mask | other.mask, one.value | other.value
                )
        else:
            yield tuple(merged[index] for index in sorted(merged))


def _comparisons(argument: SyscallArgument, alone: bool) -> list[Comparison]:
    """The alternatives that *argument* stands for."""
    index, value, bits = argument.index, argument.value, argument.bits
    every = (1 << bits) - 1
    mask = every if argument.mask is None else argument.mask
    if argument.comparison == "==":
        return [Comparison(index, mask, value)]
    if argument.comparison == "!=":
        if alone and mask == (1 << 64) - 1:
            return [Comparison(index, 0, value)]
        return [Comparison(index, bit, ~value & bit) for bit in _bits(mask)]
    # a < v where they agree in the bits above one that is set in v alone, and likewise for ">".
    less = argument.comparison[0] == "<"
    found = [
        Comparison(index, every & -bit, (value ^ bit) & -bit & every)
        for bit in _bits(every)
        if bool(value & bit) == less
    ]
    if argument.comparison[1:] == "=":
        found.append(Comparison(index, every, value))
    return found


def _bits(mask: int) -> Iterator[int]:
    return (1 << number for number in range(64) if mask >> number & 1)


# ---- steps ----

NAMES_SHOWN = 6


def filter_steps(seccomp: SeccompFilter | None) -> list[Step]:
    """The steps that install *seccomp*, a program each.

    They hold no program: what it is depends on the architecture, and the launcher adds it.
    """
    if seccomp is None:
        return []
    return [Step(Op.INSTALL_FILTER, _words(layer)) for layer in layers_of(seccomp)]


def refuses(seccomp: SeccompFilter | None, name: str) -> bool:
    """Whether *seccomp* answers the call *name* with an errno or a kill whatever its arguments."""
    return seccomp is not None and any(
        _rank(_answer(layer, name)) > _rank("log")
        and not any(other == name and comparisons for other, comparisons, _ in layer.rules)
        for layer in layers_of(seccomp)
    )


def _words(layer: Layer) -> str:
    """The layer in a line: "allow all, but kill for fork, vfork and EPERM for mount"."""
    names: dict[Action, list[str]] = {}
    for name, comparisons, action in layer.rules:
        shown = f"{name} (by arguments)" if comparisons else name
        if shown not in names.setdefault(action, []):
            names[action].append(shown)
    words = [f"{_name(layer.default)} for all"]
    for action, calls in names.items():
        more = len(calls) - NAMES_SHOWN
        listed = ", ".join(calls[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
        words.append(f"{_name(action)} for {listed}")
    said = "; but ".join((words[0], "; ".join(words[1:]))) if names else words[0]
    return f"{said}; by any ABI" if layer.other_abis else said


def _name(action: Action) -> str:
    if action == 0 and isinstance(action, int):
        return "pretended success"
    return errno.errorcode.get(action, str(action)) if isinstance(action, int) else action

"""An ``Inspection`` as a tree of lines for people."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from .showing import age_words, count_words, joined, size_words
from .tree import Node, Part, grow

if TYPE_CHECKING:
    from ..inspection.report import IdRange, Inspection, Listener, MountEntry, ProcessEntry

__all__ = ["tree_of"]

_HEAD = "bold cyan"
_GOOD = "green"
_WARN = "yellow"

_STATES = {
    "R": "running",
    "S": "sleeping",
    "D": "waiting for a disk or such",
    "Z": "a zombie",
    "T": "stopped",
    "t": "stopped by a tracer",
    "I": "idle",
}  # proc_pid_stat(5)

_KINDS = {
    "service": "a service with namespaces of its own",
    "visitor": "it has joined a part of one",
    "spare": "ready to become one of pycontainer's",
}

_TELLING = ("size=", "lowerdir=", "upperdir=", "workdir=", "hidepid=", "subset=")
"""Options of file systems that are shown: how large they are, and what they are made of."""

_MOST_FILES = 40
_MOST_LISTENERS = 40
_MOST_PROCESSES = 100
_LONGEST_COMMAND = 100


def tree_of(found: Inspection) -> Node:
    """All that was found, in the order in which one asks."""
    root = Node((f"process {found.pid}", "bold"), ": ", *_where(found))
    _process(root, found)
    _namespaces(root, found)
    _mounts(root, found)
    _ids(root, found)
    _privileges(root, found)
    _rlimits(root, found)
    _cgroup(root, found)
    _processes(root, found)
    _network(root, found)
    _open_files(root, found)
    _environment(root, found)
    return root


def _where(found: Inspection) -> list[Part]:
    maker = f" (made by {found.maker})" if found.maker else ""
    if found.container == found.pid:
        return [f"the first of its container{maker}"]
    if found.container is not None:
        return [f"in the container of process {found.container}{maker}"]
    if "namespaces" in found.unread:
        return [("it may not be looked at: whether it is in a container is not known", _WARN)]
    words = "in no container"
    if found.kind in _KINDS:
        words += f", but {_KINDS[found.kind]}"
    elif any(each.own for each in found.namespaces):
        words += ", but with namespaces of its own"
    if found.made_here:
        inner = ", ".join(map(str, found.made_here))
        return [(words, _WARN), f"; from it come the containers of {inner}"]
    return [(words, _WARN)]


def _section(root: Node, title: str, found: Inspection, *names: str) -> Node:
    """A heading, and below it why something is not there."""
    node = root.add((title, _HEAD))
    for name in names:
        if name in found.unread:
            node.add((f"unread: {found.unread[name]}", _WARN))
    return node


def _process(root: Node, found: Inspection) -> None:
    node = _section(root, "process", found)
    node.row("command", (joined(found.command), "bold"))
    inside = "" if found.inside in (None, found.pid) else f"; {found.inside} inside"
    node.row("number", f"{found.pid}{inside}; its parent is {found.parent}")
    state = _STATES.get(found.state, found.state)
    node.row("state", f"{state}, started {age_words(found.age)} ago")
    node.row("user", _user(found.user, found.uid), *_mapped(found.inside_uid, found.uid))
    node.row("group", str(found.gid), *_mapped(found.inside_gid, found.gid))
    if found.groups:
        node.row("groups", " ".join(map(str, found.groups)))
    for name, path in (
        ("program", found.executable),
        ("directory", found.cwd),
        ("root", found.root),
    ):
        attribute = {"program": "executable", "directory": "cwd"}.get(name, name)
        if path is not None:
            node.row(name, path)
        elif attribute in found.unread:
            node.row(name, (f"unread: {found.unread[attribute]}", _WARN))


def _user(name: str, uid: int) -> str:
    return str(uid) if name == str(uid) else f"{name} ({uid})"


def _mapped(inside: int | None, outside: int) -> list[Part]:
    if inside is None:
        return [("; not mapped inside", _WARN)]
    return [] if inside == outside else [f"; {inside} inside"]


def _namespaces(root: Node, found: Inspection) -> None:
    node = _section(root, "namespaces", found, "namespaces")
    for title, own, style in (("its own", True, _GOOD), ("the host's", False, _WARN)):
        kinds = [each.kind for each in found.namespaces if each.own is own]
        if kinds:
            node.row(title, (" ".join(kinds), style))


def _mounts(root: Node, found: Inspection) -> None:
    node = _section(root, "mounts", found, "mounts")
    grow(node, found.mounts, lambda each: each.id, lambda each: each.parent, _mount)


def _mount(each: MountEntry) -> list[Part]:
    source = each.source if each.root == "/" else f"{each.source}[{each.root}]"
    flags = ["ro" if each.read_only else "rw", *each.flags]
    flags += [word for word in each.propagation if word != "private"]
    flags += [option for option in each.options if option.startswith(_TELLING)]
    return [
        (each.target, "bold"),
        f"  {each.fstype} {source}  ",
        (" ".join(flags), "dim" if each.read_only else _WARN),
    ]


def _ids(root: Node, found: Inspection) -> None:
    node = _section(root, "ids", found, "uid_map", "gid_map", "setgroups")
    for name, ranges in (("users", found.uid_map), ("groups", found.gid_map)):
        if not ranges and {"uid_map", "gid_map"}.isdisjoint(found.unread):
            node.row(name, ("none is mapped", _WARN))
        for each in ranges:
            node.row(name, _range(each))
    if found.setgroups is not None:
        node.row("setgroups", found.setgroups)


def _range(each: IdRange) -> str:
    if each == type(each)(0, 0, 4294967295):
        return "the host's, all of them"
    if each.count == 1:
        return f"{each.inside} inside is {each.outside}"
    last, outer = each.inside + each.count - 1, each.outside + each.count - 1
    return f"{each.inside}-{last} inside are {each.outside}-{outer}"


def _privileges(root: Node, found: Inspection) -> None:
    node = _section(root, "privileges", found)
    sets = found.capabilities
    before: dict[tuple[str, ...], str] = {}
    for name in ("effective", "permitted", "inheritable", "bounding", "ambient"):
        names = getattr(sets, name)
        if names and names in before:
            node.row(name, f"the same as {before[names]}")
        else:
            node.row(name, _capabilities(names))
            before[names] = name
    seccomp = found.seccomp
    words = seccomp.mode
    if seccomp.mode == "filter" and seccomp.filters is not None:
        words = count_words(seccomp.filters, "filter", "filters")
    node.row("seccomp", (words, _WARN if seccomp.mode == "none" else _GOOD))
    node.row(
        "new ones",
        ("none (no_new_privs)", _GOOD) if found.no_new_privileges else ("by set-id files", _WARN),
    )
    if found.label:
        node.row("label", found.label)


def _capabilities(names: tuple[str, ...]) -> Part:
    from ..declare.capabilities import CAPABILITIES

    missing = [name for name in CAPABILITIES if name not in names]
    if not names:
        return ("none", _GOOD)
    if not missing:
        return (f"all {len(names)}", _WARN)
    if len(missing) <= 5:
        return (f"all but {' '.join(missing)}", _WARN)
    return " ".join(names)


def _rlimits(root: Node, found: Inspection) -> None:
    node = _section(root, "limits of each process", found, "rlimits")
    for each in found.rlimits:
        if each.soft is None and each.hard is None:
            continue
        soft, hard = (
            "no limit" if bound is None else _bound(bound, each.unit)
            for bound in (each.soft, each.hard)
        )
        node.row(each.name, soft if soft == hard else f"{soft}; hard: {hard}")


def _bound(bound: int, unit: str) -> str:
    if unit == "bytes":
        return size_words(bound)
    return f"{bound} {unit}".rstrip()


def _cgroup(root: Node, found: Inspection) -> None:
    node = _section(root, "cgroup", found, "cgroup")
    cgroup = found.cgroup
    paths: dict[str, list[str]] = {}
    for each in cgroup.paths:
        names = ",".join(each.controllers) if each.version == 1 else "v2"
        paths.setdefault(each.path, []).append(names)
    for path, hierarchies in paths.items():
        node.row("path", path, (f"  {' '.join(hierarchies)}", "dim"))
    for name, limit in cgroup.limits.items():
        used = _amount(name, cgroup.usage.get(name))
        words = [] if limit is None else [f"at most {_amount(name, limit)}"]
        if name == "cpuset":
            words = [] if limit is None else [f"processors {limit}"]
        if used:
            words.append(f"{used} used")
        if name == "memory" and cgroup.usage.get("memory_peak") is not None:
            words.append(f"{_amount(name, cgroup.usage['memory_peak'])} at its peak")
        if words:
            node.row(name.replace("_", " "), "; ".join(words))
    seconds = cgroup.usage.get("cpu_time")
    if seconds is not None:
        node.row("cpu time", f"{seconds:.2f} s")
    if not cgroup.alone and cgroup.paths:
        node.add(("shared with processes outside: what they use together is not shown", "dim"))


def _amount(name: str, number: int | float | str | None) -> str:
    if number is None:
        return ""
    if isinstance(number, int) and name in ("memory", "memory_high", "swap"):
        return size_words(number)
    return f"{number:g}" if isinstance(number, float) else str(number)


def _processes(root: Node, found: Inspection) -> None:
    node = _section(root, f"processes ({len(found.processes)})", found)
    shown = found.processes[:_MOST_PROCESSES]
    line = functools.partial(_process_line, asked=found.pid)
    grow(node, shown, lambda each: each.pid, lambda each: each.parent, line)
    _more(node, len(found.processes) - _MOST_PROCESSES)


def _process_line(each: ProcessEntry, asked: int) -> list[Part]:
    number = str(each.pid)
    if each.inside is not None and each.inside != each.pid:
        number += f" ({each.inside} inside)"
    words = f"{_user(each.user, each.uid)}, {size_words(each.rss)}, {age_words(each.age)}"
    if each.threads > 1:
        words += f", {each.threads} threads"
    if each.state not in "SRI":
        words += f", {_STATES.get(each.state, each.state)}"
    return [
        (number, "bold cyan" if each.pid == asked else "cyan"),
        " ",
        (_short(joined(each.command)), "bold" if each.pid == asked else ""),
        (f"  {words}", "dim"),
    ]


def _short(words: str) -> str:
    return words if len(words) <= _LONGEST_COMMAND else words[: _LONGEST_COMMAND - 1] + "…"


def _network(root: Node, found: Inspection) -> None:
    node = _section(root, "network", found, "network")
    network = found.network
    if not network.own and "namespaces" not in found.unread:
        node.add(("the host's", _WARN))
    for each in network.interfaces:
        node.row(
            each.name,
            " ".join(each.addresses) or "no address",
            (f"  received {size_words(each.received)}, sent {size_words(each.sent)}", "dim"),
        )
    names = {each.pid: joined(each.command[:1]) for each in found.processes}
    for listener in network.listeners[:_MOST_LISTENERS]:
        node.row("listens", *_listener(listener, names))
    _more(node, len(network.listeners) - _MOST_LISTENERS)


def _listener(each: Listener, names: Mapping[int, str]) -> Iterable[Part]:
    where = each.address
    if each.port is not None:
        where = f"[{where}]:{each.port}" if ":" in where else f"{where}:{each.port}"
    yield f"{each.protocol} {where}"
    holders = ", ".join(f"{pid} {names.get(pid, '')}".rstrip() for pid in each.pids)
    if holders:
        yield (f"  {holders}", "dim")


def _open_files(root: Node, found: Inspection) -> None:
    node = _section(root, f"open files ({len(found.open_files)})", found, "open_files")
    shown: dict[int, Node] = {}
    counts: dict[int, int] = {}
    for each in found.open_files:
        if each.pid not in shown:
            shown[each.pid] = node.add((f"of {each.pid}", "cyan"))
        counts[each.pid] = counts.get(each.pid, 0) + 1
        if counts[each.pid] <= _MOST_FILES:
            shown[each.pid].add(f"{each.fd:>4} {each.mode:4} {each.target}")
    for pid, count in counts.items():
        _more(shown[pid], count - _MOST_FILES)


def _more(node: Node, number: int) -> None:
    if number > 0:
        node.add((f"and {number} more: --json has them", "dim"))


def _environment(root: Node, found: Inspection) -> None:
    if found.environment is None and "environment" not in found.unread:
        return
    node = _section(root, "environment", found, "environment")
    for name, value in (found.environment or {}).items():
        node.add((name, "bold"), "=", value)

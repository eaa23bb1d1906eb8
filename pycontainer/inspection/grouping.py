"""Which processes make up one container, and which containers lie in which.

The kernel has no containers: it has processes, and namespaces that they are in.  Processes in the
same namespaces are one group; a group lies in that which its first process came from.  A group is a
*container* where it has its own view of the files (``mnt``) and at least one more namespace that is
not the surrounding container's.  A service of systemd with PrivateTmp has the first only, the
sandbox of a browser's page the second only; a service of systemd with more, but among the host's
processes, is still a service.  Where a program that makes containers is seen to have made it,
``mnt`` or ``pid`` alone is enough.

Pure: it works on samples, and asks its caller for what else it must know of a process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from .makers import Evidence, guess_maker
from .procfs import KINDS, Namespaces, Sample

__all__ = ["Group", "group"]

_MNT = KINDS.index("mnt")


class Group:
    """Processes in the same namespaces.

    Attributes:
        key: the namespaces.
        members: by start.
        first: the one that all of it goes back to, where it still lives.
        around: the group that the first one came from, or None for the host.
        fresh: kinds of namespaces that are not those of the surrounding container.
        kind: ``"container"``, ``"service"``, ``"spare"`` (a process that pycontainer keeps ready),
            ``"visitor"`` (has joined a part of a container) or ``"part"`` (anything else with
            namespaces of its own).
        maker: a guess of what made it.
        cgroup: of the first process, as /proc/PID/cgroup has it.
    """

    __slots__ = ("around", "cgroup", "first", "fresh", "key", "kind", "maker", "members")

    def __init__(self, key: Namespaces, members: list[Sample]) -> None:
        self.key = key
        self.members = sorted(members, key=_age)
        self.first = _first(self.members, key)
        self.around: Group | None = None
        self.fresh: tuple[str, ...] = ()
        self.kind = "part"
        self.maker: str | None = None
        self.cgroup = ""

    def enclosing(self) -> Group | None:
        """The container that it lies in, or None for the host."""
        group = self.around
        while group is not None and group.kind != "container":
            group = group.around
        return group


def _age(sample: Sample) -> tuple[int, int]:
    return sample.started, sample.pid


def _first(members: list[Sample], key: Namespaces) -> Sample:
    """The oldest that has not come from another one; one inside the pid namespace if there is any.

    ``unshare --fork`` itself stays outside of the pid namespace that it has made.
    """
    inside = [m for m in members if m.namespaces == key] or members
    pids = {member.pid for member in inside}
    return next((member for member in inside if member.ppid not in pids), inside[0])


def group(
    found: Iterable[Sample],
    host: Namespaces,
    evidence: Callable[[int], Evidence],
) -> list[Group]:
    """The groups that are not the host's, each after the one that it lies in, the oldest first.

    Arguments:
        found: the processes.  Threads of the kernel and what has ended are left out, and so are
            those that may not be looked at.
        host: the namespaces that are no container's.
        evidence: tells what else is known of a process, by its pid.
    """
    everyone = {sample.pid: sample for sample in found}
    sets: dict[Namespaces, list[Sample]] = {}
    for sample in everyone.values():
        if sample.descends is not None and sample.descends != host:
            sets.setdefault(sample.descends, []).append(sample)
    groups = {key: Group(key, members) for key, members in sets.items()}
    for each in groups.values():
        each.around = _around(each, groups, everyone)
    ordered = list(_outermost_first(groups.values()))
    for each in ordered:
        _classify(each, host, everyone, evidence)
    _find_visitors(ordered, host)
    return ordered


def _around(
    inner: Group, groups: dict[Namespaces, Group], everyone: dict[int, Sample]
) -> Group | None:
    """The group of the nearest ancestor that is in another one."""
    for ancestor in ancestors(inner.first, everyone):
        if ancestor.descends is None:
            continue  # a zombie, or not to be looked at
        found = groups.get(ancestor.descends)
        if found is not inner:
            return found
    return None


def ancestors(sample: Sample, everyone: dict[int, Sample]) -> Iterator[Sample]:
    """Parent, its parent and so on, as far as they are known."""
    seen = {sample.pid}  # a number may have gone to another process while all were read
    while sample.ppid not in seen and sample.ppid in everyone:
        sample = everyone[sample.ppid]
        seen.add(sample.pid)
        yield sample


def _outermost_first(groups: Iterable[Group]) -> Iterator[Group]:
    done: set[int] = set()
    for each in sorted(groups, key=lambda group: _age(group.first)):
        chain: list[Group] = []
        outer: Group | None = each
        while outer is not None and id(outer) not in done:
            if outer in chain:  # each came from the other: one of the two was read too late
                chain[-1].around = None
                break
            chain.append(outer)
            outer = outer.around
        for inner in reversed(chain):
            done.add(id(inner))
            yield inner


def _classify(
    each: Group,
    host: Namespaces,
    everyone: dict[int, Sample],
    evidence: Callable[[int], Evidence],
) -> None:
    outer = each.enclosing()
    base = host if outer is None else outer.key
    each.fresh = _differing(each.key, base)
    first = evidence(each.first.pid)
    each.cgroup = first.cgroup
    # What started it stands outside of it, or is the one process that stays outside of its pids.
    outside = [
        evidence(ancestor.pid)
        for ancestor in list(ancestors(each.first, everyone))[:2]
        if ancestor.namespaces != each.key
    ]
    each.maker = guess_maker(first, outside)
    if outside and outside[0].is_helper and "mnt" not in each.fresh:
        each.kind = "spare"
    elif outer is None and "pid" not in each.fresh and outside and _is_service(first, outside[0]):
        each.kind, each.maker = "service", "systemd"
    elif ("mnt" in each.fresh and len(each.fresh) > 1) or (
        each.maker is not None and not {"mnt", "pid"}.isdisjoint(each.fresh)
    ):
        each.kind = "container"


def _is_service(first: Evidence, parent: Evidence) -> bool:
    """Whether an init started it as one: the nearest unit of its cgroup is a service.

    A user's own init is a service itself, in whose cgroups everything of that user's lies.
    """
    if parent.pid != 1 and not parent.cgroup.rstrip("\n").endswith("/init.scope"):
        return False
    for line in first.cgroup.split("\n"):
        units = [part for part in line.split("/") if part.endswith((".service", ".scope"))]
        if units and units[-1].endswith(".service") and not units[-1].startswith("user@"):
            return True
    return False


def _differing(key: Namespaces, base: Namespaces) -> tuple[str, ...]:
    return tuple(kind for kind, _ in _numbers(key, base))


def _numbers(key: Namespaces, base: Namespaces) -> Iterator[tuple[str, int]]:
    for kind, own, other in zip(KINDS, key, base, strict=True):
        if own != other:
            yield kind, own


def _find_visitors(groups: list[Group], host: Namespaces) -> None:
    """Whatever has come later and is in some of a container's namespaces, and in no others."""
    owned = {id(each): set(_numbers(each.key, host)) for each in groups}
    users: dict[tuple[str, int], list[Group]] = {}  # of a namespace, as far as they are containers
    for each in groups:
        if each.kind == "container":
            for number in owned[id(each)]:
                users.setdefault(number, []).append(each)
    for each in groups:
        own = owned[id(each)]
        # It can be none but of a container that has all of its namespaces.
        fewest = min((users.get(number, []) for number in own), key=len, default=[])
        for other in fewest:
            if own < owned[id(other)] and _age(each.first) > _age(other.first):
                each.kind = "visitor"

"""Which containers there are on this host, whoever made them, and what one of them is made of.

Nothing here joins a container or runs anything in it: all of it is read from the caller's own
/proc, never from a container's (it may hold whatever the container likes).

    from pycontainer.inspection import inspect_container, list_containers

    for container in list_containers():
        print(container.pid, container.maker, container.command)
        print(inspect_container(container.pid).capabilities.effective)
"""

from __future__ import annotations

from ..lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .escape import printable
    from .examine import inspect_container
    from .listing import ContainerSummary, Survey, list_containers, survey
    from .report import (
        Capabilities,
        Cgroup,
        CgroupPath,
        IdRange,
        Inspection,
        Interface,
        Listener,
        MountEntry,
        NamespaceEntry,
        Network,
        OpenFile,
        ProcessEntry,
        ResourceLimit,
        Seccomp,
    )

__all__ = [
    "Capabilities",
    "Cgroup",
    "CgroupPath",
    "ContainerSummary",
    "IdRange",
    "Inspection",
    "Interface",
    "Listener",
    "MountEntry",
    "NamespaceEntry",
    "Network",
    "OpenFile",
    "ProcessEntry",
    "ResourceLimit",
    "Seccomp",
    "Survey",
    "inspect_container",
    "list_containers",
    "printable",
    "survey",
]

_HOMES = {
    "escape": ("printable",),
    "examine": ("inspect_container",),
    "listing": ("ContainerSummary", "Survey", "list_containers", "survey"),
}
_HOME = dict.fromkeys(__all__, "report")
_HOME |= {name: home for home, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:  # to a type checker a name that is not above is a mistake
    __getattr__ = lazy_names(__name__, _HOME)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Call Python functions in fresh Linux containers, and step into running ones.

Names are imported when they are first used: the lean helper process imports this package without
attrs or cloudpickle, and what needs no compiled helper works without it.
"""

from __future__ import annotations

from .lazy import lazy_names

TYPE_CHECKING = False  # typing itself would take a megabyte of the helper
if TYPE_CHECKING:
    from .calls import call_with_container, run_container, start_container
    from .commands import exec_command, run_command, start_command
    from .declare.container import Container, extend
    from .declare.entries import directory, file, symlink
    from .declare.filters import (
        NO_CHMOD,
        NO_CHROOT,
        NO_FORK,
        NO_SETRLIMIT,
        NO_SYNC,
        SeccompFilter,
        SyscallArgument,
    )
    from .declare.limits import Limits
    from .declare.mounts import (
        Mount,
        bind,
        device,
        devpts,
        mqueue,
        overlay,
        proc,
        sysfs,
        tmpfs,
    )
    from .declare.namespaces import NAMESPACES
    from .declare.options import ContainerOptions
    from .declare.sandbox import SANDBOX
    from .declare.untrusted import UNTRUSTED
    from .errors import (
        CommandError,
        ContainerError,
        ContainerExitError,
        ContainerTimeoutError,
        HelperError,
        PayloadError,
        RemoteError,
        ResultError,
        SetupError,
    )
    from .excursion import container_excursion
    from .host.diagnose import diagnose
    from .host.mounts import host_network, host_python, host_system
    from .host.probes import (
        setgroups_supported,
        unprivileged_user_namespace_supported,
        user_namespace_supported,
    )
    from .launch.codec.allow import Data
    from .launch.results import Completed, ExitStatus, Usage, Verdict
    from .launch.running import Running
    from .launch.stdio import DEVNULL, PIPE, STDOUT
    from .plan.compile import explain

__all__ = [
    "DEVNULL",
    "NAMESPACES",
    "NO_CHMOD",
    "NO_CHROOT",
    "NO_FORK",
    "NO_SETRLIMIT",
    "NO_SYNC",
    "PIPE",
    "SANDBOX",
    "STDOUT",
    "UNTRUSTED",
    "CommandError",
    "Completed",
    "Container",
    "ContainerError",
    "ContainerExitError",
    "ContainerOptions",
    "ContainerTimeoutError",
    "Data",
    "ExitStatus",
    "HelperError",
    "Limits",
    "Mount",
    "PayloadError",
    "RemoteError",
    "ResultError",
    "Running",
    "SeccompFilter",
    "SetupError",
    "SyscallArgument",
    "Usage",
    "Verdict",
    "bind",
    "call_with_container",
    "container_excursion",
    "device",
    "devpts",
    "diagnose",
    "directory",
    "exec_command",
    "explain",
    "extend",
    "file",
    "host_network",
    "host_python",
    "host_system",
    "mqueue",
    "overlay",
    "proc",
    "run_command",
    "run_container",
    "setgroups_supported",
    "start_command",
    "start_container",
    "symlink",
    "sysfs",
    "tmpfs",
    "unprivileged_user_namespace_supported",
    "user_namespace_supported",
]

_HOMES = {
    "calls": ("call_with_container", "run_container", "start_container"),
    "commands": ("exec_command", "run_command", "start_command"),
    "declare.container": ("Container", "extend"),
    "declare.entries": ("directory", "file", "symlink"),
    "declare.limits": ("Limits",),
    "declare.mounts": (
        "Mount",
        "bind",
        "device",
        "devpts",
        "mqueue",
        "overlay",
        "proc",
        "sysfs",
        "tmpfs",
    ),
    "declare.options": ("ContainerOptions",),
    "declare.filters": (
        "NO_CHMOD",
        "NO_CHROOT",
        "NO_FORK",
        "NO_SETRLIMIT",
        "NO_SYNC",
        "SeccompFilter",
        "SyscallArgument",
    ),
    "declare.namespaces": ("NAMESPACES",),
    "declare.sandbox": ("SANDBOX",),
    "declare.untrusted": ("UNTRUSTED",),
    "errors": (
        "CommandError",
        "ContainerError",
        "ContainerExitError",
        "ContainerTimeoutError",
        "HelperError",
        "PayloadError",
        "RemoteError",
        "ResultError",
        "SetupError",
    ),
    "excursion": ("container_excursion",),
    "host.diagnose": ("diagnose",),
    "host.mounts": ("host_network", "host_python", "host_system"),
    "host.probes": (
        "setgroups_supported",
        "unprivileged_user_namespace_supported",
        "user_namespace_supported",
    ),
    "launch.codec.allow": ("Data",),
    "launch.results": ("Completed", "ExitStatus", "Usage", "Verdict"),
    "launch.running": ("Running",),
    "launch.stdio": ("DEVNULL", "PIPE", "STDOUT"),
    "plan.compile": ("explain",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:  # to a type checker a name that is not above is a mistake
    __getattr__ = lazy_names(__name__, _HOME)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})

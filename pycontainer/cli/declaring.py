"""From options to a ``Container``: each option is one function of ``Declaration``."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..declare.capabilities import ALL, CAPABILITIES
from ..declare.container import Container, extend
from ..declare.entries import directory, file, symlink
from ..declare.mounts import Mount, bind, mqueue, overlay, proc, tmpfs
from ..declare.namespaces import NAMESPACES
from .parse import MisuseError, read_descriptor, whole

if TYPE_CHECKING:
    from .bounds import Bounds

__all__ = ["Declaration"]


class Declaration:
    """What a command line declares, option by option.

    Attributes:
        tty: True, False, or None for what the streams suggest.
        json: where to report the end: None, "" for stdout, a file's name, a descriptor's number.
        dry_run: print the plan only.
    """

    def __init__(self) -> None:
        self.tty: bool | None = None
        self.json: str | None = None
        self.dry_run = False
        self._base: Container | None = None
        self._mounts: list[Any] = []
        self._layers: list[str] = []
        self._size: str | None = None
        self._perms: int | None = None
        self._namespaces = NAMESPACES
        self._env: dict[str, str] = {}
        self._cleared = False
        self._fields: dict[str, Any] = {}
        self._bounds: Bounds | None = None
        self._filter: Any = None
        self._filtered = False
        self._capabilities: list[tuple[bool, str]] = []

    def add(self, name: str, values: tuple[str, ...]) -> None:
        """Add one option.

        Raises:
            MisuseError, ValueError: it makes no sense.
        """
        if self._size is not None and name not in ("--tmpfs", "--perms"):
            raise MisuseError(f"--size is for the --tmpfs after it, not for {name}")
        if self._perms is not None and name not in (*_WITH_PERMS, "--size"):
            raise MisuseError(f"--perms is for a {', '.join(_WITH_PERMS)} after it, not for {name}")
        if self._layers and name not in _OVERLAYS:
            raise MisuseError(f"--overlay-src is for an overlay after it, not for {name}")
        _ADD[name](self, *values)

    def container(self) -> Container:
        """The container that all options together declare.

        Raises:
            MisuseError, ValueError: it makes no sense.
        """
        for left, option in (
            (self._size, "--size"),
            (self._perms, "--perms"),
            (self._layers, "--overlay-src"),
        ):
            if left:
                raise MisuseError(f"{option}: nothing that it is for comes after it")
        fields = self._fields
        fields["namespaces"] = self._namespaces
        base = self._base or Container()
        if self._capabilities:
            fields["capabilities"] = self._chosen_capabilities(base)
        if self._bounds is not None:
            fields["limits"] = self._bounds.limits(base.limits)
        if self._filtered:
            fields["seccomp"] = self._filter
        if self._cleared:
            fields["env"] = self._env
            return extend(base, *self._mounts, **fields)
        return extend(base, *self._mounts, env=self._env, **fields)

    def _chosen_capabilities(self, base: Container) -> Any:
        names: set[str] = set(CAPABILITIES if base.capabilities == ALL else base.capabilities)
        for add, name in self._capabilities:
            if name.upper() in ("ALL", "CAP_ALL"):
                names = set(CAPABILITIES) if add else set()
                continue
            full = name.upper() if name.upper().startswith("CAP_") else f"CAP_{name.upper()}"
            if full not in CAPABILITIES:
                names.add(name)  # reported by the check, with the nearest name
            elif add:
                names.add(full)
            else:
                names.discard(full)
        return ALL if names == set(CAPABILITIES) else names

    # ---- files

    def bind(self, source: str, target: str, **how: Any) -> None:
        self._mounts.append(bind(source, target, **how))

    def tmpfs(self, target: str) -> None:
        mode = 0o755 if self._perms is None else self._perms
        self._mounts.append(tmpfs(target, size=self._size, mode=mode))
        self._size = self._perms = None

    def size(self, size: str) -> None:
        self._size = size

    def perms(self, octal: str) -> None:
        try:
            self._perms = int(octal, 8)
        except ValueError:
            raise MisuseError(f"--perms takes octal digits, as 0700, not {octal!r}") from None

    def directory(self, path: str) -> None:
        self._mounts.append(directory(path, 0o755 if self._perms is None else self._perms))
        self._perms = None

    def file(self, fd: str, path: str) -> None:
        mode = 0o644 if self._perms is None else self._perms
        self._mounts.append(file(path, read_descriptor(fd, "--file"), mode))
        self._perms = None

    def symlink(self, to: str, path: str) -> None:
        self._mounts.append(symlink(path, to))

    def proc(self, target: str) -> None:
        if target != "/proc":
            self._mounts.append(proc(target))

    def dev(self, target: str) -> None:
        if target.rstrip("/") != "/dev":
            raise MisuseError(f"--dev {target}: a minimal /dev is made at /dev, nowhere else")

    def mqueue(self, target: str) -> None:
        self._mounts.append(mqueue(target))

    def layer(self, source: str) -> None:
        self._layers.insert(0, os.path.abspath(source))  # the uppermost first

    def overlay(self, target: str, upper: str | None = None, work: str | None = None) -> None:
        if not self._layers:
            raise MisuseError(f"the overlay at {target} needs --overlay-src before it")
        self._mounts.append(overlay(self._layers, target, upper=upper, work=work))
        self._layers = []

    def read_only_overlay(self, target: str) -> None:
        if len(self._layers) < 2:
            raise MisuseError(f"--ro-overlay {target} needs two --overlay-src or more before it")
        for layer in self._layers:
            if any(character in layer for character in ":,\\\n"):
                raise MisuseError(f"--overlay-src {layer!r} contains ':', ',' or a backslash")
        options = [f"lowerdir={':'.join(self._layers)}"]
        self._mounts.append(Mount(target, "overlay", options=options, writable=False))
        self._layers = []

    def host_system(self) -> None:
        from ..host.mounts import host_system

        self._mounts.append(host_system())

    def host_python(self) -> None:
        from ..host.mounts import host_python

        self._mounts.append(host_python())

    def host_network(self) -> None:
        from ..host.mounts import host_network

        self._mounts.append(host_network())
        self.share("net")

    # ---- fields

    def set(self, name: str, value: Any) -> None:
        self._fields[name] = value

    def number(self, name: str, option: str, text: str) -> None:
        self._fields[name] = whole(option, text)

    def user(self, text: str) -> None:
        uid, _, gid = text.partition(":")
        self.number("guest_uid", "--user", uid)
        self.number("guest_gid", "--user", gid or uid)

    def share(self, name: str) -> None:
        self._namespaces = self._namespaces - {name}

    def unshare(self, *names: str) -> None:
        self._namespaces = self._namespaces | {*names}

    def network(self, kind: str) -> None:
        if kind == "host":
            self.host_network()
        elif kind == "none":
            self.unshare("net")
        else:
            raise MisuseError(f"--network takes host or none, not {kind!r}")

    def setenv(self, name: str, value: str) -> None:
        self._env[name] = value

    def env(self, text: str) -> None:
        name, equals, value = text.partition("=")
        if equals:
            self._env[name] = value
        elif name in os.environ:
            self._env[name] = os.environ[name]

    def unsetenv(self, name: str) -> None:
        self._env.pop(name, None)

    def clearenv(self) -> None:
        self._env.clear()
        self._cleared = True

    def reads_output(self) -> bool:
        """Whether the program's output is for a program, or counted: then it is no terminal's."""
        return self.json == "" or (self._bounds is not None and "output" in self._bounds.given)

    def has_variable(self, name: str) -> bool:
        """Whether the program's environment has it so far."""
        return name in self._env

    # ---- privileges

    def capability(self, add: bool, name: str) -> None:
        self._capabilities.append((add, name))

    def seccomp(self, presets: str) -> None:
        from .presets import filter_of

        self._filter = filter_of(presets, self._filter)
        self._filtered = True

    def security(self, text: str) -> None:
        key, _, value = text.partition("=")
        if key == "seccomp" and value == "unconfined":
            self._filter, self._filtered = None, True
        elif key == "seccomp" and value:
            self.seccomp(value)
        elif key == "no-new-privileges" and value in ("", "true", "false"):
            self.set("no_new_privs", value != "false")
        elif key == "mask" and value:
            for path in value.split(":"):
                self.place("masked_paths", path)
        elif key == "unmask" and value:
            self.unmask(value)
        else:
            raise MisuseError(
                "--security-opt takes seccomp=..., no-new-privileges, mask=... or unmask=..., "
                f"not {text!r}"
            )

    def place(self, name: str, path: str) -> None:
        self._fields[name] = (*self._fields.get(name, ()), path)

    def unmask(self, paths: str) -> None:
        for name in ("masked_paths", "readonly_paths"):
            kept = self._fields.get(name, ())
            gone = kept if paths.upper() == "ALL" else paths.split(":")
            self._fields[name] = tuple(path for path in kept if path not in gone)

    def sandbox(self) -> None:
        from .presets import sandbox

        self._base = sandbox()

    # ---- limits

    def bounds(self) -> Bounds:
        """What its limits are to be."""
        if self._bounds is None:
            from .bounds import Bounds

            self._bounds = Bounds()
        return self._bounds


Add = Callable[..., None]
_D = Declaration


def _accept(declaration: Declaration, *values: str) -> None:
    """What is so already."""


def _bind(**how: Any) -> Add:
    return lambda declaration, source, target: declaration.bind(source, target, **how)


def _set(name: str, value: Any) -> Add:
    return lambda declaration: declaration.set(name, value)


def _text(name: str) -> Add:
    return lambda declaration, text: declaration.set(name, text)


def _number(name: str, option: str) -> Add:
    return lambda declaration, text: declaration.number(name, option, text)


def _limit(name: str) -> Add:
    return lambda declaration, text: declaration.bounds().limit(name, text)


def _quantity(name: str, option: str) -> Add:
    return lambda declaration, text: declaration.bounds().quantity(name, option, text)


def _attribute(name: str, value: Any) -> Add:
    return lambda declaration: setattr(declaration, name, value)


def _unshare(*names: str) -> Add:
    return lambda declaration: declaration.unshare(*names)


def _share(name: str) -> Add:
    return lambda declaration: declaration.share(name)


_WITH_PERMS = ("--tmpfs", "--dir", "--file", "--ro-bind-data")
_OVERLAYS = ("--overlay-src", "--overlay", "--tmp-overlay", "--ro-overlay")

_ADD: dict[str, Add] = {
    "--bind": _bind(writable=True),
    "--bind-try": _bind(writable=True, optional=True),
    "--ro-bind": _bind(),
    "--ro-bind-try": _bind(optional=True),
    "--dev-bind": _bind(writable=True, nodev=False),
    "--dev-bind-try": _bind(writable=True, nodev=False, optional=True),
    "--tmpfs": _D.tmpfs,
    "--size": _D.size,
    "--perms": _D.perms,
    "--dir": _D.directory,
    "--file": _D.file,
    "--ro-bind-data": _D.file,
    "--symlink": _D.symlink,
    "--proc": _D.proc,
    "--dev": _D.dev,
    "--mqueue": _D.mqueue,
    "--overlay-src": _D.layer,
    "--overlay": lambda self, upper, work, target: self.overlay(target, upper, work),
    "--tmp-overlay": lambda self, target: self.overlay(target),
    "--ro-overlay": _D.read_only_overlay,
    "--host-system": _D.host_system,
    "--host-python": _D.host_python,
    "--host-network": _D.host_network,
    "--mask": lambda self, path: self.place("masked_paths", path),
    "--remount-ro": lambda self, path: self.place("readonly_paths", path),
    "--rootfs": _text("rootfs"),
    "--read-only": _set("writable_root", False),
    "--writable-root": _set("writable_root", True),
    "--root-size": _text("root_size"),
    "--unshare-all": _unshare(*NAMESPACES),
    **{f"--unshare-{name}": _unshare(name) for name in NAMESPACES - {"mnt"}},
    "--unshare-user-try": _unshare("user", "cgroup"),
    **{f"--share-{name}": _share(name) for name in NAMESPACES - {"mnt"}},
    "--network": _D.network,
    "--hostname": _text("hostname"),
    "--uid": _number("guest_uid", "--uid"),
    "--gid": _number("guest_gid", "--gid"),
    "--user": _D.user,
    "--setenv": _D.setenv,
    "--env": _D.env,
    "--unsetenv": _D.unsetenv,
    "--clearenv": _D.clearenv,
    "--chdir": _text("cwd"),
    "--cap-add": lambda self, name: self.capability(True, name),
    "--cap-drop": lambda self, name: self.capability(False, name),
    "--no-ambient": _set("ambient_capabilities", False),
    "--no-new-privileges": _set("no_new_privs", True),
    "--new-privileges": _set("no_new_privs", False),
    "--seccomp": _D.seccomp,
    "--security-opt": _D.security,
    "--sandbox": _D.sandbox,
    "--memory": _limit("memory"),
    "--cpus": _quantity("cpus", "--cpus"),
    "--cpuset-cpus": lambda self, text: self.bounds().processors(text),
    "--pids-limit": lambda self, text: self.bounds().count("processes", "--pids-limit", text),
    "--timeout": _quantity("wall_time", "--timeout"),
    "--cpu-time": _quantity("cpu_time", "--cpu-time"),
    "--ulimit": lambda self, text: self.bounds().resource(text),
    "--output-limit": _limit("output"),
    "--no-strict-limits": lambda self: self.bounds().limit("strict", False),
    "--tty": _attribute("tty", True),
    "--no-tty": _attribute("tty", False),
    "--interactive": _accept,
    "--json": _attribute("json", ""),
    "--json-file": lambda self, name: setattr(self, "json", name),
    "--dry-run": _attribute("dry_run", True),
    "--as-pid-1": _set("child_is_pid1", True),
    "--init": _set("child_is_pid1", False),
    "--die-with-parent": _accept,
    "--new-session": _accept,
}

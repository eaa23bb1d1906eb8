"""The directory that an OCI runtime runs a build from.

config.json
root/            the build's root, read-only: empty places for mounts, and a little of /etc
inputs/NAME      links to what the store holds
scratch/HASH     what is writable in the build; outputs are made here
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from .constraints import NetworkAccess, ProvideBinSh
from .machine import network_files_here
from .request import BuildRequest, below
from .shell import Shell, sandbox_shell
from .spec import BUILD_GID, BUILD_UID, host_shell_visible, request_spec, scratch_name
from .store import StoredPath

__all__ = ["Bundle", "make_bundle", "shell_for", "spec_here"]

_SKELETON = ("etc", "proc", "dev", "sys", "tmp")
_KERNEL = ("/proc", "/dev", "/sys")  # what is below them is there when they are mounted

_HOSTS = "127.0.0.1 localhost\n::1 localhost\n"


@frozen
class Bundle:
    """A bundle on disk.

    Attributes:
        path: the directory.
        request: what it builds.
    """

    path: str
    request: BuildRequest

    def output_place(self, output: str) -> tuple[str, str]:
        """The directory of the host that an output is below, and its path in there or ""."""
        scratch = max((one for one in self.request.scratch_paths if below(output, one)), key=len)
        folder = os.path.join(self.path, "scratch", scratch_name(scratch))
        return folder, output[len(scratch) :].lstrip("/")


def shell_for(request: BuildRequest) -> Shell | None:
    """The shell that a build of *request* gets; None if it asks for none, or sees the host's."""
    if not request.has(ProvideBinSh) or host_shell_visible(request):
        return None
    return sandbox_shell()


def spec_here(
    request: BuildRequest, shell: Shell | None, runtime: str = "native"
) -> dict[str, Any]:
    """The ``config.json`` of *request* for this machine, this user and *runtime*."""
    root = os.geteuid() == 0
    spec = request_spec(
        request,
        rootless=not root,
        host_uid=os.geteuid(),
        host_gid=os.getegid(),
        **_shell_options(request, shell),
        network_files=network_files_here(),
        terminal=False,
    )
    if runtime == "runc" and not root:
        _map_root(spec)
    if root:
        _give_tmp(spec)
    return spec


def make_bundle(
    path: str,
    request: BuildRequest,
    inputs: Mapping[str, StoredPath],
    shell: Shell | None,
    runtime: str = "native",
) -> Bundle:
    """Make the bundle of *request* at *path*, which must not exist.

    Raises:
        OSError: it cannot be written.
        ValueError: the runtime cannot have what is no UTF-8.
    """
    spec = spec_here(request, shell, runtime)
    text = _encoded(spec, runtime)
    bundle = Bundle(path, request)
    os.mkdir(path, 0o700)
    for name in ("root", "inputs", "scratch"):
        _directory(os.path.join(path, name))
    for name, stored in inputs.items():
        os.symlink(stored.path, os.path.join(path, "inputs", name))
    for scratch in request.scratch_paths:
        _directory(os.path.join(path, "scratch", scratch_name(scratch)))
    for name in _SKELETON:
        _directory(os.path.join(path, "root", name))
    os.chmod(os.path.join(path, "root", "tmp"), 0o700)  # to runc it says more than mode=700
    if not any(below("/" + scratch, "/etc") for scratch in request.scratch_paths):
        _write_etc(os.path.join(path, "root", "etc"), request)
    places = _Places(bundle)
    for mount in spec["mounts"]:
        target = mount["destination"]
        if not any(below(target, kernel) for kernel in _KERNEL):
            source = os.path.join(path, mount["source"])
            places.make(target, file="rbind" in mount["options"] and not os.path.isdir(source))
        places.mounted(target, mount["source"])
    places.make("/" + request.working_dir)
    for file, content in request.additional_files.items():
        places.write("/" + file, content)
    for output in request.outputs:
        places.make("/" + os.path.dirname(output))
    if os.geteuid() == 0:
        _give(os.path.join(path, "scratch"))
    with open(os.path.join(path, "config.json"), "w", encoding="utf-8") as out:
        out.write(text)
    return bundle


def _shell_options(request: BuildRequest, shell: Shell | None) -> dict[str, Any]:
    if shell is None:
        return {}
    visible = request.available_paths()
    files = {
        place: source
        for place, source in shell.files.items()
        if not any(below(place, path) for path in visible)
    }
    return {"shell": shell.path, "shell_files": files}


def _encoded(spec: dict[str, Any], runtime: str) -> str:
    text = json.dumps(spec, ensure_ascii=False, indent=1)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        if runtime != "native":
            near = error.object[max(0, error.start - 40) : error.end]
            raise ValueError(
                f"{runtime} takes UTF-8 alone, which this is not: {near!r}; runtime='native' does"
            ) from None
        return json.dumps(spec, indent=1)
    return text


def _give_tmp(spec: dict[str, Any]) -> None:
    """Of mode 700, it is of use to its owner alone, who is root where nothing is said."""
    for mount in spec["mounts"]:
        if mount["destination"] == "/tmp" and mount["type"] == "tmpfs":
            mount["options"] += [f"uid={BUILD_UID}", f"gid={BUILD_GID}"]


def _map_root(spec: dict[str, Any]) -> None:
    """A subordinate id is root inside, where there is one: runc does not start without a root."""
    from ..oci import from_spec
    from ..oci.ids import caller_maps

    container, _ = from_spec(spec)
    for key, extents in zip(("uidMappings", "gidMappings"), caller_maps(container), strict=True):
        spec["linux"][key] = [
            {"containerID": inside, "hostID": outside, "size": count}
            for inside, outside, count in extents
        ]


class _Places:
    """Where on the host a place of the build lies, as far as mounts have been made."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        # Place inside to directory of the host, or None for what nothing can be made in.
        self._mounts: dict[str, str | None] = {"/": os.path.join(bundle.path, "root")}

    def mounted(self, target: str, source: str) -> None:
        ours = source.startswith("scratch/")
        self._mounts[target] = os.path.join(self._bundle.path, source) if ours else None

    def make(self, place: str, file: bool = False) -> None:
        """A directory, or an empty file, for *place*; nothing where it is not ours to make."""
        path = self._path(place)
        if path is None or os.path.lexists(path):
            return
        if not file:
            _directories(path)
            return
        _directories(os.path.dirname(path))
        with open(path, "x"):
            pass

    def write(self, place: str, content: bytes) -> None:
        path = self._path(place)
        if path is None:
            raise NotADirectoryError(f"additional file {place} is where the build sees a mount")
        _directories(os.path.dirname(path))
        # "w": one below /etc may replace ours.
        with open(path, "wb") as file:
            file.write(content)
        os.chmod(path, 0o644)

    def _path(self, place: str) -> str | None:
        target = max((one for one in self._mounts if one == "/" or below(place, one)), key=len)
        host = self._mounts[target]
        return None if host is None else os.path.join(host, place[len(target) :].lstrip("/"))


def _directory(path: str) -> None:
    os.mkdir(path)
    os.chmod(path, 0o755)  # whatever the umask


def _directories(path: str) -> None:
    if not os.path.isdir(path):
        _directories(os.path.dirname(path))
        _directory(path)


def _write_etc(etc: str, request: BuildRequest) -> None:
    home = "/" + request.working_dir
    lines = {
        "passwd": "root:x:0:0:root:/:/bin/sh\n"
        f"build:x:{BUILD_UID}:{BUILD_GID}:build:{home}:/bin/sh\n"
        "nobody:x:65534:65534:nobody:/:/bin/sh\n",
        "group": f"root:x:0:\nbuild:x:{BUILD_GID}:\nnogroup:x:65534:\n",
        "hosts": _HOSTS,
    }
    if request.has(NetworkAccess):
        del lines["hosts"]  # the host's
    for name, content in lines.items():
        path = os.path.join(etc, name)
        with open(path, "w") as file:
            file.write(content)
        os.chmod(path, 0o644)


def _give(folder: str) -> None:
    """Everything below *folder* to the user that a build of root's is."""
    for parent, directories, files in os.walk(folder):
        for name in (*directories, *files):
            os.chown(os.path.join(parent, name), BUILD_UID, BUILD_GID, follow_symlinks=False)

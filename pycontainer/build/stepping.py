"""Running a step: ``run_step``."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from attrs import evolve

from ..declare.checks import StrPath
from ..declare.entries import Symlink
from ..declare.mounts import Mount
from ..errors import SetupError
from ..launch.results import Completed
from ..oci.annotations import PREFIX
from ..oci.orphans import end_processes_of
from ..oci.staging import is_call
from ..oci.state import sweep
from .places import Places, remove_places
from .runs import Run, runs_directory, start_run
from .sandbox import HOSTS, HOSTS_TEXT, Extent, secret_name, step_spec
from .step import Step

if TYPE_CHECKING:
    from ..launch.following import Event
    from ..oci.running import Log

__all__ = ["Runtime", "run_step"]

Runtime: TypeAlias = Literal["native", "runc", "crun"]

_RESOLV_CONF = "/etc/resolv.conf"
_MADE = "made"
_SECRETS = os.path.dirname(secret_name(0))
IDS_MOST = 65536
"""As many as there are on a usual system, and as unshare(1) --map-auto gives."""


def run_step(
    rootfs: StrPath,
    step: Step,
    *,
    runtime: Runtime = "native",
    log: Log | None = None,
    cancel: Event | None = None,
    state: StrPath | None = None,
) -> Completed[None]:
    """Run *step* in the directory *rootfs*, which it may change, and return how it ended.

    Root's steps have the host's ids, as root's own files in *rootfs* have them.  An ordinary
    user's step has ids of a user namespace: 0 is the caller, and the others are the caller's
    subordinate ids (/etc/subuid, newuidmap).  Where there are none, or too few for *user*, a native
    step has one id: *user* is the caller, and nobody else is there.

    What root's step leaves in *rootfs* can be a set-id program.  Natively that, and giving files
    capabilities, is refused unless every place that the step may write is out of the reach of other
    users: below a directory of root's with mode 700.

    Arguments:
        runtime: "native" is pycontainer itself; the others are programs that must be installed.
        log: gets stdout and stderr as they come: a path (written anew), a binary file, or what
            takes bytes.  None: they are the caller's, and so is stdin.
        cancel: a ``threading.Event``; when it is set, before or at any moment later, the step is
            killed, and the verdict is CANCELLED.
        state: a directory, of mode 700, for what belongs to running steps: the secrets among it.
            It is made if it is not there; None is one in memory (``runs_directory``).  What is in
            it of steps whose caller has died is removed first.

    Raises:
        TypeError, ValueError: an argument is wrong.
        SetupError: the container could not be made, or the program is not in it; ids are asked for
            that the caller does not have.
        FileNotFoundError: the runtime is not installed.
    """
    if not isinstance(step, Step):
        raise TypeError(f"step must be a Step, not {type(step).__name__}")
    rootfs = os.path.abspath(rootfs)
    step = _without_absent(step)
    ids = _ids_of(step, runtime)
    with start_run(_state(state), _clear) as run:
        _write_files(run, step)
        spec = step_spec(
            rootfs,
            step,
            files=run.path,
            resolv_conf=_RESOLV_CONF if os.path.exists(_RESOLV_CONF) else None,
            uid_map=ids.uid_map,
            gid_map=ids.gid_map,
        )
        if runtime == "crun" and os.geteuid() == 0:
            # runc has this by itself.  Root's step makes any device file; it shall not open it.
            spec["linux"]["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
        notes: dict[str, Any] = {}
        if os.geteuid() == 0 and _all_out_of_reach(rootfs, step):
            notes["set_id_files"] = True
        if len(ids.uid_map) > 1:
            (_, uid, _), (_, gid, _) = ids.uid_map[0], ids.gid_map[0]
            notes["ids"] = {
                "host_uids": ids.total,
                "host_uid_start": uid,
                "host_gid_start": gid,
            }
        spec["annotations"] = {f"{PREFIX}{name}": json.dumps(note) for name, note in notes.items()}
        for mount in spec["mounts"]:
            # There is nothing below a file, and crun takes what has the word for a directory.
            if "rro" in mount["options"] and not os.path.isdir(mount["source"]):
                mount["options"].remove("rro")
        links = [one for one in step.mounts if isinstance(one, Symlink)]
        places: list[tuple[str, bool | str]] = [(link.path, link.to) for link in links]
        places.extend(_places(spec["mounts"]))
        _write(f"{run.path}/config.json", json.dumps(spec).encode(), 0o600)
        with Places(rootfs, places, f"{run.path}/{_MADE}"):
            from ..oci.running import run_bundle

            return run_bundle(run.path, runtime=runtime, log=log, cancel=cancel)


def _without_absent(step: Step) -> Step:
    """*step* without the optional binds of what the host does not have."""
    kept = [
        one
        for one in step.mounts
        if not (isinstance(one, Mount) and one.optional and not os.path.lexists(one.source or ""))
    ]
    return step if len(kept) == len(step.mounts) else evolve(step, mounts=kept)


def _state(state: StrPath | None) -> str:
    return runs_directory() if state is None else os.path.abspath(state)


def _clear(path: str) -> bool:
    """Undo what a run has left outside its directory; whether that is done with.  Its secrets go in
    any case."""
    # A native container ends with its caller.  A runtime goes on, and makes places of its own.
    end_processes_of(path)
    sweep(is_call)
    if remove_places(f"{path}/{_MADE}"):
        return True
    for name in os.listdir(path):
        if name == _SECRETS:
            shutil.rmtree(f"{path}/{name}")
        elif name != _MADE:
            os.unlink(f"{path}/{name}")
    return False


class _Ids(NamedTuple):
    """Maps of ids for an ordinary user's step; none for root's."""

    uid_map: list[Extent]
    gid_map: list[Extent]

    @property
    def total(self) -> int:
        """How many ids, of users as of groups."""
        return sum(count for _, _, count in self.uid_map)


def _ids_of(step: Step, runtime: Runtime) -> _Ids:
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        return _Ids([], [])
    one = _Ids([(step.user[0], uid, 1)], [(step.user[1], gid, 1)])
    if all(map(shutil.which, ("newuidmap", "newgidmap"))):
        ranges = _of_ranges(uid, gid)
        if ranges is not None and max(step.user) < ranges.total:
            return ranges
    # The runtimes become id 0 of the user namespace before they become the step's user.
    if runtime != "native" and step.user != (0, 0):
        words = f"{runtime} cannot run a step as {step.user[0]}:{step.user[1]} with this user's ids"
        error = SetupError(errno.EPERM, words, None, "map ids")
        error.add_note(
            "newuidmap (Debian: uidmap) and lines in /etc/subuid and /etc/subgid give it more; "
            'runtime="native" runs the step with one id, as whichever user it is'
        )
        raise error
    return one


def _of_ranges(uid: int, gid: int) -> _Ids | None:
    """0 is the caller, and then come the subordinate ids; as many groups as users."""
    from ..launch.ranges import subordinate_ranges

    found = [subordinate_ranges(path) for path in ("/etc/subuid", "/etc/subgid")]
    total = min(IDS_MOST, *(1 + sum(many for _, many in ranges) for ranges in found))
    if total == 1:
        return None
    maps: list[list[Extent]] = []
    for own, ranges in zip((uid, gid), found, strict=True):
        extents: list[Extent] = [(0, own, 1)]
        inside = 1
        for first, many in ranges:
            taken = min(many, total - inside)
            if taken > 0:
                extents.append((inside, first, taken))
                inside += taken
        maps.append(extents)
    return _Ids(maps[0], maps[1])


def _write_files(run: Run, step: Step) -> None:
    """What the step sees of our own: /etc/hosts, and its secrets."""
    _write(f"{run.path}/{HOSTS}", HOSTS_TEXT, 0o644)
    if not step.secrets:
        return
    os.mkdir(f"{run.path}/{_SECRETS}", 0o700)
    for number, value in enumerate(step.secrets.values()):
        path = f"{run.path}/{secret_name(number)}"
        if os.geteuid() == 0:
            _write(path, value, 0o400)
            os.chown(path, *step.user)
        else:
            # The caller's own: the step's user is that, or in a range of ids another one.
            _write(path, value, 0o444)


def _write(path: str, content: bytes, mode: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with open(fd, "wb") as file:
        os.fchmod(fd, mode)  # whatever the umask is
        file.write(content)


def _places(mounts: list[dict[str, Any]]) -> Iterator[tuple[str, bool]]:
    """Where *mounts* go in the root file system, and whether that is a directory."""
    above: list[str] = []
    for mount in mounts:
        place, source = str(mount["destination"]), str(mount["source"])
        if not any(place.startswith(f"{one}/") for one in above):
            yield place, mount["type"] != "bind" or os.path.isdir(source)
        above.append(place)


def _all_out_of_reach(rootfs: str, step: Step) -> bool:
    """Whether only root can get at what root's *step* may write."""
    places = [rootfs]
    places += [one.source or "/" for one in step.mounts if isinstance(one, Mount) and one.writable]
    return all(map(_is_out_of_reach, places))


def _is_out_of_reach(path: str) -> bool:
    path = os.path.realpath(path)
    while True:
        try:
            status = os.stat(path)
        except OSError:
            return False
        # Group bits are an access control list's mask too (acl(5)): none of them, nobody in it.
        if stat.S_ISDIR(status.st_mode) and status.st_uid == 0 and not status.st_mode & 0o077:
            return True
        if path == "/":
            return False
        path = os.path.dirname(path)

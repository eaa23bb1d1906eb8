"""The process and the limits of a config.json, as fields of a container."""

from __future__ import annotations

from typing import Any

from ..declare.capabilities import ALL, CAPABILITIES
from ..declare.limits import UNLIMITED, Limits
from .annotations import PREFIX
from .fields import Fields, lines_of
from .spec import NO_BOUND, PERIOD, quota_of

__all__ = ["read_limits", "read_process"]


def read_process(
    problems: list[str],
    process: Fields,
    terminal: bool,
    notes: dict[str, Any],
    fields: dict[str, Any],
) -> tuple[list[str], dict[str, int]]:
    if process.take("terminal", bool, False) and not terminal:
        problems.append("process.terminal: a terminal is the caller's to give (terminal=True)")
    user = process.section("user")
    fields["guest_uid"] = user.take("uid", int, 0)
    fields["guest_gid"] = user.take("gid", int, 0)
    if user.take("umask", int, 0o22) != 0o22:
        problems.append("process.user.umask: 18 (0o22) is the only one supported")
    if user.take("additionalGids", list, []):
        problems.append("process.user.additionalGids: not supported")
    user.finish()
    args = process.texts("args")
    if not args or not args[0]:
        problems.append("process.args: the program is missing")
    env: dict[str, str] = {}
    for number, variable in enumerate(process.texts("env")):
        name, equals, value = variable.partition("=")
        if not equals or name in env:
            what = f"{name!r} is there twice" if equals else f"{name!r} has no '='"
            problems.append(f"process.env[{number}]: {what}")
        env[name] = value
    fields["env"] = env
    fields["cwd"] = process.take("cwd", str, "/")
    fields["no_new_privs"] = process.take("noNewPrivileges", bool, False)
    _capabilities(problems, process.section("capabilities"), notes, fields)
    bounds = _rlimits(problems, process)
    process.finish()
    return list(args), bounds


def _capabilities(
    problems: list[str], given: Fields, notes: dict[str, Any], fields: dict[str, Any]
) -> None:
    sets = {
        name: frozenset(given.texts(name))
        for name in ("bounding", "effective", "permitted", "inheritable", "ambient")
    }
    given.finish()
    kept = sets["permitted"]
    for name in ("effective", "bounding"):
        if sets[name] != kept:
            problems.append(f"{given.where}.{name}: must be the same as permitted")
    if not sets["inheritable"] <= kept:
        problems.append(f"{given.where}.inheritable: has more than permitted")
    fields["capabilities"] = kept
    if notes.get("all") and kept == CAPABILITIES.keys() and not sets["inheritable"]:
        fields["capabilities"] = ALL
        return
    # The kernel lets only what is permitted and inheritable be ambient (capabilities(7)).
    ambient = sets["ambient"] & sets["inheritable"]
    if ambient not in (frozenset(), kept):
        problems.append(f"{given.where}.ambient: must be the same as permitted, or empty")
    if not ambient and kept:
        fields["ambient_capabilities"] = False


def _rlimits(problems: list[str], process: Fields) -> dict[str, int]:
    bounds: dict[str, int] = {}
    for number, given in enumerate(process.take("rlimits", list, [])):
        one = Fields(problems, f"process.rlimits[{number}]", given)
        kind, soft, hard = (
            one.take("type", str, ""),
            one.take("soft", int, 0),
            one.take("hard", int, 0),
        )
        one.finish()
        name = kind.removeprefix("RLIMIT_")
        if name not in ("CORE", "CPU", "FSIZE", "STACK", "NPROC", "NOFILE"):
            problems.append(f"{one.where}.type: {kind!r} is not supported")
        elif name in bounds:
            problems.append(f"{one.where}.type: {kind!r} is there twice")
        elif name == "CORE":
            if soft > 1:
                problems.append(f"{one.where}: core dumps are off here")
        elif soft != hard:
            problems.append(f"{one.where}: soft and hard must be the same")
        else:
            bounds[name] = soft
    return bounds


def read_limits(
    problems: list[str],
    linux: Fields,
    bounds: dict[str, int],
    notes: dict[str, Any],
    fields: dict[str, Any],
) -> None:
    found: dict[str, Any] = {}
    for name, key in (("open_files", "NOFILE"), ("file_size", "FSIZE"), ("processes", "NPROC")):
        if key in bounds:
            found[name] = bounds[key]
    if "STACK" in bounds:
        found["stack"] = UNLIMITED if bounds["STACK"] == NO_BOUND else bounds["STACK"]
    resources = linux.section("resources")
    _resources(problems, resources, found)
    more = notes.get("limits")
    if isinstance(more, dict):
        for name in more.keys() - {*_ANNOTATED}:
            problems.append(f"annotations[{PREFIX + 'limits'!r}]: {name!r} is not supported")
        time, cpus = more.get("cpu_time"), more.get("cpus")
        if isinstance(time, (int, float)) and bounds.pop("CPU", None) != int(time) + 1:
            problems.append(f"process.rlimits: RLIMIT_CPU is not that of cpu_time {time:g}")
        quota = found.pop("cpus", None)
        if isinstance(cpus, (int, float)) and quota != quota_of(float(cpus)) / PERIOD:
            problems.append(f"linux.resources.cpu.quota: is not that of cpus {cpus:g}")
        elif cpus is None and quota is not None:
            found["cpus"] = quota
        found.update({name: more[name] for name in _ANNOTATED if name in more})
    if "CPU" in bounds:
        problems.append("process.rlimits: RLIMIT_CPU, of each process, is not supported")
    if not found and more is None:
        return
    try:
        fields["limits"] = Limits(**found)
    except (ValueError, TypeError) as error:
        problems += lines_of(ValueError(error))


_ANNOTATED = ("cpu_time", "wall_time", "cpus", "output", "cpu_affinity", "strict")


def _resources(problems: list[str], resources: Fields, found: dict[str, Any]) -> None:
    memory = resources.section("memory")
    limit = memory.take("limit", int, -1)
    swap = memory.take("swap", int, limit)
    if limit != -1:
        found["memory"] = limit
        if swap != limit:
            problems.append("linux.resources.memory.swap: must be that of limit: swap is none")
    elif swap != -1:
        problems.append("linux.resources.memory.swap: not supported without limit")
    memory.finish()
    cpu = resources.section("cpu")
    quota, period = cpu.take("quota", int, -1), cpu.take("period", int, PERIOD)
    if quota > 0 and period > 0:
        found["cpus"] = quota / period
    elif period != PERIOD:
        problems.append("linux.resources.cpu.period: not supported without quota")
    cpu.finish()
    pids = resources.section("pids")
    count = pids.take("limit", int, 0)
    if count > 0 and found.setdefault("processes", count) != count:
        problems.append("linux.resources.pids.limit: is not that of RLIMIT_NPROC")
    pids.finish()
    for number, given in enumerate(resources.take("devices", list, [])):
        if given != {"allow": False, "access": "rwm"}:
            problems.append(f"linux.resources.devices[{number}]: not supported")
    resources.finish()

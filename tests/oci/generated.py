"""Containers as hypothesis makes them: every field of every class, with what it may hold."""

from __future__ import annotations

import errno
import os
from typing import Any

import attrs
from hypothesis import strategies as st

from pycontainer.declare.capabilities import CAPABILITIES
from pycontainer.declare.container import Container
from pycontainer.declare.entries import Directory, File, Symlink
from pycontainer.declare.filters import SeccompFilter, SyscallArgument
from pycontainer.declare.limits import Limits
from pycontainer.declare.mounts import Mount, Overlay
from pycontainer.declare.namespaces import NAMESPACES

# Any text that has bytes: with characters that are no UTF-8 on disk, and words that mean something.
TEXTS = st.one_of(
    st.text(st.characters(exclude_characters="\0\n", exclude_categories=["Cs"]), min_size=1),
    st.binary(min_size=1, max_size=8)
    .filter(lambda data: b"\0" not in data and b"\n" not in data)
    .map(os.fsdecode),
    st.sampled_from(["a", "b c", "é", "\x7f", "ro", "bind", "rbind"]),
)
NAMES = st.one_of(
    st.sampled_from(["a", "b", "c", "dev", "tmp", "proc", "sys", "etc", "shm", "passwd", "null"]),
    TEXTS.map(lambda text: text.replace("/", "_")).filter(lambda text: text not in (".", "..")),
)
PLACES = st.lists(NAMES, min_size=1, max_size=3).map(lambda names: "/" + "/".join(names))
LAYERS = PLACES.map(lambda place: place.translate({ord(one): "_" for one in ":,\\\n"}))
IDS = st.one_of(st.integers(0, 3), st.integers(0, 2**32 - 2))
SIZES = st.integers(1, 2**62)
SECONDS = st.floats(min_value=0, max_value=1e9, exclude_min=True, allow_nan=False)
WORDS = ["ro", "rw", "nosuid", "exec", "rprivate", "tmpcopyup", "bind", "sync", "mode=700", "x"]


def fields_of(cls: type, **strategies: Any) -> st.SearchStrategy[Any]:
    """*cls* with every field, or with the defaults of some; a field without a strategy fails."""
    known = {field.name for field in attrs.fields(cls)}
    assert known == set(strategies), f"{cls.__name__}: {known ^ set(strategies)}"
    needed = {f.name for f in attrs.fields(cls) if f.default is attrs.NOTHING}
    required = {name: one for name, one in strategies.items() if name in needed}
    optional = {name: one for name, one in strategies.items() if name not in needed}
    return st.fixed_dictionaries(required, optional=optional)


def made(cls: type, fields: dict[str, Any]) -> Any:
    """An object, or None where the fields do not go together."""
    try:
        return cls(**fields)
    except ValueError:
        return None


def objects(cls: type, **strategies: Any) -> st.SearchStrategy[Any]:
    return (
        fields_of(cls, **strategies)
        .map(lambda fields: made(cls, fields))
        .filter(lambda one: one is not None)
    )


flags = {
    name: st.booleans()
    for name in ("writable", "recursive", "optional", "nosuid", "nodev", "noexec", "nosymfollow")
}
MOUNTS = st.one_of(
    objects(
        Mount,
        target=PLACES,
        type=st.just("bind"),
        source=PLACES,
        options=st.just(()),
        atime=st.sampled_from(["relative", "strict", "none"]),
        device=st.booleans(),
        **flags,
    ),
    objects(
        Mount,
        target=PLACES,
        type=st.sampled_from(
            ["tmpfs", "proc", "sysfs", "devpts", "mqueue", "cgroup2", "overlay", "fuse"]
        ),
        source=st.none(),
        options=st.lists(
            st.one_of(st.sampled_from([*WORDS, "size=5m", "size=10%"]), TEXTS), max_size=3
        ),
        atime=st.sampled_from(["relative", "strict", "none"]),
        device=st.just(False),
        **flags,
    ),
    objects(
        Overlay,
        target=PLACES,
        lower=st.lists(LAYERS, min_size=1, max_size=2),
        upper=st.none() | LAYERS,
        work=st.none() | LAYERS,
    ),
)
ENTRIES = st.one_of(
    objects(Directory, path=PLACES, mode=st.integers(0, 0o7777)),
    objects(File, path=PLACES, content=st.binary(max_size=8), mode=st.integers(0, 0o777)),
    objects(Symlink, path=PLACES, to=TEXTS),
)

ACTIONS = st.one_of(
    st.sampled_from(["allow", "log", "kill", 0, errno.EPERM, errno.ENOSYS]), st.integers(0, 4095)
)
CALLS = st.sampled_from(["clone", "ioctl", "openat", "mkdir", "seccomp", "unshare", "fsync"])
ARGUMENTS = objects(
    SyscallArgument,
    index=st.integers(0, 5),
    comparison=st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
    value=st.sampled_from([0, 1, 0x5412, 2**32 - 1, -1, 2**63]),
    mask=st.none() | st.sampled_from([1, 0xFF, 0xFFFF]),
    bits=st.sampled_from([32, 64]),
)
CASES = st.lists(
    st.tuples(st.lists(ARGUMENTS, max_size=2).map(tuple), ACTIONS), min_size=1, max_size=2
).map(tuple)
PLAIN_FILTERS = objects(
    SeccompFilter,
    default=ACTIONS,
    rules=st.dictionaries(CALLS, ACTIONS | CASES, max_size=3),
    also=st.just(()),
    other_abis=st.booleans(),
)
FILTERS = st.one_of(
    PLAIN_FILTERS,
    st.tuples(PLAIN_FILTERS, PLAIN_FILTERS).map(lambda two: two[0] | two[1]),
)
LIMITS = objects(
    Limits,
    cpu_time=st.none() | SECONDS,
    wall_time=st.none() | SECONDS,
    memory=st.none() | SIZES,
    stack=st.none() | SIZES | st.just("unlimited"),
    processes=st.none() | SIZES,
    open_files=st.none() | SIZES,
    file_size=st.none() | SIZES,
    cpu_affinity=st.none() | st.frozensets(st.integers(0, 100), min_size=1, max_size=3),
    cpus=st.none() | st.floats(min_value=0, max_value=32, exclude_min=True),
    output=st.none() | st.integers(0, 2**62),
    strict=st.booleans(),
)
ENVIRONMENTS = st.dictionaries(
    TEXTS.filter(lambda name: "=" not in name), TEXTS | st.just(""), max_size=3
)

FIELDS = fields_of(
    Container,
    mounts=st.lists(MOUNTS | ENTRIES, max_size=5),
    namespaces=st.one_of(st.just(NAMESPACES), st.frozensets(st.sampled_from(sorted(NAMESPACES)))),
    rootfs=st.none() | PLACES,
    writable_root=st.booleans(),
    root_size=st.none() | st.sampled_from(["5m", "10%", 4096]),
    default_files=st.booleans(),
    hostname=st.sampled_from(["localhost", "box", "é"]),
    guest_uid=IDS,
    guest_gid=IDS,
    host_uids=st.just(1) | st.integers(1, 2**32 - 1),
    host_uid_start=st.none() | IDS,
    host_gid_start=st.none() | IDS,
    env=ENVIRONMENTS,
    cwd=PLACES | st.just("/"),
    lock_mounts=st.booleans(),
    child_is_pid1=st.none() | st.booleans(),
    loopback_network=st.booleans(),
    capabilities=st.just("all") | st.frozensets(st.sampled_from(sorted(CAPABILITIES))),
    ambient_capabilities=st.booleans(),
    no_new_privs=st.booleans(),
    seccomp=st.none() | FILTERS,
    limits=st.none() | LIMITS,
    set_id_files=st.booleans(),
    readonly_paths=st.lists(PLACES, max_size=2),
    masked_paths=st.lists(PLACES, max_size=2),
)


def _container(fields: dict[str, Any]) -> Container:
    """What there is of *fields* that goes together: parts that do not are left out, one by one."""
    left = dict(fields)
    mounts = left.pop("mounts", [])
    container = made(Container, left)
    while container is None:
        left.popitem()
        container = made(Container, left)
    for item in mounts:
        more = made(Container, {**left, "mounts": [*container.mounts, item]})
        container = more or container
    return container


CONTAINERS = FIELDS.map(_container)
COMMANDS = st.lists(TEXTS, min_size=1, max_size=3)

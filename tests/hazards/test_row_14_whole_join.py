"""Row 14: an incomplete join (firejail CVE-2022-31214).

A visitor that misses a namespace, or keeps a capability or a group that the container's own
processes do not have, is a way out of the container.  Whoever made the target, the visitor is what
the target is, as the kernel has it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from pycontainer import (
    NAMESPACES,
    ContainerExitError,
    SetupError,
    bind,
    call_with_container,
    container_excursion,
    start_container,
)

KINDS = ("user", "pid", "mnt", "net", "ipc", "uts", "cgroup", "time")
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


def look(process="self"):
    """Namespaces, ids, capabilities and filters of a process, as /proc here shows them."""
    found: dict[str, object] = {}
    for kind in (*KINDS, "pid_for_children"):
        # A visitor's own directory is closed to it; single names are not.
        found[kind] = os.readlink(f"/proc/{process}/ns/{kind}")
    with open(f"/proc/{process}/status") as status:
        for line in status:
            name, _, value = line.partition(":")
            if name in (*SETS, "Uid", "Gid", "Groups", "NoNewPrivs", "Seccomp", "Seccomp_filters"):
                found[name] = " ".join(value.split())
    found["root"] = os.stat(f"/proc/{process}/root/").st_ino if process == "self" else 0
    return found


def compare(visitor, target, ours):
    """Equal, but that a visitor of somebody else's target gets no new privileges."""
    for found in (visitor, target):
        found.pop("root")
    if not ours:
        assert visitor.pop("NoNewPrivs") == "1"
        for name in ("NoNewPrivs", "Seccomp", "Seccomp_filters"):
            target.pop(name, None)
            visitor.pop(name, None)
    assert visitor == target


OPTIONS = [
    {},
    {"guest_uid": 1000, "guest_gid": 100},
    {"capabilities": []},
    {"capabilities": ["CAP_CHOWN", "CAP_NET_RAW"]},
    {"capabilities": [], "guest_uid": 70, "guest_gid": 71},
    {"lock_mounts": False},
    {"no_new_privs": True, "lock_mounts": False, "capabilities": ["CAP_SYS_ADMIN"]},
    {"child_is_pid1": False},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("writable", [False, True])
def test_container_of_ours(tmp_path, options, writable):
    mounts = [bind(tmp_path, "/data", writable=True)] if writable else []

    def fn():
        import time

        found = look()
        with open("/tmp/pid", "w") as out:
            out.write(str(os.getpid()))
        while not os.path.exists("/tmp/stop"):
            time.sleep(0.005)
        return found

    with start_container(mounts, fn, **options) as running:
        while container_excursion(running, lambda: os.path.exists("/tmp/pid")) is False:
            pass
        visitor = [container_excursion(running, look), container_excursion(running.pid, look)]
        visitor.append(container_excursion(running, look, owner=True))
        # Its visitors end with a container, and this one may be still on its way out.
        with contextlib.suppress(ContainerExitError):
            container_excursion(running, lambda: os.close(os.open("/tmp/stop", os.O_CREAT)))
        target = running.result(timeout=10)
    for found in visitor:
        compare(found, dict(target), ours=True)


@pytest.mark.parametrize("without", sorted(NAMESPACES - {"user"}))
def test_container_without_a_namespace(without):
    """What the target shares with the caller, the visitor shares too."""
    names = NAMESPACES - ({"mnt", "pid"} if without == "mnt" else {without})
    mounts = [bind("/proc")] if without == "pid" else []
    with start_container(mounts, namespaces=names) as running:
        visitor = container_excursion(running, lambda: namespaces_of("self"))
        assert visitor == namespaces_of(running.pid)
        for kind in KINDS[:-1]:
            shared = visitor[kind] == namespaces_of("self")[kind]
            assert shared == (kind not in names), kind


def namespaces_of(process):
    return {kind: os.readlink(f"/proc/{process}/ns/{kind}") for kind in KINDS}


# ---- targets of other programs ----------------------------------------------------------------

UNSHARE = {
    "all": ["-UrpfmniuC", "--mount-proc"],
    "two": ["-Urmu"],
    "not root": ["-Upfm", "--mount-proc", "--map-user=1000", "--map-group=1000"],
    "not mapped": ["-Um"],
    "without user": ["-pfmn", "--mount-proc"],
    "only net": ["-n"],
    "capabilities kept": ["-Upfm", "--mount-proc", "--map-user=5", "--keep-caps"],
}
BWRAP = {
    "all": ["--unshare-all"],
    "an id": ["--unshare-all", "--uid", "1000", "--gid", "1000"],
    "a capability": ["--unshare-all", "--uid", "0", "--cap-add", "CAP_NET_RAW"],
    "no pid": ["--unshare-user", "--unshare-net"],
    "further user": ["--unshare-user", "--unshare-pid", "--uid", "7", "--disable-userns"],
}
SLEEP = ["sleep", "30"]


def descendant(pid, command):
    """The process below *pid* that runs *command*, once it does."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        level = [pid]
        while level:
            for one in level:
                if command_of(one) == command:
                    return one
            level = [child for one in level for child in children_of(one)]
        time.sleep(0.005)
    raise AssertionError(f"{command} was not started")


def command_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
    except OSError:
        return None


def children_of(pid):
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


@pytest.fixture
def foreign():
    """Start a program that starts ``sleep`` in namespaces; the pid of that sleep."""
    started = []

    def start(*argv):
        if shutil.which(argv[0]) is None:
            pytest.skip(f"{argv[0]} is not installed")
        process = subprocess.Popen([*argv, *SLEEP], stderr=subprocess.PIPE)
        started.append(process)
        time.sleep(0.02)
        return descendant(process.pid, SLEEP)

    yield start
    for process in started:
        for pid in [*all_below(process.pid), process.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        process.communicate()


@pytest.fixture
def ordinary():
    """Options of setpriv(1) for somebody who is not root."""
    return ["--reuid=1001", "--regid=1001", "--clear-groups"]


def all_below(pid):
    return [one for child in children_of(pid) for one in (*all_below(child), child)]


def check_foreign(pid, own_proc):
    """The visitor is what the target is; *own_proc*: the target's /proc shows it."""
    target = look(pid)
    visitor = container_excursion(pid, lambda: (look_here(), os.getresuid(), os.getgroups()))
    found, ids, groups = visitor
    for kind in KINDS:
        assert found[kind] == target[kind], kind
    for name in SETS:
        assert found[name] == target[name], name
    assert found["NoNewPrivs"] == "1"
    own = container_excursion(pid, lambda: ids_of_target())
    if own_proc:
        assert own == [found["Uid"], found["Gid"]]
    assert len(set(ids)) == 1
    if os.geteuid() == 0:
        assert groups == []


def look_here():
    # /proc may be of another pid namespace, or none at all: nothing is read by number.
    found = {}
    for kind in ("user", "pid", "mnt", "net", "ipc", "uts", "cgroup", "time"):
        found[kind] = os.readlink(f"/proc/self/ns/{kind}")
    with open("/proc/self/status") as status:
        for line in status:
            name, _, value = line.partition(":")
            found[name] = " ".join(value.split())
    return found


def ids_of_target():
    """The ids of the container's sleep, in the container's terms."""
    own = os.readlink("/proc/self/ns/user"), os.readlink("/proc/self/ns/mnt")
    for name in filter(str.isdigit, os.listdir("/proc")):
        # In the host's /proc processes come and go, and some are not ours to look at.
        try:
            with open(f"/proc/{name}/cmdline") as command:
                sleeps = command.read().startswith("sleep\0")
            if not sleeps or own != tuple(
                os.readlink(f"/proc/{name}/ns/{kind}") for kind in ("user", "mnt")
            ):
                continue
            with open(f"/proc/{name}/status") as status:
                words = dict(line.split(":", 1) for line in status)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        return [" ".join(words[key].split()) for key in ("Uid", "Gid")]
    return None


@pytest.mark.parametrize("how", UNSHARE)
def test_target_of_unshare(foreign, is_root, how):
    if "-U" not in UNSHARE[how][0] and not is_root:
        pytest.skip("needs root; the run as root has it")
    pid = foreign("unshare", *UNSHARE[how])
    if how in ("only net", "two", "not mapped"):
        # Its pid namespace is the caller's, whose /proc is there.
        check_foreign(pid, own_proc=False)
    else:
        check_foreign(pid, own_proc=True)


@pytest.mark.parametrize("how", BWRAP)
def test_target_of_bwrap(foreign, how):
    options = ["--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"]
    pid = foreign("bwrap", *options, *BWRAP[how])
    check_foreign(pid, own_proc="--unshare-pid" in BWRAP[how] or "--unshare-all" in BWRAP[how])


def test_owner_that_is_the_targets_own(foreign):
    """The namespace that owns its pid namespace is its own: it is joined once."""
    pid = foreign("unshare", *UNSHARE["all"])
    found = container_excursion(pid, look_here, owner=True)
    assert {kind: found[kind] for kind in KINDS} == namespaces_of(pid)


@pytest.fixture
def target_of_runc(tmp_path):
    """A container of runc's, rootless for an ordinary user."""
    if shutil.which("runc") is None:
        pytest.skip("runc is not installed")
    bundle, state = tmp_path / "bundle", tmp_path / "state"
    (bundle / "rootfs").mkdir(parents=True)
    rootless = [] if os.geteuid() == 0 else ["--rootless"]
    environment = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)}
    subprocess.run(["runc", "spec", *rootless], cwd=bundle, check=True, env=environment)
    config = json.loads((bundle / "config.json").read_text())
    config["process"] |= {"terminal": False, "args": SLEEP}
    config["root"]["readonly"] = False
    for name in ("usr", "bin", "lib", "lib64"):
        if os.path.isdir(f"/{name}"):
            options = ["rbind", "ro"]
            config["mounts"].append(
                {"destination": f"/{name}", "type": "bind", "source": f"/{name}",
                 "options": options}
            )  # fmt: skip
    (bundle / "config.json").write_text(json.dumps(config))
    name = f"pycontainer-test-{os.getpid()}"
    runc = ["runc", "--root", str(state)]
    # A file, not a pipe: the container keeps its standard streams open.
    with open(tmp_path / "said", "w") as said:
        started = subprocess.run(
            [*runc, "run", "-d", "--bundle", bundle, "--pid-file", tmp_path / "pid", name],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env=environment,
            check=False,
        )
    try:
        if started.returncode:
            pytest.skip(f"runc does not run here: {(tmp_path / 'said').read_text()[-200:]}")
        yield int((tmp_path / "pid").read_text())
    finally:
        subprocess.run([*runc, "delete", "--force", name], env=environment, check=False,
                       capture_output=True)  # fmt: skip


def test_target_of_runc(target_of_runc):
    check_foreign(target_of_runc, own_proc=True)


# ---- a part of a target -----------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"capabilities": ["CAP_CHOWN"]}, {"guest_uid": 9}])
@pytest.mark.parametrize("owner", [False, True])
@pytest.mark.parametrize("named", ["net", "uts", "ipc", "cgroup", "pid", "mnt"])
def test_only_one_namespace(is_root, named, owner, options):
    """The power over it comes from the user namespace, and stays in there.

    Root has the power of its own, and stays as it is, unless it goes by way of the owner.
    """

    def fn():
        found = {kind: os.readlink(f"/proc/thread-self/ns/{kind}") for kind in KINDS}
        with open("/proc/thread-self/status") as status:
            words = dict(line.split(":", 1) for line in status)
        sets = {name: words[name].strip() for name in (*SETS, "NoNewPrivs")}
        return found, sets, (os.getuid(), os.getgid())

    with start_container([], **options) as running:
        outside, inside = namespaces_of("self"), namespaces_of(running.pid)
        alone = is_root and not owner
        joined = {named} if alone else {named, "user"}
        names = {named, "pid"} if named == "mnt" else {named}  # with /proc comes what it shows
        joined |= names
        found, sets, ids = container_excursion(running, fn, namespaces=names, owner=owner)
        whole = container_excursion(running, lambda: (fn()[1], (os.getuid(), os.getgid())))
    for kind in KINDS:
        assert found[kind] == (inside if kind in joined else outside)[kind], kind
    if alone:
        own = look()
        assert {name: own[name] for name in SETS} == {name: sets[name] for name in SETS}
        assert ids == (os.getuid(), os.getgid())
    else:
        assert (sets, ids) == whole


def test_files_are_the_callers_with_only_the_network():
    with start_container([]) as running:
        assert container_excursion(running, lambda: os.listdir("/sys/class"), namespaces={"net"})


def test_no_namespace_of_those_named_differs():
    """Then nothing is joined, and no user namespace for the power to join it."""
    with start_container([], namespaces=NAMESPACES - {"net"}) as running:
        found = container_excursion(running, look_here, namespaces={"net"})
    assert {kind: found[kind] for kind in KINDS} == namespaces_of("self")


def test_host_root_keeps_nothing_by_the_way(is_root):
    """Host capabilities, or the groups of the caller, in any of the five sets."""
    full = int(look()["CapEff"], 16)
    with start_container([], capabilities=["CAP_CHOWN"]) as running:
        found = container_excursion(running, look)
    assert {int(found[name], 16) for name in SETS} == {1}
    assert full != 1
    assert found["Groups"] == ("" if is_root else found["Groups"])


@pytest.mark.is_root
def test_ids_that_are_not_mapped(foreign, ordinary):
    """They cannot be taken in there, and host root's would stay: an owner of files of the host."""
    pid = foreign("setpriv", *ordinary, "unshare", "-Um")
    with pytest.raises(SetupError, match="not mapped") as caught:
        container_excursion(pid, os.getuid)
    assert caught.value.errno == errno.EINVAL


@pytest.mark.is_root
def test_bounds_of_a_service(foreign, ordinary):
    """Who leaves uid 0 loses the capability to cut the bounding set, and has to cut it after."""
    pid = foreign("unshare", "-mn", "setpriv", *ordinary, "--bounding-set=-all,+chown")
    check_foreign(pid, own_proc=False)
    assert container_excursion(pid, look)["CapBnd"] == f"{1:016x}"


@pytest.mark.is_root
@pytest.mark.parametrize("capabilities", ["all", ["CAP_CHOWN"]])
def test_other_id_where_uid_0_is_the_hosts(capabilities):
    """From the root of the namespace to another id, in the container and in its visitor."""
    ids: Any = {"host_uid_start": 0, "host_gid_start": 0, "host_uids": 65536}
    with start_container([], guest_uid=5, guest_gid=5, capabilities=capabilities, **ids) as running:
        inside = look(running.pid)
        visitor = container_excursion(running, look)
    assert visitor["Uid"] == inside["Uid"] == "5 5 5 5"
    assert {name: visitor[name] for name in SETS} == {name: inside[name] for name in SETS}


def test_capabilities_go_with_uid_0():
    """Nothing that was set on the way in keeps them for a function that gives up its id."""

    def fn():
        import ctypes

        return ctypes.CDLL(None).prctl(7)  # PR_GET_KEEPCAPS

    with start_container([]) as running:
        assert container_excursion(running, fn, preload=("ctypes",)) == 0
    for guest in (0, 1000):
        assert call_with_container([], fn, preload=("ctypes",), guest_uid=guest) == 0


def test_visitor_in_the_pid_namespace_itself():
    """Not only its children, as after a bare setns(2)."""
    with start_container([]) as running:
        found = container_excursion(running, lambda: (os.getpid(), os.getppid(), look()))
    assert found[0] > 1
    assert found[1] == 0
    assert found[2]["pid"] == found[2]["pid_for_children"]


def test_looking_is_not_fooled():
    """The comparison does see a difference."""
    with start_container([], capabilities=[]) as running:
        visitor = container_excursion(running, look)
    other = call_with_container([], look)
    with pytest.raises(AssertionError):
        compare(visitor, other, ours=True)

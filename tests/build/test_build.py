"""``build``: what a build sees, what becomes of its outputs, and all the ways in which it fails."""

from __future__ import annotations

import io
import os
import shutil
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import pytest

from pycontainer import Verdict
from pycontainer.build import (
    AvailableReadOnlyPath,
    BuildCancelledError,
    BuildError,
    BuildRequest,
    ConstraintError,
    DirectoryStore,
    MinMemory,
    NetworkAccess,
    ProvideBinSh,
    System,
    build,
    machine,
    shell,
)
from pycontainer.build.machine import system

HOST = [
    AvailableReadOnlyPath(path)
    for path in ("/usr", "/bin", "/lib", "/lib64", "/lib32")
    if os.path.exists(path)
]
RUNTIMES: list[Literal["native", "runc", "crun"]] = ["native", "runc", "crun"]


@pytest.fixture
def store(tmp_path):
    return DirectoryStore(tmp_path / "store", durable=False)


def request(script, outputs=("build/out",), host=True, **fields):
    """A request that runs a script, with the host's programs or with nothing but a shell."""
    constraints = [*(HOST if host else [ProvideBinSh()]), *fields.pop("constraints", ())]
    fields.setdefault("environment_vars", {"PATH": "/usr/bin:/bin"})
    return BuildRequest(
        command_args=["/bin/sh", "-ec", script],
        outputs=outputs,
        constraints=constraints,
        **fields,
    )


def nothing_is_kept(store):
    return store.results() == [] and os.listdir(store.at("work")) == []


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_result_and_the_same_again(store, tmp_path, runtime):
    (tmp_path / "in").write_text("an input\n")
    wanted = request(
        "read line < /inputs/in; mkdir out; echo $line and $X > out/text; ln -s needle-2 out/link",
        inputs={"in": tmp_path / "in"},
        environment_vars={"X": b"needle-1", "PATH": "/usr/bin:/bin"},
        refscan_needles=["needle-1", "needle-2", "needle-3"],
    )
    log: list[bytes] = []
    result = build(wanted, store, runtime=runtime, log=log.append)
    output = result.outputs["build/out"]
    assert output.references == ("needle-1", "needle-2")
    with open(f"{output.path}/text") as file:
        assert file.read() == "an input and needle-1\n"
    assert not result.cached
    assert result.completed is not None and result.completed.verdict is Verdict.OK
    again = build(wanted, store, runtime=runtime)
    assert again.cached
    assert (again.outputs, again.hash) == (result.outputs, result.hash)
    assert store.verify() == []
    assert os.listdir(store.at("work")) == []
    assert b"".join(log) == b""


# What is the same whatever the runtime; the address space and the like are not looked at.
PROBE = r"""
exec > out
id -u; id -g; pwd; env | sort; umask
grep -E '^(NoNewPrivs|CapBnd|CapPrm|CapEff|CapInh|CapAmb)' /proc/self/status
ulimit -n
set -- /proc/[0-9]*; echo $#
ls / /inputs /etc; cat /etc/hosts; stat -c '%a %F' /tmp /build /dev/shm
for place in /x /inputs/x /inputs/in/x /etc/x /usr/x /proc/sys/x /build/x /tmp/x; do
    if (: > $place) 2>/dev/null; then echo "$place: written"; else echo "$place: not"; fi
done
stat -c '%a %Y %n' /inputs/in/*
for device in /dev/*; do echo $device; done | grep -v -e /dev/console -e /dev/core -e /dev/mqueue
cat /proc/sys/kernel/hostname
if test -s /proc/kcore; then echo kcore; fi
cat /proc/net/dev | grep -c : || true
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What the probe sees under each runtime."""
    place = tmp_path_factory.mktemp("seen")
    source = place / "in"
    source.mkdir()
    (source / "file").write_text("x")
    (source / "file").chmod(0o6600)
    (source / "tool").write_text("x")
    (source / "tool").chmod(0o777)
    # HOME, as runc and crun set it where the request does not.
    variables = {"PATH": "/usr/bin:/bin", "HOME": "/home"}
    wanted = request(PROBE, inputs={"in": source}, environment_vars=variables)
    found = {}
    for runtime in RUNTIMES:
        store = DirectoryStore(place / runtime, durable=False)
        result = build(wanted, store, runtime=runtime)
        with open(result.outputs["build/out"].path) as file:
            found[runtime] = file.read()
    yield found
    for path in place.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(place)


def test_what_a_build_sees(seen):
    lines = seen["native"].splitlines()
    # Where set, the shell's own variable.
    text = "\n".join(line for line in lines if not line.startswith("OLDPWD="))
    assert text.startswith("1000\n100\n/build\nHOME=/home\nPATH=/usr/bin:/bin\nPWD=/build\n0022\n")
    assert "NoNewPrivs:\t1" in lines
    for place, kind in (("/x", "not"), ("/inputs/in/x", "not"), ("/usr/x", "not")):
        assert f"{place}: {kind}" in lines
    assert "/build/x: written" in lines
    assert "/tmp/x: written" in lines
    assert "444 1 /inputs/in/file" in lines
    assert "555 1 /inputs/in/tool" in lines
    assert lines[-2:] == ["localhost", "1"]  # one interface: the loopback device
    if os.geteuid() == 0:
        assert "CapEff:\t0000000000000000" in lines  # not root's: kept for what root there may do
    assert "kcore" not in lines


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_it_sees_the_same_whatever_runs_it(seen, runtime):
    assert seen[runtime].splitlines() == seen["native"].splitlines()


def test_without_host_paths_there_is_a_shell_and_nothing_else(store):
    script = "cd /; echo /* > /build/out; cat /etc/passwd >> /build/out 2>/dev/null || true"
    result = build(request(script, host=False), store)
    with open(result.outputs["build/out"].path) as file:
        lines = file.read().splitlines()
    assert lines[0] == "/bin /build /dev /etc /proc /sys /tmp"


def test_a_shell_with_its_libraries(store, monkeypatch):
    monkeypatch.setattr(shell, "_STATIC", ())
    found = shell.sandbox_shell()
    assert found is not None
    assert found.files
    for number, host in enumerate(([], [one for one in HOST if one.path != "/bin"])):
        script = f"echo yes > out; : {number}"
        result = build(request(script, host=False, constraints=host), store)
        with open(result.outputs["build/out"].path) as file:
            assert file.read() == "yes\n"


def test_files_and_places_like_those_of_nix(store, tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src/a").write_text("a\n")
    wanted = request(
        "cat $attrs /nix/store/abc-src/a /deep/er/file > ../nix/store/xyz-out",
        inputs={"abc-src": tmp_path / "src"},
        inputs_dir="nix/store",
        scratch_paths=["build", "nix/store"],
        outputs=["nix/store/xyz-out"],
        additional_files={"build/.attrs": "attrs\n", "deep/er/file": b"deep\n"},
        environment_vars={"PATH": "/usr/bin:/bin", "attrs": "/build/.attrs"},
    )
    result = build(wanted, store)
    with open(result.outputs["nix/store/xyz-out"].path) as file:
        assert file.read() == "attrs\na\ndeep\n"


def test_an_input_counts_by_its_content(store, tmp_path):
    for name, text in (("a", "1"), ("b", "1"), ("c", "2")):
        (tmp_path / name).write_text(text)
    results = [
        build(request("cat /inputs/x > out", inputs={"x": tmp_path / name}), store)
        for name in "abc"
    ]
    assert [result.cached for result in results] == [False, True, False]
    assert results[0].hash == results[1].hash != results[2].hash


# Failures


def test_a_command_that_fails(store):
    wanted = request("echo made > out; echo 'no\tgood \033[31m'; echo at all >&2; exit 3")
    with pytest.raises(BuildError, match="/bin/sh: exit status 3") as caught:
        build(wanted, store)
    assert caught.value.completed is not None
    assert caught.value.completed.returncode == 3
    assert caught.value.__notes__ == ["its last words:\n  no\\tgood \\x1b[31m\n  at all"]
    assert nothing_is_kept(store)
    with pytest.raises(BuildError):  # it is run again
        build(wanted, store)


def test_outputs_that_are_missing(store):
    wanted = request("echo made > b", outputs=["build/a", "build/b", "build/c/d"])
    with pytest.raises(BuildError, match=r"did not make build/a, build/c/d$"):
        build(wanted, store)
    assert nothing_is_kept(store)


def test_a_program_that_is_not_there(store):
    wanted = BuildRequest(command_args=["/no/program"], outputs=["build/out"])
    with pytest.raises(FileNotFoundError):
        build(wanted, store)
    assert nothing_is_kept(store)


def test_an_input_that_is_not_there(store, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        build(request("true", inputs={"x": tmp_path / "absent"}), store)
    assert "it is of the input 'x'" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("mkdir out; mkfifo out/pipe", "output build/out/pipe is a FIFO"),
        ("mkfifo out", "output build/out is a FIFO"),
    ],
)
def test_outputs_that_cannot_be_kept(store, script, words):
    with pytest.raises(BuildError, match=words):
        build(request(script), store)
    assert nothing_is_kept(store)


def test_an_output_is_never_looked_for_through_a_link(store, tmp_path):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "out").write_text("of the host")
    wanted = request(f"rmdir way; ln -s {secret} way", outputs=["build/way/out"])
    with pytest.raises(BuildError, match="did not make build/way/out"):
        build(wanted, store)
    result = build(request(f"ln -s {secret} out"), store)
    output = result.outputs["build/out"]
    assert os.readlink(output.path) == str(secret)
    assert (secret / "out").read_text() == "of the host"


def test_outputs_are_canonical_and_fresh(store):
    script = (
        "umask 000; mkdir out; echo x > out/a; chmod 777 out/a; chmod 6777 out/a; ln out/a out/b; "
        "echo y > out/c; chmod 2770 out; chmod 0 out/c"
    )
    # Only an ordinary user's container may set them; what is refused is no failure here.
    output = build(request(f"set +e; {script}; true"), store).outputs["build/out"]
    for name, mode in (("", 0o555), ("a", 0o555), ("b", 0o555), ("c", 0o444)):
        status = os.lstat(os.path.join(output.path, name))
        assert stat.S_IMODE(status.st_mode) == mode
        assert status.st_mtime == 1
        assert status.st_uid == os.geteuid()
        assert name == "" or status.st_nlink == 1


def test_constraints_are_checked_first_and_all_at_once(store, monkeypatch):
    monkeypatch.setattr(machine, "has_network", lambda: False)
    monkeypatch.setattr(machine, "sandbox_shell", lambda: None)
    wanted = BuildRequest(
        inputs={"absent": "/no/such/input"},
        command_args=["/bin/true"],
        outputs=["build/out"],
        constraints=[
            System("vax-linux"),
            MinMemory(1 << 60),
            AvailableReadOnlyPath("/no/such/path"),
            NetworkAccess(),
            ProvideBinSh(),
        ],
    )
    with pytest.raises(ConstraintError) as caught:
        build(wanted, store)
    assert len(caught.value.problems) == 5
    for words in (
        "5 constraints are not met",
        f"system: vax-linux is asked for, and this is {system()}",
        "memory: 1152921504606846976 bytes are asked for",
        "path: /no/such/path is absent",
        "network: no interface but the loopback device is up",
        "shell: this machine has no busybox, dash or sh",
    ):
        assert words in str(caught.value)
    assert nothing_is_kept(store)
    assert store.objects() == []


def test_constraints_that_are_met(store):
    constraints = [System(system()), MinMemory(1 << 20)]
    build(request("echo > out", constraints=constraints), store)


def test_with_the_network_of_the_host(store, monkeypatch):
    monkeypatch.setattr(machine, "has_network", lambda: True)
    script = "ls /proc/self/ns/net -l > out; cat /etc/services /etc/hosts >> out; ls /sys >> out"
    result = build(request(script, constraints=[NetworkAccess()]), store)
    with open(result.outputs["build/out"].path) as file:
        text = file.read()
    assert os.readlink("/proc/self/ns/net") in text
    with open("/etc/hosts") as file:
        assert file.read() in text


def test_what_is_no_utf_8(store):
    wanted = request('printf %s "$X" > out', environment_vars={"X": b"\xff\xc3\xa9"})
    with pytest.raises(ValueError, match="runc takes UTF-8 alone"):
        build(wanted, store, runtime="runc")
    with open(build(wanted, store).outputs["build/out"].path, "rb") as file:
        assert file.read() == b"\xff\xc3\xa9"


# The log, cancelling, and many at once


def test_logs(store, tmp_path):
    wanted = request("echo one; echo two >&2; echo > out")
    build(wanted, store, log=tmp_path / "log")
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"
    store.collect_garbage()
    with io.BytesIO() as file:
        build(wanted, store, log=file)
        assert file.getvalue() == b"one\ntwo\n"
    steps: list[str] = []
    store.collect_garbage()
    build(wanted, store, started=steps.append)
    assert steps == ["inputs", "waiting", "building", "outputs"]


def test_cancelled_before_it_starts(store):
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(BuildCancelledError):
        build(request("echo > out"), store, cancel=cancel)
    assert nothing_is_kept(store)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_cancelled_while_it_runs(store, runtime):
    cancel = threading.Event()
    began = time.monotonic()

    def log(data):
        if b"started" in data:
            cancel.set()

    with pytest.raises(BuildCancelledError) as caught:
        build(
            request("echo > out; echo started; sleep 60"),
            store,
            runtime=runtime,
            cancel=cancel,
            log=log,
        )
    assert time.monotonic() - began < 30
    assert caught.value.completed is not None
    assert caught.value.completed.verdict is Verdict.CANCELLED
    assert nothing_is_kept(store)


@pytest.mark.parametrize("step", ["inputs", "waiting", "building", "outputs"])
def test_cancelled_when_a_part_begins(store, step, tmp_path):
    (tmp_path / "in").write_text("x")
    cancel = threading.Event()

    def started(words):
        if words == step:
            cancel.set()

    with pytest.raises(BuildCancelledError):
        build(
            request("echo > out", inputs={"in": tmp_path / "in"}),
            store,
            cancel=cancel,
            started=started,
        )
    assert nothing_is_kept(store)


def test_cancelled_while_it_waits(tmp_path):
    store = DirectoryStore(tmp_path / "store", max_builds=1, durable=False)
    cancel = threading.Event()
    with store.open() as place, place.turn("sha256:" + "0" * 64, lambda: None):
        threading.Timer(0.2, cancel.set).start()
        with pytest.raises(BuildCancelledError):
            build(request("echo > out"), store, cancel=cancel)


def test_a_request_that_many_ask_for_is_built_once(store):
    log: list[bytes] = []

    def work(_):
        return build(request("echo working; echo > out"), store, log=log.append)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(work, range(4)))
    assert [result.cached for result in results].count(False) == 1
    assert b"".join(log) == b"working\n"
    assert len({result.outputs["build/out"] for result in results}) == 1

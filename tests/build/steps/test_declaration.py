"""``Step``: checked when it is made, and silent about secrets."""

from __future__ import annotations

import pickle

import attrs
import pytest

from pycontainer import bind, device, host_system, symlink, tmpfs
from pycontainer.build import Step


def problems_of(**fields):
    with pytest.raises(ValueError) as caught:
        Step(**{"argv": ["true"], **fields})
    first, *rest = str(caught.value).split("\n")
    if not rest:
        return [first.removeprefix("step: ")]
    assert first == f"step: {len(rest)} problems"
    return [line.strip() for line in rest]


def test_defaults():
    step = Step(["make", "-j2"])
    assert step.argv == ("make", "-j2")
    assert (step.cwd, step.hostname, step.user) == ("/", "builder", (0, 0))
    assert (step.env, step.mounts, step.network, step.secrets) == ({}, (), False, {})
    assert step.fast_sync is False


def test_positions_of_the_fields():
    fields = [field.name for field in attrs.fields(Step)]
    wanted = "argv, cwd, hostname, user, env, mounts, network, secrets, fast_sync"
    assert ", ".join(fields) == wanted


def test_is_frozen_hashable_and_travels():
    def make():
        return Step(
            ["true"],
            user=[1, 2],
            env={"B": "2", "A": "1"},
            mounts=[[bind("/usr")], bind("/srv")],
            secrets={"/a": bytearray(b"x")},
        )

    step = make()
    assert step.user == (1, 2)
    assert len(step.mounts) == 2
    assert step == make()
    assert hash(step) == hash(make())
    assert pickle.loads(pickle.dumps(step)) == step
    assert step.secrets["/a"] == b"x"
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        step.cwd = "/x"


def test_secrets_are_not_shown():
    step = Step(["true"], secrets={"/run//s/": b"hush"})
    assert "hush" not in repr(step)
    assert "'/run/s': ..." in repr(step)
    shown = problems_of(secrets={"/s": "hush"}, env={"A": "hush\0"})
    assert "hush" not in "".join(shown)


def test_everything_that_is_wrong_is_reported_at_once():
    assert problems_of(
        argv="true",
        cwd="work",
        hostname="a b",
        user=(0, -1),
        env={"A=": "x", "B": 3},
        mounts=[tmpfs("/x"), device("/dev/kvm"), bind("/a", "/b", nosuid=False), bind("/proc")],
        network=["host"],
        secrets={"s": b"", "/s": "text", "/s/below": b"", "/b": b""},
        fast_sync=1,
    ) == [
        "argv must be a list of the program and its arguments, not 'true'",
        "cwd 'work' is relative; a place in the container starts with '/'",
        "hostname 'a b' contains white space or a slash",
        "user (0, -1) is outside 0 to 4294967294",
        "env: name 'A=' contains '='",
        "env: the value of 'B' is no text without NUL characters",
        "mounts: tmpfs at /x: a step has binds; the rest is in its root file system",
        "mounts: /dev/kvm: a step's binds are nosuid and nodev",
        "mounts: /b: a step's binds are nosuid and nodev",
        "mounts: /proc is a place that every step has already",
        "network must be True or False, not ['host']",
        "secrets: /b is given twice",
        "secrets: the value of '/s' is a str, not bytes",
        "secrets 's' is relative; a place in the container starts with '/'",
        "secrets: /s/below lies below the file /s",
        "fast_sync must be True or False, not 1",
    ]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"argv": []}, "argv is empty: its first word is the program"),
        ({"argv": [""]}, "argv[0] is empty"),
        (
            {"argv": ["a", b"b"]},
            "argv[1] must be a str or a path, not bytes (os.fsdecode() makes it one)",
        ),
        ({"argv": ["a", "b\0"]}, "argv[1] 'b\\x00' contains a NUL character"),
        ({"argv": 4}, "argv must be a list of the program and its arguments, not 4"),
        ({"user": 0}, "user must be a user and a group id, as (1000, 1000), not 0"),
        ({"user": (True, 0)}, "user must be a user and a group id, as (1000, 1000), not (True, 0)"),
        ({"env": ["A"]}, "env must be a mapping of names to values, not list"),
        ({"mounts": 3}, "mounts must be a collection of bind(...), not 3"),
        ({"secrets": [("/a", b"")]}, "secrets must be a mapping of places to bytes, not list"),
        (
            {"secrets": {"/etc/hosts": b""}},
            "secrets: /etc/hosts is a place that every step has already",
        ),
        ({"hostname": "x" * 65}, "hostname is 65 bytes long; the kernel takes 64"),
        ({"mounts": [symlink("/l", "x"), bind("/a", "/l")]}, "mounts: /l is given twice"),
    ],
)
def test_what_is_wrong(fields, problem):
    assert problems_of(**fields) == [problem]


def test_views_of_the_host_are_mounts():
    step = Step(["true"], mounts=[host_system(), bind("/srv", optional=True)])
    assert step.mounts == (*host_system(), bind("/srv", optional=True))


def test_empty_arguments_and_values_are_some():
    step = Step(["printf", ""], env={"EMPTY": ""})
    assert step.argv == ("printf", "")

"""``BuildRequest``: what it takes, and that all that is wrong is said at once."""

from __future__ import annotations

import json
import pickle

import attrs
import pytest

from pycontainer.build import (
    AvailableReadOnlyPath,
    BuildRequest,
    MinMemory,
    NetworkAccess,
    ProvideBinSh,
    System,
)
from pycontainer.build.document import from_document, to_document


def request(**fields):
    given = {"command_args": ["/bin/true"], "outputs": ["build/out"], **fields}
    return BuildRequest(**given)


FULL = request(
    inputs={"b": "/srv/b", "a": "/srv/a"},
    working_dir="build/x",
    scratch_paths=["build", "a/b"],
    inputs_dir="a/b/store",
    outputs=["build/out", "a/b/other"],
    environment_vars={"X": b"\xff", "A": "é"},
    constraints=[
        System("x86_64-linux"),
        MinMemory(1),
        AvailableReadOnlyPath("/usr"),
        AvailableReadOnlyPath("/lib"),
        NetworkAccess(),
        ProvideBinSh(),
    ],
    additional_files={"build/x/f": b"\0\xff", "etc/g": "text"},
    refscan_needles=["zz", "aa"],
)


def test_lists_are_sorted_and_contents_are_bytes():
    assert list(FULL.inputs) == ["a", "b"]
    assert FULL.scratch_paths == ("a/b", "build")
    assert FULL.outputs == ("a/b/other", "build/out")
    assert FULL.refscan_needles == ("aa", "zz")
    assert FULL.environment_vars == {"A": "é".encode(), "X": b"\xff"}
    assert FULL.additional_files["etc/g"] == b"text"
    assert FULL.available_paths() == ("/lib", "/usr")
    assert FULL.input_places() == {"a": "a/b/store/a", "b": "a/b/store/b"}


def test_equal_whatever_the_order_and_frozen():
    one = request(outputs=["build/a", "build/b"], constraints=[ProvideBinSh(), MinMemory(1)])
    other = request(outputs=["build/b", "build/a"], constraints=[MinMemory(1), ProvideBinSh()])
    assert one == other
    assert hash(one) == hash(other)
    assert pickle.loads(pickle.dumps(FULL)) == FULL
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        one.outputs = ()


def test_paths_of_inputs_are_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert request(inputs={"x": "y"}).inputs == {"x": f"{tmp_path}/y"}
    assert request(inputs=[("x", tmp_path)]).inputs == {"x": str(tmp_path)}


def test_everything_that_is_wrong_is_said_at_once():
    with pytest.raises(ValueError) as caught:
        BuildRequest(
            inputs={"a/b": "/x", "..": "/y"},
            command_args=["a\0b"],
            working_dir="/build",
            scratch_paths=["a//b", "x", "x"],
            inputs_dir="a/../b",
            outputs=["./out", ""],
            environment_vars={"A=B": b"", "C": b"secret\0", "D": 3},  # type: ignore[arg-type]
            constraints=[
                System("a-linux"),
                System("b-linux"),
                ProvideBinSh,  # type: ignore[list-item]
                "x",  # type: ignore[list-item]
            ],
            additional_files={"a/": b"", "b": 3},  # type: ignore[arg-type]
            refscan_needles=["n", "n", ""],
        )
    message = str(caught.value)
    for words in (
        "inputs: name 'a/b' is more than a name",
        "inputs: name '..' is more than a name",
        "command_args 'a\\x00b' contains a NUL",
        "working_dir '/build' is absolute",
        "scratch_paths 'a//b' is not clean",
        "scratch_paths: 'x' is given twice",
        "inputs_dir 'a/../b' is not clean",
        "outputs './out' is not clean",
        "outputs is empty",
        "environment_vars: name 'A=B' contains '='",
        "environment_vars: C contains a NUL",
        "environment_vars: D must be bytes, not int",
        "give one System",
        "say ProvideBinSh()",
        "'x' is no constraint",
        "additional_files 'a/' is not clean",
        "additional_files: 'b' must be bytes, not int",
        "refscan_needles: 'n' is given twice",
        "refscan_needles is empty",
    ):
        assert words in message, message
    assert "secret" not in message


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"command_args": []}, "command_args is empty"),
        ({"command_args": "gcc x.c"}, "command_args must be a list of str"),
        ({"outputs": []}, "outputs is empty"),
        ({"outputs": ["out"]}, "output 'out' is below no scratch path"),
        ({"outputs": ["build/a", "build/a/b"]}, "output 'build/a' contains 'build/a/b'"),
        ({"outputs": ["inputs/x/y"], "inputs": {"x": "/x"}}, "is in an input"),
        (
            {"inputs": {"x": "/x"}, "inputs_dir": "build/out"},
            "output 'build/out' is in the way of the input 'build/out/x'",
        ),
        ({"scratch_paths": ["build", "proc/x"]}, "/proc is the kernel's"),
        ({"additional_files": {"inputs/x/y": b""}, "inputs": {"x": "/x"}}, "is in an input"),
        ({"additional_files": {"build/out/f": b""}}, "output 'build/out' contains"),
        ({"additional_files": {"build": b""}}, "is in the way of 'build'"),
        (
            {"scratch_paths": ["usr/x", "build"], "constraints": [AvailableReadOnlyPath("/usr")]},
            "is in /usr, which is the host's and read-only",
        ),
        ({"inputs": "/x"}, "inputs must be a mapping"),
        ({"inputs": [("a", "/x"), ("a", "/y")]}, "without a name twice"),
        ({"constraints": ProvideBinSh()}, "constraints must be a list"),
    ],
)
def test_what_cannot_be(fields, words):
    with pytest.raises(ValueError, match=r"build request: ") as caught:
        request(**fields)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: System("linux"), "is not like"),
        (lambda: System(""), "is empty"),
        (lambda: MinMemory(0), "positive int"),
        (lambda: MinMemory(True), "positive int"),
        (lambda: AvailableReadOnlyPath("usr"), "relative"),
        (lambda: AvailableReadOnlyPath("/"), "name the directories"),
        (lambda: AvailableReadOnlyPath("/proc/"), "a build has its own"),
        (lambda: AvailableReadOnlyPath("/usr/../etc"), "'..'"),
    ],
)
def test_constraints_that_cannot_be(make, words):
    with pytest.raises(ValueError) as caught:
        make()
    assert words in str(caught.value)


def test_as_json_and_back():
    text = json.dumps(to_document(FULL))
    assert from_document(json.loads(text)) == FULL


def test_json_that_is_wrong_is_said_at_once(tmp_path):
    with pytest.raises(ValueError) as caught:
        from_document(
            {
                "output": ["x"],
                "inputs": {"a": "rel"},
                "working_dir": "/x",
                "environment_vars": {"A": {"base64": "!"}},
                "constraints": {"sytem": "x", "min_memory": -1, "network_access": 1},
            }
        )
    message = str(caught.value)
    for words in (
        "there is no field 'output'; did you mean 'outputs'?",
        "command_args is missing",
        "outputs is missing",
        "working_dir '/x' is absolute",
        "environment_vars: 'A':",
        "there is no 'sytem'; did you mean 'system'?",
        "bytes must be a positive int",
        "network_access must be true or false",
    ):
        assert words in message, message
    made = from_document(
        {"inputs": {"a": "x"}, "command_args": ["c"], "outputs": ["build/o"]}, tmp_path
    )
    assert made.inputs == {"a": f"{tmp_path}/x"}

"""What a killed caller seems to have left: a container that shares /tmp could have put it there."""

from __future__ import annotations

import json
import shutil

import pytest

from pycontainer.oci import state
from pycontainer.oci.staging import RUNTIMES, is_call, stage_for


@pytest.fixture
def forged(tmp_path, monkeypatch):
    """A directory of state whose words would make a file; and the file."""
    monkeypatch.setattr(state, "_home", lambda: str(tmp_path))
    path = tmp_path / f"{state._PREFIX}0123456789abcdef"
    (path / "runtime" / "c0123456789abcdef").mkdir(parents=True)
    made = tmp_path / "made"
    script = f"echo run > {made}"
    (path / "call").write_text(json.dumps(["/bin/sh", "-c", script]))
    return path, made


def test_words_that_are_no_runtime_are_not_run(forged):
    path, made = forged
    state.sweep(is_call)
    assert not made.exists()
    assert not path.exists()


def test_the_words_would_be_run_otherwise(forged):
    path, made = forged
    state.sweep(lambda words: True)
    assert made.exists()
    assert not path.exists()


@pytest.mark.parametrize("content", ["", "{}", "[1]", "[" * 10_000, '"words"'])
def test_rubbish_is_swept(forged, content):
    path, made = forged
    for name in ("call", "cgroups"):
        (path / name).write_text(content)
    state.sweep(is_call)
    assert not made.exists()
    assert not path.exists()


def test_cgroups_of_others_are_left_alone(forged, tmp_path):
    path, _ = forged
    other = tmp_path / "other"
    own = tmp_path / "below" / "c0123456789abcdef"
    for place in (other, own):
        place.mkdir(parents=True)
    (path / "cgroups").write_text(json.dumps([str(other), str(own)]))
    state.sweep(is_call)
    assert other.is_dir()
    assert not own.exists()


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("uid", [0, 7])
def test_own_calls_are_known(runtime, uid):
    spec = {
        "process": {"args": ["true"], "cwd": "/", "user": {"uid": uid, "gid": uid}},
        "root": {"path": "rootfs"},
        "linux": {
            "namespaces": [{"type": "user"}, {"type": "mount"}],
            "uidMappings": [{"containerID": uid, "hostID": 1000, "size": 1}],
            "gidMappings": [{"containerID": uid, "hostID": 1000, "size": 1}],
        },
    }
    stage = stage_for(runtime, spec, "/nowhere")
    words = [*stage.prefix, shutil.which(runtime), *stage.options]
    assert is_call(words)
    assert not is_call([*words, "--root", "/tmp"])
    assert not is_call(["/bin/sh", *words])

"""``pycontainer build``: exit statuses, the log, and being interrupted."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pycontainer.build import DirectoryStore
from pycontainer.oci import from_spec


def request(script, **fields):
    return {
        "command_args": ["/bin/sh", "-ec", script],
        "outputs": ["build/out"],
        "constraints": {"provide_bin_sh": True},
        **fields,
    }


@pytest.fixture
def command(tmp_path):
    """Run ``pycontainer build`` on a document in a directory of its own."""

    def run(document, *options, env=None):
        (tmp_path / "request.json").write_text(json.dumps(document))
        return subprocess.run(
            [*argv(tmp_path), *options],
            cwd=tmp_path,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )

    return run


def argv(folder):
    start = [sys.executable, "-m", "pycontainer", "build", "--store", str(folder / "store")]
    return [*start, "request.json"]


def test_outputs_are_on_stdout_and_the_rest_on_stderr(command, tmp_path):
    (tmp_path / "in").write_text("given\n")
    done = command(
        request("echo loud; read x < /inputs/in; echo $x > out", inputs={"in": "in"}), "-q"
    )
    assert (done.returncode, done.stderr) == (0, "loud\n")
    name, path = done.stdout.split()
    assert name == "build/out"
    assert Path(path).read_text() == "given\n"
    again = command(
        request("echo loud; read x < /inputs/in; echo $x > out", inputs={"in": "in"}), "--json"
    )
    assert json.loads(again.stdout)["cached"] is True


def test_a_log_of_its_own(command, tmp_path):
    done = command(request("echo loud; echo no >&2; exit 7"), "--log", "log")
    assert done.returncode == 1
    assert (tmp_path / "log").read_text() == "loud\nno\n"
    assert done.stderr.splitlines()[-4:] == [
        "pycontainer build: /bin/sh: exit status 7",
        "  its last words:",
        "    loud",
        "    no",
    ]


def test_a_result_that_is_kept(command, tmp_path):
    done = command(request("echo > out"), "--keep", "mine", "-q")
    assert done.returncode == 0, done.stderr
    store = DirectoryStore(tmp_path / "store")
    store.collect_garbage()
    assert len(store.results()) == 1


def test_the_store_that_the_environment_names(command, tmp_path):
    (tmp_path / "request.json").write_text(json.dumps(request("echo > out")))
    start = [sys.executable, "-m", "pycontainer", "build", "-q", "request.json"]
    for env, place in (
        ({"PYCONTAINER_STORE": str(tmp_path / "one")}, "one"),
        ({"XDG_DATA_HOME": str(tmp_path / "two")}, "two/pycontainer/store"),
        ({"HOME": str(tmp_path), "XDG_DATA_HOME": "rel"}, ".local/share/pycontainer/store"),
    ):
        done = subprocess.run(
            start, cwd=tmp_path, env={**os.environ, **env}, capture_output=True, timeout=50
        )
        assert done.returncode == 0, done.stderr
        assert len(DirectoryStore(tmp_path / place).results()) == 1


def test_what_would_be_run(command):
    done = command(request("echo > out"), "--dry-run")
    container, args = from_spec(json.loads(done.stdout), bundle="/bundle")
    assert args == ["/bin/sh", "-ec", "echo > out"]
    assert container.guest_uid == 1000


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["more"], "it takes one REQUEST.json, not 2"),
        (["--runtime", "docker"], "--runtime is native, runc or crun, not 'docker'"),
        (["--max-builds", "0"], "--max-builds takes a positive number, not '0'"),
        (["--stor", "x"], "there is no option --stor"),
    ],
)
def test_misuse(command, options, words):
    done = command(request("true"), *options)
    assert done.returncode == 125
    assert words in done.stderr


def test_what_is_no_json(tmp_path):
    (tmp_path / "request.json").write_text("{")
    done = subprocess.run(argv(tmp_path), cwd=tmp_path, capture_output=True, text=True, timeout=50)
    assert done.returncode == 125
    assert "request.json is no JSON" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(tmp_path, number):
    (tmp_path / "request.json").write_text(json.dumps(request("echo started; while :; do :; done")))
    with subprocess.Popen(
        argv(tmp_path), cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stderr is not None
        while running.stderr.readline() != "started\n":
            assert running.poll() is None
        running.send_signal(number)
        assert running.stderr.read() == "pycontainer build: the build was cancelled\n"
        assert running.wait() == 130
    store = DirectoryStore(tmp_path / "store")
    assert store.results() == []
    assert os.listdir(store.at("work")) == []


def test_a_line_that_moves_at_a_terminal(tmp_path):
    (tmp_path / "request.json").write_text(json.dumps(request("echo at work; echo > out")))
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*argv(tmp_path), "--log", "log"],
        cwd=tmp_path,
        env={**os.environ, "TERM": "xterm"},
        stderr=theirs,
        stdout=subprocess.DEVNULL,
    ) as running:
        os.close(theirs)
        text = b""
        while True:
            try:
                text += os.read(ours, 4096)
            except OSError:
                break
        os.close(ours)
        assert running.wait() == 0
    assert b"pycontainer build:" not in text
    assert b"\x1b[" in text
    assert (tmp_path / "log").read_text() == "at work\n"

"""``pycontainer oci``: the config.json, the bundle, and running it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from pycontainer import Container, tmpfs
from pycontainer.cli.main import main
from pycontainer.oci import from_spec, to_spec


def command(*words, cwd):
    return subprocess.run(
        [sys.executable, "-m", "pycontainer", "oci", *map(str, words)],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_spec(capfd):
    assert main(["oci", "spec", "--hostname", "box", "--tmpfs", "/w", "--", "cat", "-n"]) == 0
    spec = json.loads(capfd.readouterr().out)
    container = Container([tmpfs("/w")], hostname="box")
    assert spec == to_spec(container, ["cat", "-n"])
    assert from_spec(spec) == (container, ["cat", "-n"])


@pytest.mark.parametrize("runtime", ["native", "runc", "crun"])
def test_bundle_and_run(tmp_path, runtime):
    script = "echo out; echo err >&2; exit 3"
    done = command("bundle", "b", "--host-system", "--", "sh", "-c", script, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = command("run", "--runtime", runtime, "b", "--json-file", "end", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")
    assert json.loads((tmp_path / "end").read_text())["verdict"] == "exit"
    done = command("run", "b", "--runtime", runtime, "--log", "log", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")
    assert sorted((tmp_path / "log").read_text().split()) == ["err", "out"]


@pytest.mark.parametrize("runtime", ["native", "runc"])
def test_signals_end_it(tmp_path, runtime):
    command("bundle", "b", "--host-system", "--", "sh", "-c", "echo x; sleep 60", cwd=tmp_path)
    started = subprocess.Popen(
        [sys.executable, "-m", "pycontainer", "oci", "run", "--runtime", runtime, "b"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert started.stdout is not None
    assert started.stdout.readline() == b"x\n"
    began = time.monotonic()
    started.send_signal(signal.SIGTERM)
    status = started.wait(30)
    started.stdout.close()
    assert status in (-signal.SIGTERM, 128 + signal.SIGTERM)
    assert time.monotonic() - began < 30


def test_misuse(tmp_path):
    for words, text in (
        (["run"], "there is no directory"),
        (["run", "a", "b"], "more than one DIR"),
        (["run", "--runtime", "podman", "a"], "native, runc or crun, not 'podman'"),
        (["run", "a"], "No such file or directory: 'a/config.json'"),
        (["bundle"], "there is no directory to write"),
        (["bundle", "--host-system", "x"], "the directory comes first"),
        (["bundle", "a"], "there is no command"),
        (["spec"], "there is no command"),
        (["spec", "--tty", "x"], "no option --tty"),
        (["exec"], "there are spec, bundle and run"),
    ):
        done = command(*words, cwd=tmp_path)
        assert done.returncode == 125, words
        assert text in done.stderr, done.stderr
    assert os.listdir(tmp_path) == []


def test_every_problem_of_a_bundle_is_reported(tmp_path):
    command("bundle", "b", "true", cwd=tmp_path)
    config = tmp_path / "b" / "config.json"
    spec = json.loads(config.read_text())
    spec["hooks"] = {"prestart": [{"path": "/x"}]}
    spec["linux"]["devices"] = [{"path": "/dev/x", "type": "c"}]
    config.write_text(json.dumps(spec))
    done = command("run", "b", cwd=tmp_path)
    assert done.returncode == 125
    assert done.stderr.splitlines() == [
        "pycontainer oci: config.json: 2 problems",
        "  linux.devices[0]: not supported",
        "  hooks.prestart[0]: not supported",
    ]


def test_help(tmp_path):
    done = command("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: pycontainer oci spec")
    for name in ("spec", "bundle", "run"):
        done = command(name, "--help", cwd=tmp_path)
        assert done.returncode == 0
        assert f"Usage: pycontainer oci {name}" in done.stdout

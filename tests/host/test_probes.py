from __future__ import annotations

import os
import subprocess
import sys

import pytest

import pycontainer
from pycontainer.host import probes
from pycontainer.host.probes import (
    run_attempts,
    setgroups_supported,
    try_user_namespace,
    unprivileged_user_namespace_supported,
    user_namespace_supported,
)

PROBES = [
    setgroups_supported,
    unprivileged_user_namespace_supported,
    user_namespace_supported,
]


@pytest.mark.parametrize("probe", PROBES)
def test_probe_here(probe):
    assert probe() is True


@pytest.mark.parametrize("probe", PROBES)
def test_probe_without_interpreter_or_proc(probe, monkeypatch):
    monkeypatch.setattr(sys, "executable", None)
    monkeypatch.setattr(os.path, "exists", lambda path: False)
    assert probe() is False


def test_unprivileged_user_namespace_supported_where_the_limit_is_zero():
    code = "from pycontainer.host.probes import *; print(unprivileged_user_namespace_supported())"
    finished = subprocess.run(
        ["unshare", "--user", "--map-current-user", "--keep-caps", "sh", "-c"]
        + ['echo 0 > /proc/sys/user/max_user_namespaces && exec "$0" -c "$1"']
        + [sys.executable, code],
        env=os.environ | {"PYTHONPATH": os.path.dirname(os.path.dirname(pycontainer.__file__))},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (finished.stdout, finished.stderr) == ("False\n", "")


def test_try_user_namespace():
    assert try_user_namespace() == 0


def test_try_user_namespace_leaves_the_caller_alone():
    before = os.readlink("/proc/self/ns/user"), os.readlink("/proc/self/ns/mnt")
    try_user_namespace()
    assert (os.readlink("/proc/self/ns/user"), os.readlink("/proc/self/ns/mnt")) == before


def test_run_attempts_only_those_named():
    assert dict(run_attempts("user_namespace")) == {"user_namespace": 0}


@pytest.mark.is_root
def test_run_attempts_as_root():
    assert dict(run_attempts("unprivileged_namespaces")) == {"unprivileged_namespaces": 0}


@pytest.mark.unprivileged
def test_run_attempts_nobody_is_for_root():
    assert "unprivileged_namespaces" not in run_attempts()


def test_run_attempts_interpreter_that_is_gone(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    assert run_attempts() == {}


def test_run_attempts_takes_no_part_of_the_environment(monkeypatch, tmp_path):
    (tmp_path / "ctypes.py").write_text("raise SystemExit('the wrong module')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert probes.run_attempts("user_namespace") == {"user_namespace": 0}


def test_probes_need_the_standard_library_only():
    code = (
        "import sys; sys.path.append(sys.argv[1]); "
        "import pycontainer.host.probes, pycontainer.host.refusals; "
        "print(sorted(set(sys.modules) & {'attr', 'attrs', 'cloudpickle', 'cffi'}))"
    )
    where = os.path.dirname(os.path.dirname(pycontainer.__file__))
    finished = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, where],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (finished.stdout, finished.stderr) == ("[]\n", "")

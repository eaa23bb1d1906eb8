"""Row 35 · what fetches and installs software has nothing of the caller's environment."""

from __future__ import annotations

import os

from pycontainer.shell.fetching import run_fetcher


def test_environment_and_files(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "for nobody else")
    monkeypatch.setenv("LD_PRELOAD", "")
    (tmp_path / "own").mkdir()
    (tmp_path / "other").write_text("kept")
    script = f"env; touch /work/made; echo x > {tmp_path}/other; ls -A /root /home 2>&1; true"
    done = run_fetcher(["sh", "-c", script], {str(tmp_path / "own"): "/work"}, env={"GIVEN": "1"})
    lines = done.stdout.splitlines()
    names = {line.split("=")[0] for line in lines if "=" in line}
    assert {"GIVEN", "PATH"} <= names <= {"GIVEN", "PATH", "LANG", "PWD", "SHLVL", "_", "OLDPWD"}
    assert os.listdir(tmp_path / "own") == ["made"]
    assert (tmp_path / "other").read_text() == "kept"
